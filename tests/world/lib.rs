//! A deterministic stand-in for everything outside the core: processes, MPS, NVML and the executor, with the
//! delays that were measured on an H200. No threads and no clock; a test breaks things and reads the journal.
//!
//! `mod` holds the levels and the event queue, `carry_out` does what the core orders, `fates` is what becomes of
//! processes, `fences` waits for last requests, `outsiders` are those that no engine owns, `seats` groups over several GPUs, `sharing` kernel probes, `stuck` engines that stand still, `supervisors` those who run what others started, `breaks` is what can go wrong, `language` reads what scenario files say, `words` writes decisions down, `policies` has the policies that tests start from, `nature` lets a test say how readings differ.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]
#![allow(unreachable_pub, clippy::wildcard_enum_match_arm, clippy::too_many_lines)]

mod breaks;
mod carry_out;
mod drivers;
mod fates;
mod fences;
pub mod language;
mod nature;
mod outsiders;
pub mod policies;
mod seats;
mod sharing;
mod stuck;
mod supervisors;
pub mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mpswarden_core::decide::{Decision, Input, Memory, Policy, Watchdog};
use mpswarden_core::model::gpu::RecoveryAction;
use mpswarden_core::model::{
    Action, ActionId, Custody, DomainId, EngineName, Event, Exit, GpuActivity, GpuProcess, GpuReading, GpuSet, GpuUuid,
    GroupName, Look, Member, Moment, Observation, Outcome, Owner, Plan, ProcessId, SentAction, ServerLine, ServerState,
    Slot, What,
};

pub use breaks::{Break, Knob};
pub use nature::{Nature, Running};
pub use sharing::Windows;
pub use stuck::LOADS;
pub use supervisors::Supervises;

pub const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

/// User that servers serve.
pub const UID: u32 = 1000;
/// The driver tears a killed client down.
const TEARDOWN: Duration = Duration::from_millis(160);
/// The server heals once its last client is gone.
const HEALS: Duration = Duration::from_millis(20);
/// Time after which a client that gets 806 or 700 exits.
const CLIENT_EXITS: Duration = Duration::from_millis(120);
/// Time after which a killed busy client's siblings fail.
const AFTERSHOCK: Duration = Duration::from_millis(140);

pub fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub fn at_ms(millis: u64) -> Moment {
    Moment::ZERO.after(ms(millis))
}

/// The next thing that happens.
#[derive(Debug)]
enum Happening {
    Input(Input),
    Finish(ActionId, Outcome),
    Deadline(ActionId),
    Gone(u32, Exit),
    ServerReady(usize, u32),
    Heals(usize, u32),
    Fatal(usize, u32),
    Connects(u32),
    Ready(u32),
    ControlUp(usize, ActionId),
    ControlFound(usize, ActionId),
    /// A supervisor starts an engine again.
    SupervisorStarts(usize, usize),
    /// An engine of others that was taken away is in the policy no more.
    Forgotten(usize, usize),
    TerminateFailed(ActionId, usize, usize),
}

/// One living process.
#[derive(Debug)]
struct Process {
    id: ProcessId,
    group: usize,
    owner: Owner,
    /// The process is in uninterruptible sleep: signals wait.
    undead: bool,
    /// How it ends once it can.
    signalled: Option<Exit>,
    /// Its whole group was killed.
    with_its_group: bool,
    /// Whoever runs it takes it away.
    taken_away: bool,
}

/// One engine.
#[derive(Debug)]
struct Engine {
    name: EngineName,
    knob: Knob,
    pid: Option<u32>,
    ready: bool,
    client: bool,
    /// `terminate_client` was answered, or timed out.
    terminated: bool,
    /// What it says of its load; `None`: it has no metrics.
    says: Option<stuck::Says>,
    /// Its client is a child of its main process, and lives.
    split: bool,
    core: Option<ProcessId>,
    /// It was started outside MPS.
    outside: bool,
    /// Others run it.
    of_others: bool,
    /// Whose it is, and what may be done to it.
    custody: Custody,
    /// What its supervisor makes of it.
    supervises: Supervises,
    /// It was stopped by those who run it: they do not start it by themselves.
    stopped: bool,
    /// Bytes of device memory, more with each second since that moment.
    memory: (u64, u64, Moment),
    /// Its GPUs, by their places in the group; none: the first.
    seats: BTreeSet<usize>,
}

/// One MPS server.
#[derive(Debug)]
struct Server {
    pid: u32,
    state: ServerState,
}

/// One group.
#[derive(Debug)]
struct Group {
    domain: DomainId,
    gpus: GpuSet,
    control: Option<u32>,
    /// Others run its control daemon.
    of_others: bool,
    /// Whose its control daemon is, and what may be done to it.
    custody: Custody,
    /// Another watchdog looks after it.
    watched_by_another: bool,
    wedged: bool,
    /// Another caller has the daemon's one slot.
    slot_taken: bool,
    /// Commands can't be given: mpswarden lacks the program.
    unaskable: bool,
    /// Servers end at once, with these words.
    server_fails: Option<String>,
    /// Its log has no names for clients.
    nameless: bool,
    /// The server that lets no client in.
    hangs: Option<u32>,
    log_unreadable: bool,
    server: Option<Server>,
    engines: Vec<Engine>,
    /// Clients that no engine owns.
    strays: BTreeSet<u32>,
    /// It is being stopped as a whole: no sibling needs to be spared.
    stopping: bool,
    cannot_start_control: bool,
    /// The next server neither gets ready nor ends.
    next_server_hangs: bool,
    does_not_heal: bool,
    /// Clients that the server's fault hit, where it has several GPUs.
    torn: BTreeSet<u32>,
    /// The log names no client that a fault hit.
    names_nobody: bool,
    /// Nobody is to be ended whose context lives.
    pub(crate) holds_the_living: bool,
    /// When each control command was given.
    commands: Vec<Moment>,
}

/// The GPU.
#[derive(Debug)]
struct Gpu {
    blind: bool,
    /// Readings hang in the driver.
    hangs: bool,
    /// NVML says that it is lost.
    lost: bool,
    /// NVML answers that it requires a reset.
    refuses: bool,
    /// NVML has no figure of its memory.
    without_memory: bool,
    /// What NVML's lists of processes are like.
    lists: Lists,
    /// What the driver wants; `None`: it has no such field.
    action: Option<RecoveryAction>,
    /// Bytes that are never given back.
    leaked: u64,
    leaks: bool,
    /// Activity that GPM shows.
    sm_active: Option<f64>,
}

/// NVML's lists of processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lists {
    /// Both are as measured.
    Whole,
    /// The one of MPS clients is empty.
    NoClients,
    /// There is none of MPS clients.
    WithoutClients,
    /// Both are empty lists.
    Empty,
    /// They name the host's pids.
    HostPids,
}

/// The outside world and the watchdog in it.
pub struct World {
    pub now: Moment,
    pub dog: Watchdog,
    /// The configuration: what there is of `all` now.
    pub policy: Policy,
    /// Everything that there ever was, and which groups and engines of it there are not now.
    all: Policy,
    absent: BTreeSet<(usize, Option<usize>)>,
    /// What was decided, with its times.
    pub journal: Vec<String>,
    /// The same as values: what was emitted, and what was done to the world.
    pub events: Vec<Event>,
    pub deeds: Vec<(Moment, Action)>,
    /// How its readings differ from plain ones.
    pub nature: Option<Box<dyn Nature>>,
    /// Rules that the watchdog broke.
    pub violations: Vec<String>,
    /// The last memory that was saved.
    pub saved: Memory,
    /// Time from an engine's start to its first healthy answer.
    pub start_takes: Duration,
    /// Looks that were given, and when.
    pub looks: Vec<(Moment, Look)>,
    /// What looks at the kernel probes come to.
    pub windows: Windows,
    /// Engines' own metrics can't be read.
    pub load_fails: bool,
    /// Bytes of device memory by which each engine grows a second, from 20 GiB at the beginning.
    pub grows: u64,
    /// Attempts without a result.
    attempts: BTreeMap<(Option<GroupName>, Option<EngineName>), i32>,
    groups: Vec<Group>,
    gpu: Gpu,
    outsiders: BTreeMap<u32, outsiders::Outsider>,
    processes: BTreeMap<u32, Process>,
    queue: BTreeMap<(Moment, u64), Happening>,
    fences: fences::Fences,
    open: BTreeMap<ActionId, SentAction>,
    count: u64,
    next_pid: u32,
}

impl World {
    /// A world in which nothing runs yet. Its watchdog is woken at zero.
    pub fn new(policy: Policy) -> Self {
        World::beginning_at(Moment::ZERO, policy)
    }

    /// The same, at another moment.
    pub fn beginning_at(now: Moment, policy: Policy) -> Self {
        let groups = policy.groups.iter().map(Group::new).collect();
        let mut world = World {
            now,
            dog: Watchdog::new(policy.clone(), Memory::default()),
            all: policy.clone(),
            absent: BTreeSet::new(),
            policy,
            journal: Vec::new(),
            events: Vec::new(),
            deeds: Vec::new(),
            nature: None,
            violations: Vec::new(),
            saved: Memory::default(),
            start_takes: ms(1500),
            looks: Vec::new(),
            windows: Windows::None,
            load_fails: false,
            grows: 0,
            attempts: BTreeMap::new(),
            groups,
            gpu: Gpu {
                blind: false,
                hangs: false,
                lost: false,
                refuses: false,
                without_memory: false,
                lists: Lists::Whole,
                action: Some(RecoveryAction::None),
                leaked: 0,
                leaks: false,
                sm_active: None,
            },
            outsiders: BTreeMap::new(),
            processes: BTreeMap::new(),
            queue: BTreeMap::new(),
            open: BTreeMap::new(),
            fences: fences::Fences::default(),
            count: 0,
            next_pid: 10,
        };
        (0..world.groups.len()).for_each(|group| world.others_start_all(group));
        world.later(Duration::ZERO, Happening::Input(Input::Woke));
        world
    }

    /// When something happens next.
    pub fn next_moment(&self) -> Option<Moment> {
        self.queue.keys().next().map(|key| key.0).into_iter().chain(self.dog.next_deadline()).min()
    }

    /// Lets time pass, exactly as a runtime would: whatever happens first, or the core's own deadline.
    pub fn run_until(&mut self, end: Moment) {
        loop {
            let happens = self.queue.keys().next().copied();
            let deadline = self.dog.next_deadline();
            match (happens, deadline) {
                (Some(key), _) if key.0 <= end && deadline.is_none_or(|at| key.0 <= at) => {
                    self.now = key.0;
                    let happening = self.queue.remove(&key).unwrap();
                    self.happen(happening);
                }
                (_, Some(at)) if at <= end => {
                    self.now = at;
                    self.tell(Input::Woke);
                }
                _ => break,
            }
        }
        self.now = end.max(self.now);
    }

    pub fn run_for(&mut self, time: Duration) {
        self.run_until(self.now.after(time));
    }

    /// The watchdog dies here and is started again; what it had started is removed first, as it promises.
    pub fn crash(&mut self) {
        self.journal.push(format!("{} (the watchdog crashed and is started again)", self.now));
        self.dog = Watchdog::new(self.policy.clone(), self.saved.clone());
        self.queue.clear();
        self.open.clear();
        self.attempts.clear();
        self.processes.clear();
        for group in &mut self.groups {
            group.everything_is_gone();
        }
        (0..self.groups.len()).for_each(|group| self.others_start_all(group));
        self.later(Duration::ZERO, Happening::Input(Input::Woke));
    }

    /// How many processes live.
    pub fn living(&self) -> usize {
        self.processes.len()
    }

    /// When a group's daemon was given commands.
    pub fn commands(&self, group: usize) -> &[Moment] {
        &self.groups[group].commands
    }

    /// Hands the core one input, writes its decision down and carries it out.
    pub fn tell(&mut self, input: Input) -> Decision {
        let plan = match &input {
            Input::Asked(request) => Some(self.dog.plan(request, self.now)),
            _ => None,
        };
        let input = self.as_nature_has_it(input);
        let decision = self.dog.handle(input, self.now);
        self.events.extend_from_slice(&decision.events);
        self.hold_to(plan, &decision);
        if self.dog.next_deadline().is_some_and(|at| at <= self.now) {
            self.violate("next_deadline is not later than now");
        }
        for event in &decision.events {
            self.balance(event);
            if let Some(line) = words::event(event) {
                self.journal.push(format!("{} say {line}", self.now));
            }
        }
        let mut acted = false;
        for ordered in &decision.actions {
            if let Some(line) = words::action(&ordered.action) {
                self.journal.push(format!("{} do {line}", self.now));
            }
            if ordered.action.intervenes() {
                self.deeds.push((self.now, ordered.action.clone()));
            }
            match ordered.action {
                Action::Save { .. } if acted => self.violate("a save after an action of its decision"),
                Action::Save { .. } => {}
                _ => acted = true,
            }
            self.carry_out(ordered.clone());
        }
        decision
    }

    /// An order is done as its plan says, or not at all.
    fn hold_to(&mut self, plan: Option<Result<Plan, String>>, decision: &Decision) {
        let told = decision.events.iter().find_map(|event| match &event.what {
            What::Ordered { detail, .. } => Some(detail.clone()),
            _ => None,
        });
        match plan {
            Some(Err(why)) => self.journal.push(format!("{} refused: {why}", self.now)),
            Some(Ok(plan)) if told == Some(plan.steps.join("; ")) => return,
            None => {}
            Some(Ok(plan)) => self.violate(&format!("planned {plan:?}, told {told:?}")),
        }
        if told.is_some() {
            self.violate(&format!("nobody ordered it or it was refused: {told:?}"));
        }
    }

    /// Each attempt has one result: none without a begin, no second begin before it on the same side.
    fn balance(&mut self, event: &Event) {
        let change = match event.what {
            What::RestartBegan { .. } => 1,
            What::RestartEnded { .. } => -1,
            _ => return,
        };
        let whole = event.engine.is_none();
        let sides = event
            .group
            .as_ref()
            .filter(|_| whole)
            .map_or(1, |group| self.sides(self.find_group(&DomainId::main(group))).len());
        let open = self.attempts.entry((event.group.clone(), event.engine.clone())).or_insert(0);
        *open += change;
        if !(0..=sides as i32).contains(open) {
            self.violate(&format!("attempts and results don't match: {event:?}"));
        }
    }

    fn violate(&mut self, rule: &str) {
        self.violations.push(format!("{} {rule}", self.now));
    }

    fn later(&mut self, wait: Duration, happening: Happening) {
        self.count += 1;
        self.queue.insert((self.now.after(wait), self.count), happening);
    }

    fn observe(&mut self, observation: Observation) {
        self.later(Duration::ZERO, Happening::Input(Input::Observed(observation)));
    }

    fn log(&mut self, group: usize, line: ServerLine) {
        let Some(line) = self.in_its_words(group, line).filter(|_| !self.groups[group].log_unreadable) else { return };
        let domain = self.groups[group].domain.clone();
        self.observe(Observation::Log { domain, line, stamped: self.now });
    }

    fn finish(&mut self, id: ActionId, outcome: Outcome) {
        if self.open.remove(&id).is_some() {
            self.tell(Input::Finished(id, outcome));
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Input(input) => {
                self.fences_see(&input);
                self.tell(input);
            }
            Happening::Finish(id, outcome) => self.finish(id, outcome),
            Happening::Deadline(id) => self.deadline(id),
            Happening::Gone(pid, exit) => self.gone(pid, exit),
            Happening::ServerReady(group, pid) => self.server_ready(group, pid),
            Happening::Heals(group, pid) => self.heals(group, pid),
            Happening::Fatal(group, pid) => self.fatal(group, pid, true, None),
            Happening::Connects(pid) => self.connects(pid),
            Happening::Ready(pid) => {
                let hangs = self.processes.get(&pid).is_some_and(|process| self.lets_nobody_in(process.group));
                if let Some(engine) = self.engine_of(pid).filter(|engine| engine.client || !hangs) {
                    engine.ready = true;
                }
            }
            Happening::TerminateFailed(id, group, place) => self.terminate_failed(id, group, place),
            Happening::ControlUp(group, id) => self.control_up(group, id),
            Happening::ControlFound(group, id) => self.control_found(group, id),
            Happening::SupervisorStarts(group, engine) => self.supervisor_starts(group, engine),
            Happening::Forgotten(group, engine) => self.configure(group, Some(engine), false),
        }
    }

    fn engine_of(&mut self, pid: u32) -> Option<&mut Engine> {
        self.groups.iter_mut().flat_map(|group| &mut group.engines).find(|engine| engine.pid == Some(pid))
    }

    /// What NVML says of a GPU.
    pub fn reading(&self, gpu: &GpuUuid) -> GpuReading {
        let mut compute = Vec::new();
        let mut mps = Vec::new();
        let held = 20 * GIB + self.grows * (self.now.as_secs_f64() as u64);
        for group in self.groups.iter().filter(|group| group.gpus.contains(gpu)) {
            compute.extend(group.server.iter().map(|server| GpuProcess { pid: server.pid, memory: Some(66 * MIB) }));
            let on_gpu =
                |engine: &Engine| engine.client || engine.ready && !engine.split && engine.knob != Knob::OffGpu;
            let here = |place: &usize| on_gpu(&group.engines[*place]) && group.sits_on(*place, gpu);
            for engine in (0..group.engines.len()).filter(here).map(|place| &group.engines[place]) {
                let own = engine.holds(self.now).unwrap_or(held);
                let process = GpuProcess { pid: engine.pid.unwrap_or(0), memory: Some(own) };
                compute.push(process);
                if engine.client || engine.knob == Knob::Elsewhere {
                    mps.push(process);
                }
            }
            let strays = group.strays.iter().filter(|_| group.gpus.first() == gpu);
            mps.extend(strays.map(|pid| GpuProcess { pid: *pid, memory: Some(GIB) }));
        }
        compute.extend(self.foreign_on_gpu());
        let held: u64 =
            compute.iter().chain(mps.iter().filter(|p| !compute.contains(p))).filter_map(|p| p.memory).sum();
        match self.gpu.lists {
            Lists::Whole | Lists::WithoutClients => {}
            Lists::NoClients => mps.clear(),
            Lists::Empty => {
                compute.clear();
                mps.clear();
            }
            Lists::HostPids => compute.iter_mut().chain(&mut mps).for_each(|process| process.pid += 4_000_000),
        }
        let has_memory = !self.gpu.without_memory;
        GpuReading {
            activity: self
                .gpu
                .sm_active
                .map(|active| GpuActivity { sm_active: Some(active), ..GpuActivity::default() }),
            memory_used: has_memory.then_some(600 * MIB + held + self.gpu.leaked),
            memory_total: has_memory.then_some(140 * GIB),
            busy: Some(0.5),
            compute: Some(compute),
            mps: Some(mps).filter(|_| self.gpu.lists != Lists::WithoutClients),
            recovery_action: self.gpu.action,
        }
    }

    /// The second side of a group has the same engines, and comes when it is first named.
    fn open_second_side(&mut self, domain: &DomainId) {
        if domain.slot == Slot::Isolation && !self.groups.iter().any(|group| group.domain == *domain) {
            let home = self.all.groups.iter().find(|group| group.name == domain.group).unwrap();
            let mut side = Group::new(home);
            side.domain = domain.clone();
            side.of_others = false;
            let knobs = &self.groups[self.find_group(&DomainId::main(&domain.group))].engines;
            side.engines.iter_mut().zip(knobs).for_each(|(there, here)| there.knob = here.knob);
            self.groups.push(side);
        }
    }

    /// Both sides of a group.
    fn sides(&self, group: usize) -> Vec<usize> {
        let name = &self.groups[group].domain.group;
        (0..self.groups.len()).filter(|other| self.groups[*other].domain.group == *name).collect()
    }

    /// The side on which the engine has a process, else the first.
    fn side_of(&self, group: usize, engine: usize) -> usize {
        let has = |side: &usize| self.groups[*side].engines.get(engine).is_some_and(|engine| engine.pid.is_some());
        self.sides(group).into_iter().find(has).unwrap_or(group)
    }

    fn find_engine(&self, key: &Member) -> (usize, usize) {
        let group = self.groups.iter().position(|group| group.domain == key.domain).unwrap();
        let engine = self.groups[group].engines.iter().position(|engine| engine.name == key.engine).unwrap();
        (group, engine)
    }

    fn find_group(&self, domain: &DomainId) -> usize {
        self.groups.iter().position(|group| group.domain == *domain).unwrap()
    }
}

impl Engine {
    fn new(name: &EngineName) -> Self {
        let name = name.clone();
        let memory = (0, 0, Moment::ZERO);
        Engine {
            name,
            knob: Knob::Well,
            pid: None,
            ready: false,
            client: false,
            terminated: false,
            says: None,
            split: false,
            core: None,
            outside: false,
            of_others: false,
            custody: Custody::Own,
            supervises: Supervises::Starts,
            stopped: false,
            memory,
            seats: BTreeSet::new(),
        }
    }

    /// Bytes of device memory, where a test says so.
    fn holds(&self, now: Moment) -> Option<u64> {
        let (held, grows, since) = self.memory;
        (held > 0).then(|| held + grows * now.since(since).as_secs())
    }
}

impl Group {
    fn new(policy: &mpswarden_core::decide::policy::GroupPolicy) -> Self {
        Group {
            domain: DomainId::main(&policy.name),
            gpus: policy.gpus.clone(),
            control: None,
            of_others: policy.custody.is_others(),
            custody: policy.custody,
            watched_by_another: false,
            wedged: false,
            slot_taken: false,
            unaskable: false,
            server_fails: None,
            nameless: false,
            hangs: None,
            log_unreadable: false,
            server: None,
            engines: policy
                .engines
                .iter()
                .map(|policy| {
                    let (of_others, custody) = (policy.custody.is_others(), policy.custody);
                    Engine { of_others, custody, ..Engine::new(&policy.name) }
                })
                .collect(),
            strays: BTreeSet::new(),
            stopping: false,
            cannot_start_control: false,
            next_server_hangs: false,
            does_not_heal: false,
            torn: BTreeSet::new(),
            names_nobody: false,
            holds_the_living: policy.spread == mpswarden_core::decide::policy::Spread::Wait,
            commands: Vec::new(),
        }
    }

    fn clients(&self) -> BTreeSet<u32> {
        let engines = self.engines.iter().filter(|engine| engine.client).filter_map(|engine| engine.pid);
        engines.chain(self.strays.iter().copied()).collect()
    }

    fn everything_is_gone(&mut self) {
        self.control = None;
        self.server = None;
        self.stopping = false;
        self.wedged = false;
        self.strays.clear();
        for engine in &mut self.engines {
            engine.pid = None;
            engine.ready = false;
            engine.client = false;
        }
    }
}
