//! The abstract world of the model check: levels only, no delays, around the real core.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use core_world::{GIB, words};
use mpswarden_core::decide::{Input, Memory, Policy, Watchdog};
use mpswarden_core::model::{
    Action, CommandResult, DomainId, EngineKey, EngineLoad, EngineName, EngineState, EngineStatus, Exit, GpuProcess,
    GpuReading, GroupName, GroupState, Health, Look, Member, Moment, Observation, Outcome, Owner, ProcessId, Remaining,
    Request, SentAction, ServerLine, ServerState, Slot, Tier,
};

/// The time that a tick takes: longer than any wait of an engine, a look or a first back-off.
const TICK: Duration = Duration::from_millis(1100);

/// The domains that a group may have.
pub const SLOTS: [Slot; 2] = [Slot::Main, Slot::Isolation];

/// What may still go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Left {
    pub faults: u8,
    pub engine_deaths: u8,
    pub control_deaths: u8,
    pub failures: u8,
    pub crashes: u8,
    pub orders: u8,
    pub losses: u8,
    /// Engines have requests in flight all along: a planned stop drains for its whole time.
    pub busy: bool,
}

/// What an operator may order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    Evict,
    Stop,
    Restart,
    StopGroup,
    StartGroup,
}

/// One step of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The open order at this place ends as it should.
    Succeeds(usize),
    /// The open order at this place fails.
    Fails(usize),
    /// A fatal fault in the server of this domain.
    Fault(Slot),
    EngineDies(usize),
    ControlDies(Slot),
    /// The GPU is lost; or it is there again.
    GpuIsLost(bool),
    Asks(Word),
    Tick,
}

/// A step, and after how many actions of its decision the watchdog dies, if it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    pub step: Step,
    pub crash_after: Option<usize>,
}

/// One engine's process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Living {
    pub slot: Slot,
    pub engine: usize,
    pub incarnation: u32,
    pub killed: bool,
}

/// One domain: its daemon and its server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Side {
    pub control: Option<u32>,
    pub server: Option<(u32, ServerState)>,
    /// It was killed, and nothing was started since.
    pub killed: bool,
    /// How often it was killed and started again.
    pub recoveries: u32,
}

/// Everything at one moment. Two states are the same when they differ in times alone.
#[derive(Clone, Debug)]
pub struct State {
    pub dog: Watchdog,
    pub policy: Policy,
    pub now: Moment,
    pub saved: Memory,
    /// Interventions without an outcome.
    pub open: Vec<SentAction>,
    pub living: Vec<Living>,
    pub main: Side,
    pub isolation: Side,
    /// The GPU is off the bus.
    pub lost: bool,
    pub next_pid: u32,
    pub left: Left,
    pub broken: Option<&'static str>,
    /// Actions of the decision on its way that may still be carried out.
    pub lives_for: Option<usize>,
}

impl State {
    /// Nothing runs yet, and the watchdog is woken.
    pub fn new(policy: Policy, left: Left) -> Self {
        let mut state = State {
            dog: Watchdog::new(policy.clone(), Memory::default()),
            policy,
            now: Moment::ZERO,
            saved: Memory::default(),
            open: Vec::new(),
            living: Vec::new(),
            main: Side::default(),
            isolation: Side::default(),
            lost: false,
            next_pid: 10,
            left,
            broken: None,
            lives_for: None,
        };
        state.tell(Input::Woke);
        state
    }

    pub fn take(&mut self, step: Step) {
        self.now = self.now.after(Duration::from_millis(1));
        match step {
            Step::Succeeds(index) => self.succeed(index),
            Step::Fails(index) => self.fail(index),
            Step::Fault(slot) => self.fault(slot),
            Step::EngineDies(index) => {
                self.left.engine_deaths -= 1;
                let dead = self.living.remove(index);
                self.heal(dead.slot);
                self.engine_ended(&dead);
            }
            Step::ControlDies(slot) => {
                self.left.control_deaths -= 1;
                self.control_ends(slot);
            }
            Step::GpuIsLost(lost) => self.gpu_is_lost(lost),
            Step::Asks(word) => self.ask(word),
            Step::Tick => {
                self.now = self.now.after(TICK);
                self.tell(Input::Woke);
            }
        }
    }

    fn gpu_is_lost(&mut self, lost: bool) {
        self.lost = lost;
        if lost {
            self.left.losses -= 1;
            let gpu = self.policy.gpus[0].uuid.clone();
            self.tell(Input::Observed(Observation::GpuLost { gpu, why: "GPU is lost".to_owned() }));
        }
    }

    /// The first engine is evicted, the second stopped.
    fn ask(&mut self, word: Word) {
        self.left.orders -= 1;
        let request = match word {
            Word::Evict => Request::Evict(self.key(0)),
            Word::Stop => Request::StopEngine(self.key(1)),
            Word::Restart => Request::Restart { group: self.group(), tier: Tier::Clients },
            Word::StopGroup => Request::StopGroup(self.group()),
            Word::StartGroup => Request::StartGroup(self.group()),
        };
        self.tell(Input::Asked(request));
    }

    /// One of its domains.
    pub fn side(&self, slot: Slot) -> &Side {
        match slot {
            Slot::Main => &self.main,
            Slot::Isolation => &self.isolation,
        }
    }

    fn side_mut(&mut self, slot: Slot) -> &mut Side {
        match slot {
            Slot::Main => &mut self.main,
            Slot::Isolation => &mut self.isolation,
        }
    }

    /// Those of its processes that run in this domain.
    pub fn living_in(&self, slot: Slot) -> impl Iterator<Item = &Living> {
        self.living.iter().filter(move |living| living.slot == slot)
    }

    fn fault(&mut self, slot: Slot) {
        self.left.faults -= 1;
        let Some((pid, _)) = self.side(slot).server else { return };
        self.side_mut(slot).server = Some((pid, ServerState::Fault));
        self.log(slot, ServerLine::Fatal { server: pid });
    }

    fn control_ends(&mut self, slot: Slot) {
        let domain = self.domain(slot);
        let server = self.side_mut(slot).server.take();
        if let Some(pid) = self.side_mut(slot).control.take() {
            self.ended(Owner::Control(domain.clone()), pid);
        }
        if let Some((pid, _)) = server {
            self.ended(Owner::Server(domain), pid);
        }
    }

    fn succeed(&mut self, index: usize) {
        let ordered = self.open.remove(index);
        let outcome = match &ordered.action {
            Action::StartControl { domain } => {
                let pid = self.pid();
                self.side_mut(domain.slot).control = Some(pid);
                Outcome::Started { process: process(pid) }
            }
            Action::StopControl { domain, .. } => {
                self.control_ends(domain.slot);
                Outcome::Done
            }
            Action::StartServer { domain } => {
                self.start_server(domain.slot);
                Outcome::Done
            }
            Action::StartEngine { instance, .. } => {
                let index = self.index(&instance.engine.engine);
                Outcome::Started { process: process(pid_of(index, instance.incarnation)) }
            }
            Action::KillEngines { domain, .. } => {
                Outcome::Killed { processes: self.living_in(domain.slot).map(Living::id).collect() }
            }
            Action::AwaitGone { domain, .. } => self.bury(domain.slot),
            Action::StopEngine { engine, .. } => {
                let index = self.index(&engine.engine);
                self.end_where(|living| living.engine == index);
                Outcome::Done
            }
            _ => Outcome::Done,
        };
        self.tell(Input::Finished(ordered.id, outcome));
    }

    fn fail(&mut self, index: usize) {
        self.left.failures -= 1;
        let ordered = self.open.remove(index);
        let outcome = match &ordered.action {
            Action::AwaitGone { domain, .. } => {
                let left = |living: &Living| Remaining { process: living.id(), state: 'D' };
                Outcome::Gone { remaining: self.living_in(domain.slot).map(left).collect() }
            }
            Action::StartEngine { instance, .. } => {
                let (index, incarnation) = (self.index(&instance.engine.engine), instance.incarnation);
                self.living.retain(|living| (living.engine, living.incarnation) != (index, incarnation));
                Outcome::Failed { why: "no such file".to_owned() }
            }
            _ => Outcome::TimedOut,
        };
        self.tell(Input::Finished(ordered.id, outcome));
    }

    fn bury(&mut self, slot: Slot) -> Outcome {
        self.end_where(|living| living.slot == slot && living.killed);
        let left = |living: &Living| Remaining { process: living.id(), state: 'R' };
        Outcome::Gone { remaining: self.living_in(slot).map(left).collect() }
    }

    fn end_where(&mut self, ends: impl Fn(&Living) -> bool) {
        let (dead, living) = self.living.drain(..).partition(ends);
        self.living = living;
        SLOTS.iter().for_each(|slot| self.heal(*slot));
        let dead: Vec<Living> = dead;
        dead.iter().for_each(|dead| self.engine_ended(dead));
    }

    fn heal(&mut self, slot: Slot) {
        let empty = self.living_in(slot).next().is_none();
        if let (true, Some((pid, _))) = (empty, self.side(slot).server) {
            self.side_mut(slot).server = Some((pid, ServerState::Active));
        }
    }

    fn start_server(&mut self, slot: Slot) {
        if self.side(slot).control.is_some() && self.side(slot).server.is_none() {
            let server = self.pid();
            self.side_mut(slot).server = Some((server, ServerState::Active));
            self.log(slot, ServerLine::Starting { server, uid: 0 });
            self.log(slot, ServerLine::Ready { server });
        }
    }

    /// The watchdog dies; what it had started is removed before a new one starts.
    pub fn crash(&mut self) {
        self.lives_for = None;
        self.open.clear();
        self.living.clear();
        for slot in SLOTS {
            *self.side_mut(slot) = Side { recoveries: self.side(slot).recoveries, ..Side::default() };
        }
        self.dog = Watchdog::new(self.policy.clone(), self.saved.clone());
        self.tell(Input::Woke);
    }

    pub fn tell(&mut self, input: Input) {
        let decision = self.dog.handle(input, self.now);
        for ordered in decision.actions {
            match &mut self.lives_for {
                Some(0) => return,
                Some(more) => *more -= 1,
                None => {}
            }
            self.carry_out(ordered);
        }
    }

    fn carry_out(&mut self, ordered: SentAction) {
        if self.lost && matches!(ordered.action, Action::StartControl { .. } | Action::StartEngine { .. }) {
            self.broken = Some("something was started on a lost GPU");
        }
        match &ordered.action {
            Action::Save { memory } => {
                self.saved = serde_json::from_str(memory).unwrap();
                self.tell(Input::Finished(ordered.id, Outcome::Done));
            }
            Action::Look(look) => {
                let seen = self.look(&look.clone());
                let lost = matches!(look, Look::Gpu(_)) && self.lost;
                let known = !seen.is_empty() && !lost || matches!(look, Look::Load(_));
                seen.into_iter().for_each(|seen| self.tell(Input::Observed(seen)));
                let failed = Outcome::Failed { why: "unreachable".to_owned() };
                self.tell(Input::Finished(ordered.id, if known { Outcome::Done } else { failed }));
            }
            Action::WatchServer { server, .. } => {
                let outcome = Outcome::Started { process: process(*server) };
                self.tell(Input::Finished(ordered.id, outcome));
            }
            Action::StartEngine { instance, .. } => {
                let (engine, incarnation) = (self.index(&instance.engine.engine), instance.incarnation);
                self.start_engine(instance.domain().slot, engine, incarnation);
                self.open.push(ordered);
            }
            Action::KillEngines { domain, .. } => {
                let slot = domain.slot;
                self.side_mut(slot).killed = true;
                let of_it = self.living.iter_mut().filter(|living| living.slot == slot);
                of_it.for_each(|living| living.killed = true);
                self.open.push(ordered);
            }
            _ => self.open.push(ordered),
        }
    }

    fn start_engine(&mut self, slot: Slot, engine: usize, incarnation: u32) {
        if self.living.iter().any(|living| living.engine == engine) {
            self.broken = Some("an engine was started while its predecessor lived");
        }
        if self.living_in(slot).any(|living| living.killed) {
            self.broken = Some("an engine was started while a process of the old generation lived");
        }
        let side = self.side_mut(slot);
        side.recoveries += u32::from(std::mem::take(&mut side.killed));
        self.living.push(Living { slot, engine, incarnation, killed: false });
    }

    fn look(&self, look: &Look) -> Vec<Observation> {
        match look {
            Look::Gpu(gpu) if self.lost => {
                vec![Observation::GpuLost { gpu: gpu.clone(), why: "GPU is lost".to_owned() }]
            }
            Look::Gpu(gpu) => vec![Observation::Gpu { gpu: gpu.clone(), reading: self.reading() }],
            Look::Trees(domain) => (0..2).map(|engine| self.tree(domain.slot, engine)).collect(),
            Look::Load(engine) if self.left.busy => {
                let load = EngineLoad { running: Some(1.0), ..EngineLoad::default() };
                vec![Observation::Load { engine: engine.clone(), load }]
            }
            Look::Load(_) | Look::CommandLines { .. } | Look::Environment(_) | Look::Overlap(_) => Vec::new(),
            Look::Pipe(_) => Vec::new(),
            Look::Traffic(_) | Look::Token(_) => Vec::new(),
            Look::Health(engine) => {
                let index = self.index(&engine.engine);
                let slot = engine.domain.slot;
                let serves = self.side(slot).serves();
                let well = serves && self.living_in(slot).any(|living| living.engine == index && !living.killed);
                let health = if well { Health::Ok } else { Health::Refused };
                vec![Observation::Health { engine: engine.clone(), health }]
            }
            Look::Server { domain, .. } | Look::Clients { domain, .. } if self.side(domain.slot).control.is_none() => {
                vec![Observation::ControlReply { domain: domain.clone(), result: CommandResult::Unreachable }]
            }
            Look::Server { domain, .. } => {
                let server = self.side(domain.slot).server;
                let (server, state) = server.map_or((None, ServerState::None), |(pid, state)| (Some(pid), state));
                let answered = Observation::ControlReply { domain: domain.clone(), result: CommandResult::Answered };
                vec![answered, Observation::Server { domain: domain.clone(), server, state }]
            }
            Look::Clients { domain, server } => {
                let clients = self.living_in(domain.slot).map(|living| living.id().pid).collect();
                vec![Observation::Clients { domain: domain.clone(), server: *server, clients }]
            }
        }
    }

    fn tree(&self, slot: Slot, engine: usize) -> Observation {
        let processes = self.living_in(slot).filter(|living| living.engine == engine).map(Living::id).collect();
        Observation::Tree { engine: self.member(slot, engine), processes }
    }

    fn reading(&self) -> GpuReading {
        let list: Vec<GpuProcess> =
            self.living.iter().map(|living| GpuProcess { pid: living.id().pid, memory: Some(GIB) }).collect();
        GpuReading {
            activity: None,
            memory_used: Some(GIB * list.len() as u64),
            memory_total: Some(140 * GIB),
            busy: None,
            compute: Some(list.clone()),
            mps: Some(list),
            recovery_action: None,
        }
    }

    /// Lets everything succeed from here on: it must come to an end.
    pub fn settles(mut self) -> bool {
        self.lost = false;
        for _ in 0..200 {
            let status = self.dog.status(self.now);
            let group = &status.groups[0];
            let memory = self.dog.memory();
            let known = |name: &EngineName| memory.groups.values().find_map(|domain| domain.engines.get(name));
            let rests = |name: &EngineName| known(name).is_some_and(|engine| engine.rest.is_some());
            let over = |state| matches!(state, EngineState::Serving | EngineState::Quarantined);
            let at_rest = |engine: &EngineStatus| engine.state == EngineState::Stopped && rests(&engine.name);
            let done = |engine: &EngineStatus| over(engine.state) || at_rest(engine);
            let serves = group.recovery.is_none() && group.engines.iter().all(done);
            let stopped = group.state == GroupState::Stopped && self.living.is_empty();
            if group.held.is_some() || serves || stopped {
                return true;
            }
            self.take(if self.open.is_empty() { Step::Tick } else { Step::Succeeds(0) });
        }
        false
    }

    fn engine_ended(&mut self, dead: &Living) {
        self.ended(Owner::Engine(self.member(dead.slot, dead.engine).instance(dead.incarnation)), dead.id().pid);
    }

    fn ended(&mut self, owner: Owner, pid: u32) {
        let ended = Observation::Ended { owner, process: process(pid), exit: Exit::Signal(9) };
        self.tell(Input::Observed(ended));
    }

    fn log(&mut self, slot: Slot, line: ServerLine) {
        let domain = self.domain(slot);
        self.tell(Input::Observed(Observation::Log { domain, line, stamped: self.now }));
    }

    fn group(&self) -> GroupName {
        self.policy.groups[0].name.clone()
    }

    fn domain(&self, slot: Slot) -> DomainId {
        DomainId { group: self.group(), slot }
    }

    fn member(&self, slot: Slot, engine: usize) -> Member {
        self.domain(slot).member(&self.policy.groups[0].engines[engine].name)
    }

    fn key(&self, engine: usize) -> EngineKey {
        self.member(Slot::Main, engine).key()
    }

    fn index(&self, name: &EngineName) -> usize {
        self.policy.groups[0].engines.iter().position(|engine| engine.name == *name).unwrap()
    }

    fn pid(&mut self) -> u32 {
        self.next_pid += 1;
        self.next_pid
    }

    /// All that tells two states apart, without their times.
    fn digest(&self) -> String {
        let status = self.dog.status(self.now);
        let step = status.groups[0].recovery.map(|recovery| (recovery.tier, recovery.step));
        let status = words::status(&status);
        let counts = self.saved.groups.iter().map(|(domain, memory)| {
            let failures: Vec<usize> = memory.engines.values().map(|engine| engine.failures.len()).collect();
            let rests: Vec<_> = memory.engines.values().map(|engine| engine.rest).collect();
            let repeats = memory.isolation.last.is_some();
            (domain.slot, memory.attempts.len(), failures, rests, memory.stopped, repeats)
        });
        let counts: Vec<_> = counts.collect();
        let open: Vec<&Action> = self.open.iter().map(|ordered| &ordered.action).collect();
        let levels = (&self.living, SLOTS.map(|slot| self.side(slot).levels()), self.lost);
        let told = (self.left, self.broken);
        format!("{status:?} {step:?} {counts:?} {open:?} {levels:?} {told:?}")
    }
}

impl Side {
    /// Whether its server is ACTIVE.
    pub fn serves(&self) -> bool {
        self.server.is_some_and(|(_, state)| state == ServerState::Active)
    }

    fn levels(&self) -> (bool, Option<ServerState>, bool, u32) {
        (self.control.is_some(), self.server.map(|server| server.1), self.killed, self.recoveries)
    }
}

impl Living {
    fn id(&self) -> ProcessId {
        process(pid_of(self.engine, self.incarnation))
    }
}

fn pid_of(engine: usize, incarnation: u32) -> u32 {
    1000 * (u32::try_from(engine).unwrap() + 1) + incarnation
}

fn process(pid: u32) -> ProcessId {
    ProcessId { pid, started_at: 1 }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.digest().hash(hasher);
    }
}

impl PartialEq for State {
    fn eq(&self, other: &State) -> bool {
        self.digest() == other.digest()
    }
}
