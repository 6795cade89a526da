//! Which engine of all domains on one GPU is alone with its work.

use crate::decide::domain::phase::Phase;
use crate::decide::domain::state::Domain;
use crate::decide::facts::engine::Engine;
use crate::decide::facts::figures::LOAD_FRESH;
use crate::decide::facts::overlap::solo::Alone;
use crate::decide::facts::stage::Stage;
use crate::model::Moment;

fn has_no_process(engine: &Engine) -> bool {
    matches!(engine.stage, Stage::Down { .. } | Stage::Quarantined | Stage::Stopped | Stage::Left)
}

/// The only engine with work of all groups on one GPU: everyone else has none or no process, nothing else computes
/// there, and nothing is being started or stopped.
pub(crate) fn alone<'g>(groups: impl Iterator<Item = &'g Domain>, now: Moment) -> Option<Alone> {
    let (mut busy, mut sure) = (None, now);
    for group in groups {
        if !matches!(group.phase, Phase::Running(None) | Phase::Stopped) || group.scene.around.foreign.count() > 0 {
            return None;
        }
        for engine in group.scene.engines.iter().filter(|engine| !has_no_process(engine)) {
            let pace = &engine.instance.beside.pace;
            let read = pace.read().filter(|read| now.since(*read) <= LOAD_FRESH && engine.stage == Stage::Serving)?;
            sure = sure.min(read);
            if pace.is_busy() && busy.is_none() {
                busy = Some((group.number, engine));
            } else if !pace.is_idle() {
                return None;
            }
        }
    }
    let (side, engine) = busy?;
    Some(Alone { side, engine: engine.name().clone(), incarnation: engine.instance.incarnation, sure })
}
