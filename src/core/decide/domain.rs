//! One fault domain: everything that is known of it and the phase it is in.
//!
//! ```text
//! Waiting --> Restart(first start) --> Running --> Stopping --> Stopped
//!                    ^                    |
//!                    +---- a fault -------+
//! ```

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{
    Action, DomainId, EngineName, Exit, Fault, Health, Known, Member, Moment, Observation, Outcome, Owner, ProcessId,
    ServerLine, Slot, What,
};

use super::facts::server_start::Tone;
use super::facts::{ControlFacts, ServerFacts, ServerNews};
use super::isolation::{Hit, Isolation};
use super::orders::{DomainNumber, Purpose};
use super::overlap::Overlap;
use super::phase::{AfterStop, Phase};
use super::policy::GroupPolicy;
use super::pulse::Pulse;
use super::remembered::GroupMemory;
use super::suspects::Suspects;
use super::teardown::Target;
use super::turn::Turn;
use crate::decide::facts::active_time::ActiveTime;
use crate::decide::facts::engine::{Engine, Stage};
use crate::decide::facts::foreign::Foreign;
use crate::decide::facts::guard::{Attempts, Jitter};
use crate::decide::facts::nameless::Nameless;
use crate::decide::facts::newcomers::Killed;
use crate::decide::facts::reading::Reading;
use crate::decide::facts::strangers::Strangers;

/// For following the end of a server.
const WATCH_BOUND: std::time::Duration = std::time::Duration::from_secs(5);

/// One fault domain: a control daemon, its server, and the engines that die together.
#[derive(Clone, Debug)]
pub(super) struct Domain {
    /// Which of this run: a domain that comes back is another one.
    pub number: DomainNumber,
    pub id: DomainId,
    pub policy: GroupPolicy,
    pub phase: Phase,
    pub control: ControlFacts,
    pub server: ServerFacts,
    pub engines: Vec<Engine>,
    /// Engines' processes were looked for at least once.
    pub trees_seen: Known<()>,
    pub generation: u32,
    /// Faults that are there, and since when.
    pub faults: BTreeMap<(Option<EngineName>, Fault), Moment>,
    /// Since when every engine that is not quarantined serves.
    pub serving_since: Option<Moment>,
    /// Time by how many engines had requests in flight.
    pub active: ActiveTime,
    /// The kernel probe's windows, and whether sharing the GPU pays.
    pub overlap: Overlap,
    /// When it is to be stepped.
    pub pulse: Pulse,
    /// An operator stopped it: it is not started before somebody says so.
    pub kept_down: bool,
    /// What becomes of it once it is stopped.
    pub after_stop: AfterStop,
    /// Not everything was proven gone when it was stopped: its next start begins with the kill and the proof.
    pub left_behind: bool,
    /// An operator let it go on over what was known until then to ail its GPU.
    pub gpu_excused: Option<Moment>,
    /// Who did it, while a fault of the whole group is not over, and what is remembered of earlier ones.
    pub suspects: Suspects,
    /// A fault hit these engines, and nobody weighed it yet.
    pub hit: Option<Hit>,
    /// The engine that is being taken out and started again for a changed configuration.
    pub rolling: Option<EngineName>,
    /// What restarts it may still have.
    pub budget: Budget,
    /// Whoever else is on its GPU and its host.
    pub around: Around,
    /// What it was asked for.
    pub asked: Asked,
    /// Clients that left its server.
    pub departed: Departed,
}

/// What restarts a domain may still have.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    /// When whole restarts were ordered.
    pub attempts: Attempts,
    /// Spreads the waits between them.
    pub jitter: Jitter,
}

/// Whoever else is on a domain's GPU and its host.
#[derive(Clone, Debug)]
pub(super) struct Around {
    /// NVML speaks of our pids; false in some containers.
    pub pids_match: bool,
    /// Who computes on its GPU and belongs to no group.
    pub foreign: Foreign,
    /// What /proc says of processes that no engine owns.
    pub strangers: Strangers,
    /// Bytes of host memory that are left.
    pub host_available: Known<u64>,
}

/// What a domain is asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    /// Since when something makes the server's word urgent.
    pub server: Option<Moment>,
    /// When a server was last asked for while engines ran, since the daemon had let its own go.
    pub for_server: Option<Moment>,
}

/// Clients that left a domain's server.
#[derive(Clone, Debug, Default)]
pub(super) struct Departed {
    /// A client that was killed, in its server's life.
    pub killed: Killed,
    /// A client that left and that the log has no name for.
    pub nameless: Nameless,
}

impl Domain {
    /// A domain that has not started, with what is remembered of it.
    pub fn new(number: DomainNumber, id: DomainId, policy: GroupPolicy, mut memory: GroupMemory, seed: u64) -> Self {
        let engines = policy
            .engines
            .iter()
            .map(|engine| Engine::new(engine.clone(), memory.engines.remove(&engine.name).unwrap_or_default()))
            .collect();
        Domain {
            number,
            id,
            // What the watchdog had started is gone before it comes back, so a stopped group needs no proof.
            phase: if memory.stopped { Phase::Stopped } else { Phase::Waiting },
            control: ControlFacts::default(),
            server: ServerFacts::default(),
            engines,
            trees_seen: Known::Unknown,
            budget: Budget { attempts: Attempts::of(memory.attempts), jitter: Jitter::new(seed) },
            around: Around {
                pids_match: true,
                foreign: Foreign::default(),
                strangers: Strangers::default(),
                host_available: Known::Unknown,
            },
            asked: Asked::default(),
            departed: Departed::default(),
            generation: memory.generation,
            faults: BTreeMap::new(),
            serving_since: None,
            active: ActiveTime::default(),
            overlap: Overlap::default(),
            pulse: Pulse::default(),
            kept_down: memory.stopped,
            after_stop: AfterStop::Stays,
            left_behind: false,
            gpu_excused: None,
            suspects: Suspects::default(),
            hit: None,
            rolling: None,
            policy,
        }
    }

    /// What must survive.
    pub fn memory(&self) -> GroupMemory {
        GroupMemory {
            generation: self.generation,
            attempts: self.budget.attempts.moments(),
            hold: None,
            stopped: self.kept_down,
            isolation: Isolation::default(),
            engines: self.engines.iter().map(|engine| (engine.name().clone(), engine.memory())).collect(),
        }
    }

    /// Takes up a fact about this group.
    pub fn observe(&mut self, observation: Observation, turn: &mut Turn<'_>) {
        match observation {
            Observation::Log { line, stamped, .. } => {
                self.client_leaves(line, stamped, turn.now);
                if let ServerLine::Disconnected { client, .. } = line {
                    self.engines.iter_mut().for_each(|engine| engine.instance.gpu.processes.left(client, turn.now));
                }
                if let ServerLine::SomeoneLeft { .. } | ServerLine::SomeoneGone { .. } = line {
                    self.someone_left(stamped, turn.now);
                }
                let news = self.server.line(line, stamped, turn.now);
                self.server_news(news, turn);
            }
            Observation::Server { server, state, .. } => {
                let news = self.server.asked(server, state, turn.now);
                self.server_news(news, turn);
            }
            Observation::Pipe { connected, .. } => self.knocking(&connected, turn.now),
            Observation::ServerSaid { server, words, trouble, .. } => {
                let tone = if trouble { Tone::Trouble } else { Tone::Plain };
                self.server.starts.said(server, words, tone);
            }
            Observation::Clients { server, clients, .. } => {
                let clients = clients.into_iter().collect();
                if self.server.pid == Some(server) {
                    self.listed(&clients, turn.now);
                }
                self.server.clients_are(server, clients, turn.now);
            }
            Observation::Command { result, .. } => {
                self.control.command(result, turn.now);
                turn.emit(What::Command { result });
            }
            Observation::Ended { owner, process, exit } => self.ended(owner, process, exit, turn),
            Observation::Tree { engine, processes } => self.tree(&engine.engine, processes, turn.now),
            Observation::Claimed { engine, processes } => {
                if let Some(engine) = self.engine_mut(&engine.engine) {
                    engine.instance.tree.claimed = processes.into_iter().collect();
                }
            }
            Observation::Health { engine, health } => {
                if let Some(engine) = self.engine_mut(&engine.engine) {
                    engine.probed(health, turn.now);
                }
            }
            Observation::Said { engine, saying, place } => self.heard(&engine.engine, saying, &place, turn),
            Observation::Traffic { engine, traffic } => self.traffic(&engine.engine, traffic, turn.now),
            Observation::Token { engine, given } => {
                let answer = if given { Health::Ok } else { Health::NoAnswer };
                self.token(&engine.engine, answer, turn.now);
            }
            Observation::Usage { engine, processes } => self.usage(&engine.engine, &processes, turn.now),
            Observation::Load { engine, load } => self.load(&engine.engine, load, turn.now),
            Observation::Commands { asked, found, .. } => self.strangers_seen(&asked, found, turn.now),
            Observation::Gpu { .. } | Observation::RecoveryAction { .. } => {}
            Observation::GpuLost { .. } | Observation::GpuResetNeeded { .. } => {}
            Observation::Xid { .. } | Observation::Blind { .. } | Observation::Heard { .. } => {}
            // They concern all domains of a group: the watchdog takes them up.
            Observation::Overlap { .. } | Observation::Probe { .. } => {}
            Observation::Environment { engine, processes, overwritten } => {
                self.environment(&engine.engine, processes, overwritten, turn.now);
            }
            Observation::MemoryEvents { engine, oom_kills } => self.memory_events(&engine.engine, oom_kills, turn.now),
            Observation::HostMemory { available, .. } => self.around.host_available.saw(available, turn.now),
            Observation::OomKill { pid, line } => self.oom_kill(pid, &line, turn),
        }
    }

    /// NVML read the group's GPU.
    pub fn gpu_read(&mut self, reading: &Reading) {
        if let Some(clients) = self.server.clients.last().filter(|clients| !clients.is_empty()) {
            self.around.pids_match = reading.pids_match(clients, self.server.pid);
        }
        for engine in &mut self.engines {
            engine.listed(reading, &self.server);
        }
    }

    /// One of this group's orders ended.
    pub fn finished(&mut self, id: crate::model::ActionId, purpose: Purpose, outcome: Outcome, turn: &mut Turn<'_>) {
        match purpose {
            Purpose::Watch => match outcome {
                Outcome::Started { process } => self.server.process = Some(process),
                // Nobody follows its end: what the control daemon says must do.
                _ => self.asked.server = Some(turn.now),
            },
            Purpose::Launch(name) | Purpose::Engine(name) => self.engine_finished(id, &name, outcome, turn),
            Purpose::Group | Purpose::Control => match &self.phase {
                Phase::Restart(_) => self.restart_finished(id, outcome, turn),
                Phase::Stopping(_) => self.stopping_finished(id, outcome, turn),
                Phase::Waiting | Phase::InRestart | Phase::Running(_) | Phase::Stopped => {}
            },
            Purpose::Look(_) | Purpose::Save => {}
        }
    }

    /// Goes as far as it can with what is known.
    pub fn step(&mut self, turn: &mut Turn<'_>) {
        self.server.kept_out.forget_old(turn.now);
        self.note_attachments(turn.gpu, turn.now);
        self.judge_words(turn);
        let found = self.note_faults(turn);
        self.tell_of_joined_foreigners(turn);
        self.reconsider(turn);
        match self.phase {
            Phase::Waiting => self.wait_for_sources(turn),
            Phase::Running(_) => {
                self.run(&found, turn);
                self.note_faults(turn);
            }
            Phase::Restart(_) => self.advance_restart(turn),
            Phase::Stopping(_) => self.advance_stopping(turn),
            Phase::InRestart | Phase::Stopped => {}
        }
    }

    /// The earliest moment at which time alone may change something.
    pub fn next_deadline(&self, now: Moment) -> Option<Moment> {
        let phase = match &self.phase {
            Phase::Restart(restart) => self.restart_deadline(restart),
            Phase::Running(_) => self.running_deadline(now),
            Phase::Waiting | Phase::InRestart | Phase::Stopping(_) | Phase::Stopped => None,
        };
        let engines = self.engines.iter().filter_map(|engine| self.engine_deadline(engine, now));
        let words = self.engines.iter().flat_map(|engine| engine.instance.shortage.until());
        let ready = self.engines.iter().flat_map(|engine| [engine.environment_due(), engine.count_due()]).flatten();
        let full = self.server.full.map(|full| full.until());
        let unseen = self.server.kept_out.deadline();
        let others = [self.suspects.deadline(), self.words_deadline(now), full, unseen, phase];
        engines.chain(words).chain(ready).chain(others.into_iter().flatten()).filter(|at| *at > now).min()
    }

    /// Clients that its server takes: as a server said, else by the driver's version; `None`: nobody knows.
    pub fn clients_limit(&self) -> Option<u32> {
        self.server.limit.or(self.policy.clients_limit)
    }

    /// Its server has all the clients that it takes, as far as is known.
    pub fn is_full(&self) -> bool {
        let clients = self.server.clients.last().map_or(0, |clients| clients.len());
        let limit = self.clients_limit();
        limit.is_some_and(|limit| u32::try_from(clients).is_ok_and(|clients| clients >= limit))
    }

    /// Since when a restart waits for ACTIVE, if it does.
    pub fn waiting_for_active(&self) -> Option<Moment> {
        match &self.phase {
            Phase::Restart(restart) => restart.waiting_for_active(),
            _ => None,
        }
    }

    /// The engine of that name.
    pub fn engine(&self, name: &EngineName) -> Option<&Engine> {
        self.engines.iter().find(|engine| engine.name() == name)
    }

    /// The engine of that name, to be changed.
    pub fn engine_mut(&mut self, name: &EngineName) -> Option<&mut Engine> {
        self.engines.iter_mut().find(|engine| engine.name() == name)
    }

    /// The pids of all engines, as last seen.
    pub fn pids(&self) -> BTreeSet<u32> {
        self.engines.iter().flat_map(|engine| engine.instance.processes()).map(|process| process.pid).collect()
    }

    /// Those of them that are proven to be an engine's.
    pub fn proven_pids(&self) -> BTreeSet<u32> {
        let proven = |engine: &Engine| {
            engine
                .instance
                .processes()
                .into_iter()
                .filter(|process| !engine.instance.tree.claimed.contains(process))
                .collect::<Vec<_>>()
        };
        self.engines.iter().flat_map(proven).map(|process| process.pid).collect()
    }

    /// The names of all engines.
    pub fn names(&self) -> Vec<EngineName> {
        self.engines.iter().map(|engine| engine.name().clone()).collect()
    }

    /// What is known of it to whoever ends it.
    pub fn target(&self) -> Target<'_> {
        Target { id: &self.id, engines: &self.engines, control: &self.control, server: &self.server }
    }

    /// An engine of this domain.
    pub fn member(&self, engine: &EngineName) -> Member {
        self.id.member(engine)
    }

    /// What people call it: a group's second domain has no name of its own for them.
    pub fn called(&self) -> String {
        match self.id.slot {
            Slot::Main => self.id.group.to_string(),
            Slot::Isolation => format!("the second side of {}", self.id.group),
        }
    }

    fn wait_for_sources(&mut self, turn: &mut Turn<'_>) {
        // A GPU that is sick, or that nobody can read, holds the start with its reason.
        let looked = self.may_use(turn.gpu).is_ok() || self.must_wait_for(turn.gpu, turn.now);
        if looked && self.trees_seen.last().is_some() {
            if self.left_behind { self.start_over(turn) } else { self.first_start(turn) }
        }
    }

    fn server_news(&mut self, news: ServerNews, turn: &mut Turn<'_>) {
        if let ServerNews::Ready(server) | ServerNews::NewAndReady(server) = news {
            turn.emit(What::ServerStarted { server });
        }
        if let ServerNews::New(server) | ServerNews::NewAndReady(server) = news {
            let watch = Action::WatchServer { domain: self.id.clone(), server };
            turn.order(Purpose::Watch, watch, WATCH_BOUND);
        }
    }

    fn ended(&mut self, owner: Owner, process: ProcessId, exit: Exit, turn: &mut Turn<'_>) {
        match owner {
            Owner::Control(_) if self.control.process == Some(process) && !self.control.stopping => {
                self.control.died = Some((turn.now, exit));
                self.server.lost_its_daemon(turn.now);
            }
            Owner::Server(_) => {
                self.server.gone(process.pid, turn.now, turn.now);
            }
            Owner::Engine(id) => self.engine_ended(&id.engine.engine, id.incarnation, exit, turn),
            Owner::Control(_) => {}
        }
    }

    fn tree(&mut self, name: &EngineName, processes: Vec<ProcessId>, now: Moment) {
        self.trees_seen.saw((), now);
        let before = self.engine(name).and_then(|engine| engine.instance.tree.all.last().cloned()).unwrap_or_default();
        self.tree_without(&before, &processes, now);
        let clients = self.server.clients.last();
        if let Some(engine) = self.engines.iter_mut().find(|engine| engine.name() == name) {
            engine.instance.tree.claimed.retain(|claimed| processes.contains(claimed));
            if matches!(engine.stage, Stage::Serving | Stage::Failing) {
                let proven: Vec<ProcessId> = processes
                    .iter()
                    .filter(|process| !engine.instance.tree.claimed.contains(process))
                    .copied()
                    .collect();
                engine.instance.gpu.processes.looked(&proven, clients, now);
            }
            if engine.instance.tree.all.last() != Some(&processes) {
                engine.instance.limits.processes_changed(now);
            }
            engine.instance.shortage.lives(processes.iter().map(|process| process.pid), now);
            engine.instance.tree.all.saw(processes, now);
        }
    }
}
