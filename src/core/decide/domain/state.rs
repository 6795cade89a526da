//! One fault domain: everything that is known of it and the phase it is in.
//!
//! ```text
//! Waiting --> Restart(first start) --> Running --> Stopping --> Stopped
//!                    ^                    |
//!                    +---- a fault -------+
//! ```

use std::collections::{BTreeMap, BTreeSet};

use crate::decide::domain::intent::{Asked, Budget, Down, PartOfIt};
use crate::decide::domain::phase::{AfterStop, Phase};
use crate::decide::domain::teardown::Target;
use crate::decide::evidence::isolation::Isolation;
use crate::decide::evidence::search::Hit;
use crate::decide::evidence::suspects::Suspects;
use crate::decide::facts::active_time::ActiveTime;
use crate::decide::facts::around::{Around, Departed};
use crate::decide::facts::engine::Engine;
use crate::decide::facts::foreign::Foreign;
use crate::decide::facts::guard::{Attempts, Jitter};
use crate::decide::facts::overlap::known::Overlap;
use crate::decide::facts::pulse::Pulse;
use crate::decide::facts::reading::Reading;
use crate::decide::facts::scene::Scene;
use crate::decide::facts::server_start::Tone;
use crate::decide::facts::spread::Seats;
use crate::decide::facts::strangers::Strangers;
use crate::decide::facts::{ControlFacts, ServerFacts, ServerNews};
use crate::decide::open_actions::{DomainNumber, Purpose};
use crate::decide::policy::GroupPolicy;
use crate::decide::remembered::GroupMemory;
use crate::decide::turn::Turn;
use crate::model::{
    Action, DomainId, EngineName, Exit, Health, Known, Member, Moment, Observation, Outcome, Owner, ProcessId,
    ServerLine, Slot, What,
};

/// Upper bound for beginning to follow the end of a server.
const WATCH_BOUND: std::time::Duration = std::time::Duration::from_secs(5);

/// One fault domain: a control daemon, its server, and the engines that die together.
#[derive(Clone, Debug)]
pub(crate) struct Domain {
    /// Which of this run: a domain that comes back is another one.
    pub number: DomainNumber,
    pub phase: Phase,
    /// Everything that is known of it.
    pub scene: Scene,
    /// Time since which every engine that is not quarantined serves.
    pub serving_since: Option<Moment>,
    /// Time by how many engines had requests in flight.
    pub active: ActiveTime,
    /// The kernel probe's windows, and whether sharing the GPU pays.
    pub overlap: Overlap,
    /// When it is to be stepped.
    pub pulse: Pulse,
    /// Whether it is to be down, and what becomes of it then.
    pub down: Down,
    /// An operator let it go on over what was known until then to ail its GPU.
    pub gpu_excused: Option<Moment>,
    /// Who did it, while a fault of the whole group is not over, and what is remembered of earlier ones.
    pub suspects: Suspects,
    /// The engines that a fault hit, which was not weighed yet.
    pub hit: Option<Hit>,
    /// The engine that is being taken out and started again for a changed configuration.
    pub rolling: Option<EngineName>,
    /// Restarts that it had, and those that it may still have.
    pub budget: Budget,
    /// What it was asked for.
    pub asked: Asked,
    /// The last fault that hit a part of it.
    pub part: PartOfIt,
}

impl Scene {
    /// NVML read the group's GPU.
    pub(crate) fn gpu_read(&mut self, reading: &Reading) {
        if let Some(clients) = self.server.clients.last().filter(|clients| !clients.is_empty()) {
            self.around.pids_match = reading.pids_match(clients, self.server.pid);
        }
        for engine in &mut self.engines {
            engine.listed(reading, &self.server);
        }
    }

    /// Clients that its server takes: as a server said, else by the driver's version; `None`: that is not known.
    pub(crate) fn clients_limit(&self) -> Option<u32> {
        self.server.limit.or(self.policy.clients_limit)
    }

    /// Its server has all the clients that it takes, as far as is known.
    pub(crate) fn is_full(&self) -> bool {
        let clients = self.server.clients.last().map_or(0, |clients| clients.len());
        let limit = self.clients_limit();
        limit.is_some_and(|limit| u32::try_from(clients).is_ok_and(|clients| clients >= limit))
    }

    /// The engine of that name.
    pub(crate) fn engine(&self, name: &EngineName) -> Option<&Engine> {
        self.engines.iter().find(|engine| engine.name() == name)
    }

    /// The engine of that name, to be changed.
    pub(crate) fn engine_mut(&mut self, name: &EngineName) -> Option<&mut Engine> {
        self.engines.iter_mut().find(|engine| engine.name() == name)
    }

    /// The pids of all engines, as last seen.
    pub(crate) fn pids(&self) -> BTreeSet<u32> {
        self.engines.iter().flat_map(|engine| engine.instance.processes()).map(|process| process.pid).collect()
    }

    /// Those of them that are proven to be an engine's.
    pub(crate) fn proven_pids(&self) -> BTreeSet<u32> {
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
    pub(crate) fn names(&self) -> Vec<EngineName> {
        self.engines.iter().map(|engine| engine.name().clone()).collect()
    }

    /// What is known of it for its teardown.
    pub(crate) fn target(&self) -> Target<'_> {
        let custody = self.policy.custody;
        Target { id: &self.id, custody, engines: &self.engines, control: &self.control, server: &self.server }
    }

    /// An engine of this domain.
    pub(crate) fn member(&self, engine: &EngineName) -> Member {
        self.id.member(engine)
    }

    /// What people call it: a group's second domain has no name of its own for them.
    pub(crate) fn called(&self) -> String {
        match self.id.slot {
            Slot::Main => self.id.group.to_string(),
            Slot::Isolation => format!("the second MPS server of {}", self.id.group),
        }
    }

    fn server_news(&mut self, news: ServerNews, turn: &mut Turn<'_>) {
        if let ServerNews::Ready(server) | ServerNews::NewAndReady(server) = news {
            turn.emit(What::ServerStarted { server });
        }
        if let ServerNews::New(server) | ServerNews::NewAndReady(server) = news {
            let watch = Action::WatchServer { domain: self.id.clone(), server };
            turn.send(Purpose::Watch, watch, WATCH_BOUND);
        }
    }

    fn tree(&mut self, name: &EngineName, processes: Vec<ProcessId>, now: Moment) {
        self.trees_seen.saw((), now);
        let before = self.engine(name).and_then(|engine| engine.instance.tree.all.last().cloned()).unwrap_or_default();
        self.tree_without(&before, &processes, now);
        let clients = self.server.clients.last();
        if let Some(engine) = self.engines.iter_mut().find(|engine| engine.name() == name) {
            engine.instance.tree.claimed.retain(|claimed| processes.contains(claimed));
            if engine.stage.has_served() {
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

impl Domain {
    /// A domain that has not started, with what is remembered of it.
    pub(crate) fn new(
        number: DomainNumber,
        id: DomainId,
        policy: GroupPolicy,
        mut memory: GroupMemory,
        seed: u64,
    ) -> Self {
        let engines = policy
            .engines
            .iter()
            .map(|engine| Engine::new(engine.clone(), memory.engines.remove(&engine.name).unwrap_or_default()))
            .collect();
        Domain {
            number,
            scene: Scene {
                id,
                control: ControlFacts::default(),
                server: ServerFacts::default(),
                engines,
                trees_seen: Known::Unknown,
                around: Around {
                    pids_match: true,
                    foreign: Foreign::default(),
                    strangers: Strangers::default(),
                    spread: Seats::default(),
                    host_available: Known::Unknown,
                },
                departed: Departed::default(),
                faults: BTreeMap::new(),
                policy,
            },
            // What the watchdog had started is gone before it comes back, so a stopped group needs no proof.
            phase: if memory.stopped { Phase::Stopped } else { Phase::Waiting },
            budget: Budget {
                generation: memory.generation,
                attempts: Attempts::of(memory.attempts),
                jitter: Jitter::new(seed),
            },
            asked: Asked::default(),
            part: PartOfIt::default(),
            serving_since: None,
            active: ActiveTime::default(),
            overlap: Overlap::default(),
            pulse: Pulse::default(),
            down: Down { kept_down: memory.stopped, after_stop: AfterStop::Stays, left_behind: false },
            gpu_excused: None,
            suspects: Suspects::default(),
            hit: None,
            rolling: None,
        }
    }

    /// The memory of the domain that must survive.
    pub(crate) fn memory(&self) -> GroupMemory {
        GroupMemory {
            generation: self.budget.generation,
            attempts: self.budget.attempts.moments(),
            hold: None,
            stopped: self.down.kept_down,
            isolation: Isolation::default(),
            engines: self.scene.engines.iter().map(|engine| (engine.name().clone(), engine.memory())).collect(),
        }
    }

    /// Takes up a fact about this group.
    pub(crate) fn observe(&mut self, observation: Observation, turn: &mut Turn<'_>) {
        if self.scene.policy.custody.is_others() {
            self.scene.server.may_go_while_idle();
        }
        match observation {
            Observation::Log { line, stamped, .. } => self.server_wrote(line, stamped, turn),
            Observation::Server { server, state, .. } => {
                let news = self.scene.server.asked(server, state, turn.now);
                self.scene.server_news(news, turn);
            }
            Observation::Pipe { connected, .. } => self.scene.knocking(&connected, turn.now),
            Observation::ServerSaid { server, words, trouble, .. } => {
                let tone = if trouble { Tone::Trouble } else { Tone::Plain };
                self.scene.server.starts.said(server, words, tone);
            }
            Observation::Clients { server, clients, .. } => {
                let clients = clients.into_iter().collect();
                if self.scene.server.pid == Some(server) {
                    self.scene.listed(&clients, turn.now);
                }
                self.scene.server.clients_are(server, clients, turn.now);
            }
            Observation::ControlReply { result, .. } => {
                self.scene.control.command(result, turn.now);
                turn.emit(What::Command { result });
            }
            Observation::Ended { owner, process, exit } => self.ended(owner, process, exit, turn),
            Observation::Removed { instance, exit, .. } => self.engine_removed(&instance, exit, turn),
            Observation::Tree { engine, processes } => self.scene.tree(&engine.engine, processes, turn.now),
            Observation::Claimed { engine, processes } => {
                if let Some(engine) = self.scene.engine_mut(&engine.engine) {
                    engine.instance.tree.claimed = processes.into_iter().collect();
                }
            }
            Observation::Health { engine, health } => {
                if let Some(engine) = self.scene.engine_mut(&engine.engine) {
                    engine.probed(health, turn.now);
                }
            }
            Observation::Said { engine, saying, place } => self.heard(&engine.engine, saying, &place, turn),
            Observation::Traffic { engine, traffic } => self.scene.traffic(&engine.engine, traffic, turn.now),
            Observation::Token { engine, given } => {
                let answer = if given { Health::Ok } else { Health::NoAnswer };
                self.scene.token(&engine.engine, answer, turn.now);
            }
            Observation::Usage { engine, processes } => self.usage(&engine.engine, &processes, turn.now),
            Observation::Load { engine, load } => self.load(&engine.engine, load, turn.now),
            Observation::CommandLines { asked, found, .. } => self.scene.strangers_seen(&asked, found, turn.now),
            Observation::Gpu { .. } | Observation::RecoveryAction { .. } => {}
            Observation::GpuLost { .. } | Observation::GpuResetNeeded { .. } => {}
            Observation::Xid { .. } | Observation::Blind { .. } | Observation::Heard { .. } => {}
            // They concern all domains of a group: the watchdog takes them up.
            Observation::Overlap { .. } | Observation::Probe { .. } => {}
            Observation::Environment { engine, processes, overwritten } => {
                self.scene.environment(&engine.engine, processes, overwritten, turn.now);
            }
            Observation::MemoryEvents { engine, oom_kills } => {
                self.scene.memory_events(&engine.engine, oom_kills, turn.now)
            }
            Observation::HostMemory { available, .. } => self.scene.around.host_available.saw(available, turn.now),
            Observation::OomKill { pid, line } => self.oom_kill(pid, &line, turn),
        }
    }

    fn server_wrote(&mut self, line: ServerLine, stamped: Moment, turn: &mut Turn<'_>) {
        self.client_leaves(line, stamped, turn.now);
        if let ServerLine::Disconnected { client, .. } = line {
            let left = |engine: &mut Engine| engine.instance.gpu.processes.left(client, turn.now);
            self.scene.engines.iter_mut().for_each(left);
        }
        if let ServerLine::SomeoneLeft { .. } | ServerLine::SomeoneGone { .. } = line {
            self.scene.someone_left(stamped, turn.now);
        }
        let news = self.scene.server.line(line, stamped, turn.now);
        self.scene.server_news(news, turn);
    }

    /// One of this group's orders ended.
    pub(crate) fn finished(
        &mut self,
        id: crate::model::ActionId,
        purpose: Purpose,
        outcome: Outcome,
        turn: &mut Turn<'_>,
    ) {
        match purpose {
            Purpose::Watch => match outcome {
                Outcome::Started { process } => self.scene.server.process = Some(process),
                // Nobody follows its end: what the control daemon says must do.
                Outcome::Done
                | Outcome::Killed { .. }
                | Outcome::Gone { .. }
                | Outcome::Failed { .. }
                | Outcome::Waits { .. }
                | Outcome::TimedOut
                | Outcome::NotUnderstood { .. }
                | Outcome::NotAsked { .. } => self.asked.server = Some(turn.now),
            },
            Purpose::Launch(name) | Purpose::Engine(name) => self.engine_finished(id, &name, outcome, turn),
            Purpose::Fence(name) => self.fence_ended(id, &name, turn),
            Purpose::Group | Purpose::Control => match &self.phase {
                Phase::Restart(_) => self.restart_finished(id, outcome, turn),
                Phase::Stopping(_) => self.stopping_finished(id, outcome, turn),
                Phase::Running(_) if purpose == Purpose::Control => self.control_search_ended(id, outcome, turn),
                Phase::Waiting | Phase::InRestart | Phase::Running(_) | Phase::Stopped => {}
            },
            Purpose::Look(_) | Purpose::Save | Purpose::Driver => {}
        }
    }

    /// Goes as far as it can with what is known.
    pub(crate) fn step(&mut self, turn: &mut Turn<'_>) {
        self.scene.server.kept_out.forget_old(turn.now);
        self.scene.note_attachments(turn.gpu, turn.now);
        self.scene.judge_words(turn);
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
    pub(crate) fn next_deadline(&self, now: Moment) -> Option<Moment> {
        let phase = match &self.phase {
            Phase::Restart(restart) => self.restart_deadline(restart),
            Phase::Running(_) => self.running_deadline(now),
            Phase::Waiting | Phase::InRestart | Phase::Stopping(_) | Phase::Stopped => None,
        };
        let engines = self.scene.engines.iter().filter_map(|engine| self.engine_deadline(engine, now));
        let words = self.scene.engines.iter().flat_map(|engine| engine.instance.shortage.until());
        let ready =
            self.scene.engines.iter().flat_map(|engine| [engine.environment_due(), engine.count_due()]).flatten();
        let full = self.scene.server.full.map(|full| full.until());
        let unseen = self.scene.server.kept_out.deadline();
        let names = self.scene.server.torn.due().filter(|_| self.scene.may_be_hit_in_part());
        let others = [self.suspects.deadline(), self.scene.words_deadline(now), full, unseen, names, phase];
        engines.chain(words).chain(ready).chain(others.into_iter().flatten()).filter(|at| *at > now).min()
    }

    /// Time since which a restart waits for ACTIVE, if it does.
    pub(crate) fn waiting_for_active(&self) -> Option<Moment> {
        if let Phase::Restart(restart) = &self.phase { restart.waiting_for_active() } else { None }
    }

    fn wait_for_sources(&mut self, turn: &mut Turn<'_>) {
        // A GPU that is sick, or that can't be read, holds the start with its reason.
        let looked = self.may_use(turn.gpu).is_ok() || self.must_wait_for(turn.gpu, turn.now);
        let trees = self.scene.trees_seen.last().is_some() || self.scene.engines.is_empty();
        if looked && trees {
            if self.down.left_behind { self.start_over(turn) } else { self.first_start(turn) }
        }
    }

    fn ended(&mut self, owner: Owner, process: ProcessId, exit: Exit, turn: &mut Turn<'_>) {
        match owner {
            Owner::Control(_) if self.scene.control.process == Some(process) && !self.scene.control.stopping => {
                self.scene.control.died = Some((turn.now, exit));
                self.scene.server.lost_its_daemon(turn.now);
            }
            Owner::Server(_) => {
                self.scene.server.gone(process.pid, turn.now, turn.now);
            }
            Owner::Engine(id) => self.engine_ended(&id.engine.engine, id.incarnation, exit, turn),
            Owner::Control(_) => {}
        }
    }
}
