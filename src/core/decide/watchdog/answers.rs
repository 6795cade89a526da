//! What came of looks and of logs: which sources answer, and what a look that ended means for the groups it concerns.

use super::Watchdog;
use crate::decide::domain::state::Domain;
use crate::decide::effects::Effects;
use crate::model::{Blindness, Look, Moment, Outcome, SourceScope, What};

impl Watchdog {
    pub(super) fn log_lost(&mut self, source: SourceScope, blindness: Blindness, effects: &mut Effects) {
        if self.logs.lost(source.clone(), blindness.clone()) {
            let Blindness { state, why } = blindness;
            let (group, what) = (source.group.clone(), What::SourceDown { source, state, why });
            effects.emit(group, None, what);
        }
    }

    pub(super) fn log_heard(&mut self, source: &SourceScope, effects: &mut Effects) {
        if self.logs.heard(source) {
            let (group, what) = (source.group.clone(), What::SourceUp { source: source.clone() });
            effects.emit(group, None, what);
        }
    }

    pub(super) fn look_ended(&mut self, look: &Look, outcome: &Outcome, effects: &mut Effects) {
        let failed = outcome.blindness();
        let Some(ended) = self.looks.ended(look, failed.clone(), self.now) else { return };
        let subject = look.subject();
        if let (Look::Gpu(gpu), Some(asked), Some(_)) = (look, ended.sent, &failed) {
            self.gpu_health(gpu, |health, now| health.unread(asked, now));
        }
        if let (Look::Gpu(gpu), Some(why)) = (look, &failed)
            && let Some(facts) = self.gpus.get_mut(gpu)
        {
            facts.is_unread(why.why.clone(), self.now);
        }
        let concerned = |domain: &&mut Domain| match look {
            Look::Gpu(gpu) => domain.scene.policy.gpus.contains(gpu),
            Look::Load(_) | Look::Overlap(_) => false,
            Look::Server { .. }
            | Look::Clients { .. }
            | Look::Trees(_)
            | Look::Pipe(_)
            | Look::CommandLines { .. }
            | Look::Health(_)
            | Look::Environment(_)
            | Look::Traffic(_)
            | Look::Token(_) => subject.domain() == Some(&domain.scene.id),
        };
        for domain in self.domains_mut().filter(concerned) {
            domain.stir_unless_calm();
            if let Look::Server { .. } = look {
                // Only an answer to a question that came after the doubt settles it.
                let settles = |asked: Moment| ended.sent.is_some_and(|sent| sent >= asked);
                domain.asked.server = domain.asked.server.filter(|asked| !settles(*asked));
            }
        }
        let source = look.scope();
        let (group, engine) = (source.group.clone(), source.engine.clone().map(|key| key.engine));
        let what = match (ended.before, ended.after, failed) {
            (before, Some(state), Some(Blindness { why, .. })) if before != Some(state) => {
                What::SourceDown { source, state, why }
            }
            (Some(_), None, _) => What::SourceUp { source },
            _ => return,
        };
        effects.emit(group, engine, what);
    }
}
