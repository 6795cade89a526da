//! Which readings are wanted and how often: the one place that knows every cadence.
//!
//! In steady state: NVML each second, health every two, trees and one control command every 10 s. Inside a
//! restart, what it waits for is read at most 5 ms apart.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{EngineKey, Known, Look, Moment, ServerState, Source};

use super::engine::{Ending, Engine, Stage};
use super::group::{Group, Phase};

/// A timer of the runtime rounds up to the next millisecond: with it, at most 5 ms apart.
const FAST: Duration = Duration::from_millis(4);
/// An engine that starts is asked for its health so often: a refused connection costs 30 us.
const STARTING: Duration = Duration::from_millis(2);
const GPU: Duration = Duration::from_secs(1);
const HEALTH: Duration = Duration::from_secs(2);
const TREES: Duration = Duration::from_secs(10);
const SERVER: Duration = Duration::from_secs(10);
/// After a command without an answer: three in a row, so far apart, are no chance.
const SERVER_SILENT: Duration = Duration::from_secs(5);
/// Asked for because of an Xid or a CUDA error: at most so often, whatever storms.
const URGENT: Duration = Duration::from_millis(200);
/// Before the first start.
const WAITING: Duration = Duration::from_millis(200);
/// While something stays out for longer than it should.
const HELD: Duration = Duration::from_secs(1);
/// An engine is looked at this closely for so long after it got healthy.
const CLOSELY: Duration = Duration::from_secs(1);

/// Wanted readings, each with the longest time between two of them.
pub(super) type Wanted = BTreeMap<Look, Duration>;

fn want(wanted: &mut Wanted, look: Look, every: Duration) {
    wanted.entry(look).and_modify(|known| *known = every.min(*known)).or_insert(every);
}

impl Group {
    /// Adds what this group wants to see now.
    pub fn want(&self, wanted: &mut Wanted, now: Moment) {
        match &self.phase {
            Phase::Waiting => {
                want(wanted, self.look_gpu(), WAITING);
                want(wanted, self.look_trees(), WAITING);
            }
            Phase::Running(_) => self.want_running(wanted, now),
            Phase::Restart(restart) => {
                let held = restart.held.is_some();
                let memory = restart.waiting_for_memory();
                want(wanted, self.look_gpu(), if memory && !held { FAST } else { GPU });
                self.want_active(wanted);
            }
            Phase::Stopping(_) | Phase::Stopped => want(wanted, self.look_gpu(), GPU),
        }
    }

    fn want_running(&self, wanted: &mut Wanted, now: Moment) {
        want(wanted, self.look_gpu(), GPU);
        want(wanted, self.look_trees(), TREES);
        let steady = if self.control.silent > 0 { SERVER_SILENT } else { SERVER };
        want(wanted, self.look_server(), if self.ask_server.is_some() { URGENT } else { steady });
        for engine in &self.engines {
            self.want_engine(engine, wanted, now);
        }
    }

    fn want_engine(&self, engine: &Engine, wanted: &mut Wanted, now: Moment) {
        let health = Look::Health(EngineKey::new(&self.policy.name, engine.name()));
        match &engine.stage {
            Stage::Starting => {
                want(wanted, health, STARTING);
                self.want_clients_of_a_start(engine, wanted);
                if let Some(healthy) = engine.healthy_since {
                    let every = if now.since(healthy) < CLOSELY { FAST } else { HELD };
                    self.want_attachment(wanted, every);
                }
            }
            Stage::Serving => want(wanted, health, HEALTH),
            Stage::Failing => {
                want(wanted, health, HEALTH);
                self.want_attachment(wanted, SERVER);
            }
            Stage::Ending(Ending::Look { .. }) => want(wanted, self.look_trees(), FAST),
            _ => {}
        }
    }

    /// A client came while an engine starts: its list is asked for now, so that no engine waits for it later.
    fn want_clients_of_a_start(&self, engine: &Engine, wanted: &mut Wanted) {
        let changed = self.server.clients.at().filter(|at| *at >= engine.started);
        if let (Some(server), true) = (self.server.pid, changed > self.server.clients_asked) {
            want(wanted, Look::Clients { group: self.policy.name.clone(), server }, FAST);
        }
    }

    fn want_attachment(&self, wanted: &mut Wanted, every: Duration) {
        want(wanted, self.look_trees(), every);
        want(wanted, self.look_gpu(), every.min(GPU));
        if let Some(server) = self.server.pid {
            want(wanted, Look::Clients { group: self.policy.name.clone(), server }, every);
        }
    }

    fn want_active(&self, wanted: &mut Wanted) {
        let Some(since) = self.waiting_for_active() else { return };
        want(wanted, self.look_server(), FAST);
        let fault = self.server.state.since(since) == Some(&ServerState::Fault);
        if let (true, Some(server)) = (fault, self.server.pid) {
            want(wanted, Look::Clients { group: self.policy.name.clone(), server }, FAST * 10);
        }
    }

    fn look_gpu(&self) -> Look {
        Look::Gpu(self.policy.gpu.clone())
    }

    fn look_trees(&self) -> Look {
        Look::Trees(self.policy.name.clone())
    }

    fn look_server(&self) -> Look {
        Look::Server { group: self.policy.name.clone(), server: self.server.pid }
    }
}

/// When each reading was last asked for and how it went.
#[derive(Clone, Debug, Default)]
pub(super) struct Looks {
    states: BTreeMap<LookKey, LookState>,
}

/// A look without what changes from one to the next.
pub(super) type LookKey = (Source, Look);

/// One reading's history.
#[derive(Clone, Debug, Default)]
pub(super) struct LookState {
    pub sent: Option<Moment>,
    in_flight: bool,
    every: Duration,
    /// When it last worked.
    pub worked: Known<Duration>,
    /// Its last outcome was no success.
    pub failed: Option<String>,
}

impl Looks {
    /// Which of the wanted readings are due now; they count as sent.
    pub fn due(&mut self, wanted: &Wanted, now: Moment) -> Vec<Look> {
        // An engine without a process is no source.
        self.states.retain(|key, state| key.0 != Source::Engine || state.in_flight || wanted.contains_key(&key.1));
        wanted
            .iter()
            .filter(|(look, every)| self.take_if_due(look, **every, now))
            .map(|(look, _)| look.clone())
            .collect()
    }

    fn take_if_due(&mut self, look: &Look, every: Duration, now: Moment) -> bool {
        let state = self.states.entry(key(look)).or_default();
        state.every = every;
        let due = !state.in_flight && state.sent.is_none_or(|sent| now.since(sent) >= every - company(every));
        if due {
            state.sent = Some(now);
            state.in_flight = true;
        }
        due
    }

    /// When the next of the wanted readings is due.
    pub fn next_deadline(&self, wanted: &Wanted) -> Option<Moment> {
        wanted
            .iter()
            .filter_map(|(look, every)| {
                let state = self.states.get(&key(look))?;
                if state.in_flight { None } else { Some(state.sent?.after(*every)) }
            })
            .min()
    }

    /// A reading ended. Gives its state from before, for telling what changed.
    pub fn ended(&mut self, look: &Look, failed: Option<String>, now: Moment) -> Option<LookState> {
        let state = self.states.get_mut(&key(look))?;
        let before = state.clone();
        state.in_flight = false;
        if failed.is_none() {
            state.worked.saw(state.sent.map_or(Duration::ZERO, |sent| now.since(sent)), now);
        }
        state.failed = failed;
        Some(before)
    }

    /// Forgets the readings of what is there no more.
    pub fn keep(&mut self, there: impl Fn(&Look) -> bool) {
        self.states.retain(|key, _| there(&key.1));
    }

    /// All readings and how they go.
    pub fn all(&self) -> impl Iterator<Item = (&LookKey, &LookState)> {
        self.states.iter()
    }
}

/// How much earlier a look that comes each second or so goes along when something wakes the core anyway:
/// one wake-up then serves for all of them.
fn company(every: Duration) -> Duration {
    if every >= Duration::from_millis(500) && every < SERVER_SILENT { every / 10 } else { Duration::ZERO }
}

impl LookState {
    /// Its last reading worked, and not too long ago: three of its intervals, and a second at least.
    pub fn up(&self, now: Moment) -> bool {
        let limit = (self.every * 3).max(Duration::from_secs(3));
        self.failed.is_none() && self.worked.fresh(limit, now).is_some()
    }
}

/// The same reading, whichever server it is about.
fn key(look: &Look) -> LookKey {
    match look {
        Look::Gpu(_) => (Source::Nvml, look.clone()),
        Look::Server { group, .. } => (Source::Mps, Look::Server { group: group.clone(), server: None }),
        Look::Clients { group, .. } => (Source::Mps, Look::Clients { group: group.clone(), server: 0 }),
        Look::Trees(_) => (Source::Procfs, look.clone()),
        Look::Health(_) | Look::Load(_) => (Source::Engine, look.clone()),
    }
}
