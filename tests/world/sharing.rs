//! Kernel probes of the stand-in world: what their windows show, and what becomes of the probes.

use mpswarden_core::model::{ActionId, EngineName, GroupName, Observation, Outcome, OverlapWindow, ProbeState};

use super::{World, ms};

/// What a look at the kernel probes comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Windows {
    /// No word of any kernel: it was not set up.
    #[default]
    None,
    /// This window, each time.
    Show(OverlapWindow),
    /// A probe does not answer.
    Fail,
}

impl World {
    pub(super) fn probe(&mut self, group: usize, engine: usize, state: ProbeState) {
        let why = (state == ProbeState::Unavailable).then(|| "no libcupti".to_owned());
        let engine = self.key(group, engine);
        self.observe(Observation::Probe { engine, state, why });
    }

    pub(super) fn look_overlap(&mut self, id: ActionId, group: GroupName) {
        match self.windows.clone() {
            Windows::None => self.answer(id, vec![], Outcome::Done),
            Windows::Fail => self.answer(id, vec![], Outcome::Failed { why: "qwen-b did not answer".to_owned() }),
            Windows::Show(window) => self.answer(id, vec![Observation::Overlap { group, window }], Outcome::Done),
        }
    }
}

/// `10 30 10 qwen-a=40 qwen-b=10`: milliseconds with so many clients at work from none on, then of each engine.
pub(super) fn window(words: &[&str]) -> OverlapWindow {
    let millis = |text: &str| ms(text.parse().unwrap());
    let (times, engines): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| !word.contains('='));
    let by_clients: Vec<_> = times.into_iter().map(millis).collect();
    let busy = engines.iter().filter_map(|word| word.split_once('='));
    OverlapWindow {
        sampled: by_clients.iter().sum(),
        by_clients,
        busy: busy.map(|(name, time)| (EngineName::from(name), millis(time))).collect(),
        kernels: 1000,
        dropped: 0,
    }
}
