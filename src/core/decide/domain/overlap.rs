//! What the kernel probe saw of a group, how fast its engines are together and alone, and when that is worth a word.
//! It informs: nothing is started, stopped or found faulty by it.
//!
//! `counts` adds windows up, `pace` says what an engine does, `baseline` how fast it would be alone, `solo` and
//! `learnt` where such a baseline comes from, `gain` what follows, `advice` when that is reported.

use std::time::Duration;

use crate::decide::domain::looks::Want;
use crate::decide::domain::phase::Phase;
use crate::decide::domain::state::Domain;
use crate::decide::facts::engine::Engine;
use crate::decide::facts::figures::LOAD_FRESH;
use crate::decide::facts::overlap::advice::News;
use crate::decide::facts::overlap::gain::Share;
use crate::decide::facts::stage::Stage;
use crate::decide::policy::OverlapPolicy;
use crate::decide::turn::Turn;
use crate::model::{Baseline, EngineName, EngineSharing, Look, Moment, OverlapStatus, ProbeState, What};

/// What was learnt is saved so often at most: what a crash may lose.
const SAVED_EVERY: Duration = Duration::from_secs(300);

/// What follows from the last minute's loads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Weighed {
    gain: Option<f64>,
    slowdowns: Vec<(EngineName, Option<f64>)>,
}

impl Weighed {
    /// Weighs all engines of a group, in whichever domain.
    pub(crate) fn of<'e>(engines: impl Iterator<Item = &'e Engine>, policy: &OverlapPolicy, now: Moment) -> Weighed {
        let working = engines.filter(|engine| engine.stage.has_served());
        let share = |engine: &Engine| Share::of_late(&engine.instance.beside.pace, engine.baselines(policy), now);
        let (names, shares): (Vec<_>, Vec<_>) = working.map(|it| (it.name().clone(), share(it))).unzip();
        let slowdowns = shares.iter().map(|share| share.and_then(|share| share.slowdown()));
        Weighed {
            gain: crate::decide::facts::overlap::gain::gain(&shares),
            slowdowns: names.into_iter().zip(slowdowns).collect(),
        }
    }

    /// An engine's slow-down.
    pub(crate) fn slowdown_of(&self, name: &EngineName) -> Option<f64> {
        self.slowdowns.iter().find(|(known, _)| known == name)?.1
    }
}

impl Engine {
    /// All that is known of how fast it is alone.
    pub(crate) fn baselines<'e>(&'e self, policy: &'e OverlapPolicy) -> impl Iterator<Item = &'e Baseline> {
        let given = policy.baselines.iter().filter(|baseline| baseline.engine == *self.name());
        given.chain(self.sharing.learnt.proven())
    }

    /// What its kernel probe does.
    fn probe(&self) -> ProbeState {
        match self.instance.beside.probe.last() {
            _ if !self.policy.probe => ProbeState::Off,
            None => ProbeState::Waiting,
            Some((state, _)) => *state,
        }
    }

    fn is_probed(&self) -> bool {
        self.stage == Stage::Serving && matches!(self.probe(), ProbeState::Waiting | ProbeState::Working)
    }

    /// It starts, or is being ended. One that starts builds its graphs, and CUPTI is not to be attached then.
    fn is_changing(&self) -> bool {
        matches!(self.stage, Stage::Launching(_) | Stage::Starting | Stage::Ending(_))
    }

    /// Its kernels, and how fast it is beside the others.
    pub(crate) fn sharing_status(&self, policy: &OverlapPolicy, now: Moment) -> EngineSharing {
        let note = self.instance.beside.probe.last().filter(|_| self.policy.probe).and_then(|(_, why)| why.clone());
        EngineSharing {
            probe: self.probe(),
            probe_note: note,
            kernel_busy: self.sharing.kernel_busy,
            slowdown: self.instance.beside.slowdown.fresh(LOAD_FRESH, now).copied().filter(|_| self.alive()),
            baseline: crate::decide::facts::overlap::baseline::newest(self.baselines(policy)).cloned(),
            baselines: u32::try_from(self.baselines(policy).count()).unwrap_or(u32::MAX),
        }
    }

    /// Takes up what was found of it.
    pub(crate) fn weighed(&mut self, weighed: &Weighed, now: Moment) {
        match weighed.slowdown_of(self.name()) {
            Some(slowdown) => self.instance.beside.slowdown.saw(slowdown, now),
            None => self.instance.beside.slowdown.forget(),
        }
    }
}

impl Domain {
    /// The overlap of all of the group's engines together.
    pub(crate) fn overlap_status(&self, now: Moment) -> OverlapStatus {
        self.overlap.status(self.scene.engines.len().max(self.scene.policy.engines.len()), now)
    }

    /// An engine here is being started or ended.
    pub(crate) fn is_changing(&self) -> bool {
        self.scene.engines.iter().any(Engine::is_changing)
    }

    /// A window of the kernel probe, of the whole group, while an engine here has one that may work.
    pub(crate) fn wanted_window(&self) -> Option<Want> {
        let wanted = matches!(self.phase, Phase::Running(_)) && self.scene.engines.iter().any(Engine::is_probed);
        wanted.then(|| (Look::Overlap(self.scene.id.group.clone()), self.scene.policy.overlap.period))
    }

    /// Keeps what was found of the group, and emits what is new.
    pub(crate) fn weighed(&mut self, weighed: &Weighed, turn: &mut Turn<'_>) {
        let now = turn.now;
        self.overlap.weighed = Some(now);
        match weighed.gain {
            Some(gain) => self.overlap.gain.saw(gain, now),
            None => self.overlap.gain.forget(),
        }
        let news = self.overlap.spells.judge(weighed.gain, &weighed.slowdowns, &self.scene.policy.overlap, now);
        news.into_iter().for_each(|news| tell(news, turn));
    }

    /// Learns from the engine that is alone with its work, if it is one here.
    pub(crate) fn learn(&mut self, sure: Moment, turn: &mut Turn<'_>) {
        let Some(solo) = &mut self.overlap.solo else { return };
        let Some(engine) = self.scene.engines.iter_mut().find(|engine| engine.name() == solo.engine()) else { return };
        let Some((work, rate)) = solo.stretch(&engine.instance.beside.pace, sure) else { return };
        let name = engine.name().clone();
        engine.sharing.learnt.saw(&name, &work, rate, turn.now);
        let is_old = |saved: Moment| turn.now.since(saved) >= SAVED_EVERY;
        if self.overlap.saved.is_none_or(is_old) {
            self.overlap.saved = Some(turn.now);
            turn.save();
        }
    }
}

fn tell(news: News, turn: &mut Turn<'_>) {
    let (engine, what) = match news {
        News::Began(advice) => {
            let lasted = turn.now.since(advice.since);
            (advice.engine, What::AdviceBegan { reason: advice.reason, value: advice.value, lasted })
        }
        News::Ended { reason, engine, lasted, value } => (engine, What::AdviceEnded { reason, value, lasted }),
    };
    match engine {
        Some(engine) => turn.emit_of(&engine, what),
        None => turn.emit(what),
    }
}
