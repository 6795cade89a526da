//! Which readings are wanted and how often: the one place that knows every cadence.
//!
//! In steady state: NVML each second, health and load every two (load more often where `hang_after` is short, and
//! when an engine is about to be found hung), trees and one control command every 10 s, a window of the kernel probe
//! as often as the configuration says. Inside a restart, what it waits for is read at most 5 ms apart.

use std::time::Duration;

use crate::decide::domain::phase::Phase;
use crate::decide::domain::state::Domain;
use crate::decide::facts::cadence::TREES;
use crate::decide::facts::engine::Engine;
use crate::decide::facts::gpu_health::GpuHealth;
use crate::decide::facts::stage::{Ending, Stage};
use crate::decide::may::Others;
use crate::decide::policy::StartOrder;
use crate::model::{Look, Moment, ServerState};

/// Pause between looks that something waits for: a timer of the runtime rounds up to the next millisecond, so they are
/// at most 5 ms apart.
const FAST: Duration = Duration::from_millis(4);
/// Pause between two health checks of an engine that starts (a refused connection costs 30 us), longer the longer its
/// start takes: the wait adds a thousandth to it, at most.
const STARTING: Duration = Duration::from_millis(2);
const STARTING_LONG: Duration = Duration::from_millis(100);
const STARTING_SHARE: u32 = 1000;
const GPU: Duration = Duration::from_secs(1);
const HEALTH: Duration = Duration::from_secs(2);
const SERVER: Duration = Duration::from_secs(10);
/// Pause while an engine that starts may wait for a server that lets no client in.
const KNOCKS: Duration = Duration::from_secs(2);
/// Pause while it is not known which client left the server: its siblings fail 130 ms later, if they do.
const NAMELESS: Duration = Duration::from_millis(20);
/// Pause while an engine's GPU process may have ended: its processes, its health.
const LOST: Duration = Duration::from_millis(20);
/// Pause between two looks at its requests in flight, before it is stopped.
const DRAINING: Duration = Duration::from_millis(200);
/// Pause after a command without an answer: three in a row, so far apart, are no chance.
const SERVER_SILENT: Duration = Duration::from_secs(5);
/// Shortest pause between looks for an Xid or a CUDA error, whatever storms.
const URGENT: Duration = Duration::from_millis(200);
/// Pause while it starts and has limits: the settings of its processes are seen before they overwrite them.
const YOUNG: Duration = Duration::from_secs(1);
/// Pause before the first start.
const WAITING: Duration = Duration::from_millis(200);
/// Pause while something is overdue.
const HELD: Duration = Duration::from_secs(1);
/// Pause between two looks for the owner of an unknown process.
const STRANGERS: Duration = Duration::from_millis(500);
/// Time for which an engine is looked at this closely after it got healthy.
const CLOSELY: Duration = Duration::from_secs(1);

/// A wanted reading, and the longest time between two of them.
pub(crate) type Want = (Look, Duration);

/// What a group wants of each look that it has one of, and of its engines.
#[derive(Default)]
struct Wants {
    gpu: Option<Duration>,
    trees: Option<Duration>,
    pipe: Option<Duration>,
    server: Option<Duration>,
    clients: Option<Duration>,
    /// Pids whose command lines are wanted.
    strangers: Vec<u32>,
    engines: Vec<Want>,
}

/// Shortens a pause to `every`, if it is longer.
fn want(known: &mut Option<Duration>, every: Duration) {
    *known = Some(known.map_or(every, |known| known.min(every)));
}

impl Domain {
    /// What this group wants to see from now on: each look once, in an order that stays. While its GPU is in doubt
    /// the driver's word is wanted at once. `others`: whether an engine of either side is being started or stopped.
    pub(crate) fn wanted(&self, health: &GpuHealth, others: Others, now: Moment) -> Vec<Want> {
        let mut wants = Wants::default();
        match &self.phase {
            Phase::Waiting => {
                want(&mut wants.gpu, WAITING);
                want(&mut wants.trees, WAITING);
            }
            Phase::Running(_) => self.want_running(&mut wants, now),
            Phase::Restart(restart) => {
                let held = restart.held.is_some();
                let memory = restart.waiting_for_memory();
                want(&mut wants.gpu, if memory && !held { FAST } else { GPU });
                self.want_active(&mut wants);
            }
            Phase::InRestart | Phase::Stopping(_) | Phase::Stopped => {
                want(&mut wants.gpu, GPU);
                self.scene
                    .engines
                    .iter()
                    .filter(|engine| engine.drains())
                    .for_each(|e| self.want_engine(e, &mut wants, now));
            }
        }
        self.want_strangers(&mut wants, now);
        if health.in_doubt() {
            want(&mut wants.gpu, FAST);
        }
        let mut looks = self.looks(wants);
        looks.extend(self.wanted_window().filter(|_| others == Others::AtRest));
        looks
    }

    fn want_running(&self, wants: &mut Wants, now: Moment) {
        want(&mut wants.gpu, GPU);
        want(&mut wants.trees, TREES);
        let steady = if self.scene.control.silent > 0 { SERVER_SILENT } else { SERVER };
        let waits =
            |engine: &Engine| matches!(engine.stage, Stage::Down { due } if due <= now) && engine.is_ours_to_start();
        let blocked =
            self.scene.server.state.last() != Some(&ServerState::Active) && self.scene.engines.iter().any(waits);
        want(&mut wants.server, if self.asked.server.is_some() || blocked { URGENT } else { steady });
        if self.serves_beside_a_fault() {
            want(&mut wants.server, HELD);
            want(&mut wants.clients, HELD);
        }
        if self.scene.policy.custody.is_others() {
            // What others start is known by this list alone where the log does not name it. That a fault is over is, too:
            // nobody here ends what died, and newcomers of others wait for it.
            let faulted = self.scene.server.fatal.is_some();
            want(&mut wants.clients, if faulted { HELD } else { SERVER });
            want(&mut wants.server, if faulted { HELD } else { SERVER });
        }
        if self.scene.asks_who_knocks() {
            want(&mut wants.pipe, KNOCKS);
            want(&mut wants.clients, SERVER);
        }
        if self.scene.departed.nameless.asks(self.scene.server.clients_asked, now) {
            want(&mut wants.clients, NAMELESS);
            want(&mut wants.trees, NAMELESS);
        }
        if let Some(every) = self.scene.word_asks(now).map(|every| every.max(URGENT)) {
            want(&mut wants.server, every);
            want(&mut wants.clients, every);
        }
        wants.engines.reserve(2 * self.scene.engines.len());
        for engine in &self.scene.engines {
            self.want_engine(engine, wants, now);
        }
    }

    fn want_engine(&self, engine: &Engine, wants: &mut Wants, now: Moment) {
        let key = || self.scene.member(engine.name());
        if engine.count_due().is_some() {
            want(&mut wants.trees, FAST);
        }
        match &engine.stage {
            Stage::Starting => {
                let every =
                    (now.since(engine.instance.process.started) / STARTING_SHARE).clamp(STARTING, STARTING_LONG);
                if engine.policy.is_asked() {
                    wants.engines.push((Look::Health(key()), every));
                }
                self.want_clients_of_a_start(engine, wants);
                if engine.instance.output.allocated.is_some()
                    && self.scene.policy.recovery.start == StartOrder::Staggered
                {
                    want(&mut wants.trees, URGENT);
                    want(&mut wants.gpu, URGENT);
                }
                if engine.is_limited() {
                    want(&mut wants.trees, YOUNG);
                    self.want_environment(engine, wants, URGENT);
                }
                if let Some(healthy) = engine.instance.probes.good_since {
                    let every = if now.since(healthy) < CLOSELY { FAST } else { HELD };
                    want_attachment(wants, every);
                }
            }
            Stage::Serving | Stage::Failing => {
                if engine.policy.is_asked() {
                    self.want_answers(engine, wants, now);
                }
                if engine.detached_lately(now) {
                    want_attachment(wants, HELD);
                } else if engine.stage == Stage::Failing {
                    want_attachment(wants, SERVER);
                }
                self.want_environment(engine, wants, TREES);
                if engine.watched(now) {
                    want(&mut wants.trees, HELD);
                }
                if engine.instance.gpu.processes.doubtful(now) {
                    want(&mut wants.trees, LOST);
                    want(&mut wants.gpu, LOST);
                }
            }
            Stage::Ending(Ending::Drain { .. }) => {
                wants.engines.push((Look::Load(key()), DRAINING));
                wants.engines.push((Look::Traffic(key()), DRAINING));
            }
            Stage::Ending(Ending::Look { .. }) => want(&mut wants.trees, FAST),
            Stage::Down { .. }
            | Stage::Launching(_)
            | Stage::Ending(_)
            | Stage::Fallen
            | Stage::Quarantined
            | Stage::Stopped
            | Stage::Left => {}
        }
    }

    /// What an engine that served says of itself, and its connections.
    fn want_answers(&self, engine: &Engine, wants: &mut Wants, now: Moment) {
        let key = || self.scene.member(engine.name());
        let lost = engine.instance.gpu.processes.gone().is_some();
        wants.engines.push((Look::Health(key()), if lost { LOST } else { HEALTH }));
        wants.engines.push((Look::Load(key()), engine.load_every(now)));
        wants.engines.push((Look::Traffic(key()), if lost { LOST } else { engine.load_every(now) }));
        wants.engines.extend(engine.token_every().map(|every| (Look::Token(key()), every)));
    }

    /// Looks at the settings of its processes: once when it is about to serve, and when it has others.
    fn want_environment(&self, engine: &Engine, wants: &mut Wants, every: Duration) {
        if engine.wants_environment() {
            wants.engines.push((Look::Environment(self.scene.member(engine.name())), every));
        }
    }

    /// A client came while an engine starts: its list is asked for now, so that no engine waits for it later.
    fn want_clients_of_a_start(&self, engine: &Engine, wants: &mut Wants) {
        let changed = self.scene.server.clients.at().filter(|at| *at >= engine.instance.process.started);
        if changed > self.scene.server.clients_asked {
            want(&mut wants.clients, FAST);
        }
    }

    fn want_active(&self, wants: &mut Wants) {
        let Some(since) = self.waiting_for_active() else { return };
        let held = matches!(&self.phase, Phase::Restart(restart) if restart.held.is_some());
        want(&mut wants.server, if held { HELD } else { FAST });
        if self.scene.server.state.since(since) == Some(&ServerState::Fault) {
            want(&mut wants.clients, FAST * 10);
        }
    }

    /// Somebody computes on the GPU, or waits for the server, and may be an engine's child that is not known yet.
    /// While processes are being ended their trees are left as they were when they were signalled.
    fn want_strangers(&self, wants: &mut Wants, now: Moment) {
        let settled = match &self.phase {
            Phase::Waiting | Phase::Running(_) => true,
            Phase::Restart(restart) => restart.held.is_some(),
            Phase::InRestart | Phase::Stopping(_) | Phase::Stopped => false,
        };
        if settled && self.may_own_a_stranger(now) {
            want(&mut wants.trees, STRANGERS);
        }
        if settled {
            wants.strangers = self.nameless(now);
        }
    }

    /// Gives the looks their targets. Without a server there is no list of clients.
    fn looks(&self, wants: Wants) -> Vec<Want> {
        let (domain, server) = (&self.scene.id, self.scene.server.pid);
        let clients = wants.clients.zip(server);
        let strangers = (!wants.strangers.is_empty()).then_some(wants.strangers);
        let gpus = wants
            .gpu
            .into_iter()
            .flat_map(|every| self.scene.policy.gpus.iter().map(move |gpu| (Look::Gpu(gpu.clone()), every)));
        let whole = [
            wants.trees.map(|every| (Look::Trees(domain.clone()), every)),
            wants.pipe.map(|every| (Look::Pipe(domain.clone()), every)),
            wants.server.map(|every| (Look::Server { domain: domain.clone(), server }, every)),
            clients.map(|(every, server)| (Look::Clients { domain: domain.clone(), server }, every)),
            strangers.map(|pids| (Look::CommandLines { domain: domain.clone(), pids }, STRANGERS)),
        ];
        gpus.chain(whole.into_iter().flatten()).chain(wants.engines).collect()
    }
}

fn want_attachment(wants: &mut Wants, every: Duration) {
    want(&mut wants.trees, every);
    want(&mut wants.gpu, every.min(GPU));
    want(&mut wants.clients, every);
}

/// How much earlier a look that comes each second or so goes along when something wakes the core anyway:
/// one wake-up then serves for all of them.
pub(crate) fn company(every: Duration) -> Duration {
    if every >= Duration::from_millis(500) && every < SERVER_SILENT { every / 10 } else { Duration::ZERO }
}
