//! One engine: what is known of it and which stage of its life it is in. Nothing here orders anything.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::{ActionId, EngineName, EngineState, Exit, Fault, Health, Known, Moment, ProcessId};

use super::attached::{Attachment, Watched, attachment};
use super::attempt::Attempt;
use super::facts::ServerFacts;
use super::figures::Figures;
use super::gpu_process::GpuProcesses;
use super::guard::Attempts;
use super::limits::Limits;
use super::operator::{note_of, stage_of};
use super::overlap::Sharing;
use super::passage::Passage;
use super::policy::EnginePolicy;
use super::progress::{Answers, Stretch, Tokens};
use super::reading::Reading;
use super::remembered::{EngineMemory, Rest};
use super::said::Said;
use super::shortage::Shortage;
use super::words::Telling;

/// So many bad probes in a row make a serving engine failing: one slow answer is no failure.
const BAD_PROBES: u32 = 2;
/// NVML's lists are believed for so long.
pub(super) const READING_FRESH: Duration = Duration::from_secs(3);

/// Where an engine is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// No process; it may be started from this moment on.
    Down { due: Moment },
    /// Its start is ordered.
    Launching(ActionId),
    /// Its process is there and does not serve yet.
    Starting,
    /// Healthy and attached.
    Serving,
    /// It served; its process lives and no longer does.
    Failing,
    /// The engine tier takes it out.
    Ending(Ending),
    /// Its group's restart or stop took it out, or is about to.
    Fallen,
    /// It failed too often, or an operator took it out for good.
    Quarantined,
    /// Out because somebody wants it so, and proven gone.
    Stopped,
    /// Left alone, without a process: in `observe` mode nobody starts it again.
    Left,
}

/// A step of taking one engine out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Its requests in flight are let end, until then at the latest.
    Drain { since: Moment, until: Moment, told: bool },
    /// Waiting for a fresh look at its processes.
    Look { since: Moment },
    /// `terminate_client` is on its way.
    Terminate(ActionId),
    /// TERM, KILL and the proof are on their way.
    Stop(ActionId),
    /// A process did not die; try again then.
    Stuck { again: Moment },
    /// Gone; its siblings are watched until then.
    Aftershock { until: Moment },
}

/// One engine.
#[derive(Clone, Debug)]
pub(super) struct Engine {
    pub policy: EnginePolicy,
    pub stage: Stage,
    pub incarnation: u32,
    pub main: Option<ProcessId>,
    /// When its process was started.
    pub started: Moment,
    pub tree: Known<Vec<ProcessId>>,
    /// Of the tree, those that nothing but the engine's word speaks for.
    pub claimed: BTreeSet<ProcessId>,
    pub health: Known<Health>,
    /// When this row of good probes began.
    pub healthy_since: Option<Moment>,
    bad_probes: u32,
    /// Where it computes; `None`: unknown.
    pub watched: Option<Watched>,
    /// Its output named CUDA error 46, 808 or 809 in this incarnation, since it last got ready.
    pub over_limit: Option<(Moment, u32)>,
    /// Its main process ended in this incarnation.
    pub ended: Option<(Moment, Exit)>,
    /// Error lines of its output in this incarnation.
    pub said: Said,
    /// What was told of those lines, and how many no fact confirmed.
    pub telling: Telling,
    /// Its output said that all its memory is allocated, while it started.
    pub allocated: Option<Moment>,
    /// Its output said that it wants numbers in CUDA_VISIBLE_DEVICES, while it started.
    pub wants_index: bool,
    /// When a process of it last began to leave the server in this incarnation.
    pub left: Option<Moment>,
    /// Who said that it ran out of memory.
    pub shortage: Shortage,
    /// Its limits as they are.
    pub limits: Limits,
    /// What NVML lists of it can be believed, as of its last reading.
    counted: bool,
    /// It died or did not get ready, and has not served since.
    pub died: Option<Died>,
    pub failures: Attempts,
    /// Times in a row that the server ended its client: each is answered a little later than the one before.
    pub evictions: u32,
    /// Since when a process of it, which starts, has had a connection to the daemon's pipe and no client.
    pub knocks: Option<Moment>,
    /// In words, why it does not serve.
    pub note: Option<String>,
    /// What is only told.
    pub figures: Figures,
    /// Its kernels, and how fast it is alone and beside the others.
    pub sharing: Sharing,
    /// Its requests' tokens, its answers and its connections: whether it gets on, and whether somebody waits.
    pub tokens: Tokens,
    pub answers: Answers,
    pub passage: Passage,
    /// Answers to the tokens that the watchdog asked for.
    pub asked_token: Answers,
    /// Windows of the kernel probe between which kernels of it ended.
    pub kernels: Option<Stretch>,
    pub gpu_processes: GpuProcesses,
    /// A process of it does not die: which, for people.
    pub stuck: Option<String>,
    /// Why it is to have no process; `None`: it is to run.
    pub rest: Option<Rest>,
    /// The configuration has it no more: it is forgotten once it is gone.
    pub leaving: bool,
    /// It is to run on its group's other side, or otherwise than it was started: not started before it is there.
    pub moves: bool,
    /// It is to be started outside MPS.
    pub goes_outside: bool,
    /// This incarnation was started outside MPS.
    pub outside: bool,
    /// It runs as an older configuration says, and is to be taken out and started again.
    pub rolls: bool,
    /// The attempt to bring it back that has no result yet.
    pub attempt: Option<Attempt>,
}

/// An engine's failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Died {
    pub at: Moment,
    pub fault: Fault,
    pub because: String,
}

impl Engine {
    /// A new engine with what is remembered of it.
    pub fn new(policy: EnginePolicy, memory: EngineMemory) -> Self {
        Engine {
            policy,
            stage: stage_of(memory.rest).unwrap_or(Stage::Down { due: Moment::ZERO }),
            incarnation: memory.incarnation,
            main: None,
            started: Moment::ZERO,
            tree: Known::Unknown,
            claimed: BTreeSet::new(),
            health: Known::Unknown,
            healthy_since: None,
            bad_probes: 0,
            watched: None,
            over_limit: None,
            ended: None,
            said: Said::default(),
            telling: Telling::default(),
            allocated: None,
            wants_index: false,
            left: None,
            shortage: Shortage::default(),
            limits: Limits::default(),
            counted: false,
            died: None,
            failures: Attempts::of(memory.failures),
            evictions: 0,
            knocks: None,
            note: note_of(memory.rest),
            figures: Figures::default(),
            sharing: Sharing::of(memory.learnt),
            tokens: Tokens::default(),
            answers: Answers::default(),
            passage: Passage::default(),
            asked_token: Answers::default(),
            kernels: None,
            gpu_processes: GpuProcesses::default(),
            stuck: None,
            rest: memory.rest,
            leaving: false,
            moves: false,
            goes_outside: false,
            outside: false,
            rolls: false,
            attempt: None,
        }
    }

    pub fn name(&self) -> &EngineName {
        &self.policy.name
    }

    /// What must survive.
    pub fn memory(&self) -> EngineMemory {
        EngineMemory {
            incarnation: self.incarnation,
            failures: self.failures.moments(),
            rest: self.rest,
            learnt: self.sharing.learnt(),
        }
    }

    /// A new incarnation begins: nothing seen before is about it.
    pub fn launch(&mut self, order: ActionId, now: Moment) {
        self.incarnation += 1;
        self.stage = Stage::Launching(order);
        self.main = None;
        self.tree.forget();
        self.health.forget();
        self.healthy_since = None;
        self.bad_probes = 0;
        self.watched = None;
        self.over_limit = None;
        self.ended = None;
        self.forget_words(now);
        self.allocated = None;
        self.wants_index = false;
        self.left = None;
        self.shortage = Shortage::default();
        self.limits.launched();
        self.note = None;
        self.figures.launched();
        self.sharing.launched(self.policy.launch, self.goes_outside);
        self.tokens = Tokens::default();
        self.answers = Answers::default();
        self.passage = Passage::default();
        self.asked_token = Answers::default();
        self.kernels = None;
        self.gpu_processes = GpuProcesses::default();
        self.rolls = false;
        self.outside = self.goes_outside;
    }

    /// A health probe answered.
    pub fn probed(&mut self, health: Health, now: Moment) {
        self.answers.probed(health, self.gap(), now);
        let works = health == Health::NoAnswer && self.gets_on(now);
        if works {
            // Its front end is busy: tokens that move say more than an answer that is late.
        } else if health == Health::Ok {
            self.healthy_since = self.healthy_since.or(Some(now));
            self.bad_probes = 0;
        } else {
            self.bad_probes += 1;
            if self.stage != Stage::Serving || self.bad_probes >= BAD_PROBES {
                self.healthy_since = None;
            }
        }
        self.health.saw(health, now);
    }

    /// What its output hints at as the reason why it did not come up; empty: nothing.
    pub fn hint(&self) -> &'static str {
        if self.wants_index {
            "; its output says that it wants a number in CUDA_VISIBLE_DEVICES and found a UUID: set gpu_named_by = \"index\""
        } else {
            ""
        }
    }

    /// Its processes, as last seen: never without its main process while that lives.
    pub fn processes(&self) -> Vec<ProcessId> {
        let mut all = self.tree.last().cloned().unwrap_or_default();
        if let Some(main) = self.main.filter(|main| self.ended.is_none() && !all.contains(main)) {
            all.push(main);
        }
        all
    }

    /// Its tree, as last seen, without those that nothing but its word speaks for.
    pub fn proven(&self) -> Option<impl Iterator<Item = &ProcessId>> {
        Some(self.tree.last()?.iter().filter(|process| !self.claimed.contains(process)))
    }

    /// Whether a process of it lives, as far as is known.
    pub fn alive(&self) -> bool {
        matches!(self.stage, Stage::Starting | Stage::Serving | Stage::Failing | Stage::Ending(_))
    }

    /// Attached, by facts that were all seen after it got healthy; `None`: they are not all there yet. The
    /// client list may be older, if it was asked for since the start: from there on lines keep it.
    pub fn attached_since_healthy(&self, server: &ServerFacts, reading: &Known<Reading>, now: Moment) -> Option<bool> {
        let healthy = self.healthy_since?;
        let tree = self.tree.since(healthy)?;
        server.clients_asked.filter(|asked| *asked >= self.started)?;
        let fresh = reading.fresh(READING_FRESH, now);
        if fresh.is_some() {
            reading.since(healthy)?;
        }
        Some(attachment(tree, &self.claimed, server.clients.last()?, server.pid, fresh) == Attachment::Attached)
    }

    /// Where it is meant to be: attached, or outside MPS on purpose; by what was seen after it got healthy.
    pub fn placed_since_healthy(&self, server: &ServerFacts, reading: &Known<Reading>, now: Moment) -> Option<bool> {
        if self.outside { self.healthy_since.map(|_| true) } else { self.attached_since_healthy(server, reading, now) }
    }

    /// Where it computes, as far as is known now; `None`: unknown, or no process.
    pub fn attachment_now(&self, server: &ServerFacts, reading: &Known<Reading>, now: Moment) -> Option<Attachment> {
        if !self.alive() {
            return None;
        }
        let tree = self.tree.last()?;
        Some(attachment(tree, &self.claimed, server.clients.last()?, server.pid, reading.fresh(READING_FRESH, now)))
    }

    /// Nothing about it changes by time alone, nor by an answer that says what was known.
    pub fn is_steady(&self) -> bool {
        match self.stage {
            Stage::Serving => {
                let whole = !self.seems_detached() && self.gpu_processes.gone().is_none();
                whole && !self.leaving && !self.rolls && !self.moves
            }
            Stage::Stopped | Stage::Quarantined | Stage::Left => !self.leaving && !self.moves,
            _ => false,
        }
    }

    /// Bytes of device memory of its whole tree; `None`: unknown.
    pub fn device_memory(&self, reading: Option<&Reading>) -> Option<u64> {
        let pids = self.proven()?.map(|process| process.pid).collect();
        reading.filter(|_| self.counted)?.memory_of(&pids)
    }

    /// Whether what NVML lists of it can be believed.
    pub fn is_counted(&self) -> bool {
        self.counted
    }

    /// NVML read its GPU. What it lists of this engine is believed where it shows that it speaks of our processes, and
    /// misses none that is a client: in some containers it lists nobody, or other pids.
    pub fn listed(&mut self, reading: &Reading, server: &ServerFacts) {
        let clients = server.clients.last();
        let is_client = |pid: u32| clients.is_some_and(|clients| clients.contains(&pid));
        let pids = || self.proven().into_iter().flatten().map(|process| process.pid);
        let missed = pids().any(|pid| is_client(pid) && !reading.lists(pid));
        let known = pids().any(|pid| reading.lists(pid))
            || clients.is_some_and(|clients| reading.pids_match(clients, server.pid));
        self.counted = known && !missed;
    }

    /// The state that the outside sees.
    pub fn state(&self, blind: bool) -> EngineState {
        match self.stage {
            Stage::Down { .. } if self.died.is_some() => EngineState::Failing,
            Stage::Down { .. } | Stage::Left | Stage::Stopped => EngineState::Stopped,
            Stage::Launching(_) | Stage::Starting => EngineState::Starting,
            Stage::Serving | Stage::Failing if blind => EngineState::Unknown,
            Stage::Serving => EngineState::Serving,
            Stage::Failing => EngineState::Failing,
            Stage::Ending(Ending::Aftershock { .. }) => EngineState::Failing,
            Stage::Ending(_) => EngineState::Stopping,
            Stage::Fallen => EngineState::Stopped,
            Stage::Quarantined => EngineState::Quarantined,
        }
    }
}
