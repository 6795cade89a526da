//! What can go wrong in the stand-in world.

use std::collections::BTreeSet;
use std::time::Duration;

use mpswarden_core::decide::{Input, PolicyChange};
use mpswarden_core::model::Request;
use mpswarden_core::model::gpu::RecoveryAction;
use mpswarden_core::model::{
    EngineKey, Exit, LinePlace, Member, Mode, Observation, ProbeState, Saying, ServerLine, ServerState, XidVia,
};

use super::sharing::Windows;
use super::stuck::Says;
use super::{Engine, Group, Happening, Lists, Supervises, World, ms, policies};

/// How an engine behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knob {
    Well,
    ExitsAtOnce,
    NeverReady,
    CannotStart,
    OutsideMps,
    /// It computes as a client of another server.
    Elsewhere,
    /// It serves and computes nowhere.
    OffGpu,
    /// Its process does not die: a driver call hangs.
    Undead,
    /// It catches its error and stays.
    Lingers,
    /// It has a long kernel in flight.
    Busy,
    IgnoresTerm,
    HangsInTerminate,
    /// `terminate_client` never answers, and the daemon is wedged behind it.
    WedgesInTerminate,
    /// It answers nothing and lives.
    Silent,
    /// The same, and SIGSTOP is why: TERM waits.
    Frozen,
    /// It closed its port and does not end; TERM does nothing.
    Leaving,
    /// A wrapper that does not pass its limits on.
    DropsLimits,
}

impl Knob {
    pub(super) fn is_outside(self) -> bool {
        matches!(self, Knob::OutsideMps | Knob::Elsewhere | Knob::OffGpu)
    }
}

/// One thing that goes wrong, or right again. Groups and engines by place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Break {
    /// Every client's contexts die; a memory fault has a line that blames a client.
    Fatal {
        group: usize,
        memory_fault: bool,
    },
    /// This engine's kernel goes wrong: every client of the server that it runs under loses its context.
    FatalOf(usize, usize),
    /// This engine computes on these GPUs of its group, from its next start on.
    Sits(usize, usize, Vec<usize>),
    /// The log does not name the clients that a fault hits.
    NamesNobody(usize),
    KillServer(usize),
    KillControl(usize),
    WedgeControl(usize, bool),
    /// Whoever runs the control daemon starts it.
    OthersStartControl(usize),
    /// Whoever runs an engine starts it: a new one is found.
    OthersStart(usize, usize),
    /// Whoever runs an engine takes it away.
    OthersTakeAway(usize, usize),
    /// Whoever runs an engine stops it; it is looked for again.
    OthersStop(usize, usize),
    /// What an engine's supervisor makes of it.
    Supervised(usize, usize, Supervises),
    /// Another watchdog looks after the control daemon that others run, or no more.
    WatchedByAnother(usize, bool),
    /// The driver tears the server down: the daemon calls that FAULT, and no line does.
    Teardown(usize),
    /// The daemon's log can't be read.
    LogUnreadable(usize),
    /// The daemon's one slot is taken by another caller (or is free again).
    SlotTaken(usize, bool),
    /// Commands can't even be given, and no daemon started (or can again).
    Unaskable(usize, bool),
    /// Servers end before they are ready, with these words; `None`: they start.
    ServerFails(usize, Option<String>),
    /// The next server that starts neither gets ready nor ends.
    NextServerHangs(usize),
    /// The daemon's log has no names for clients.
    Nameless(usize),
    /// This server lets no client in any more.
    NewcomersHang(usize),
    /// The server itself ends an engine's client.
    Evicts(usize, usize),
    /// An engine's output was recognized as this.
    Said(usize, usize, Saying),
    /// The control daemon can't be started (or can again).
    NoControl(usize, bool),
    /// This server stays in FAULT, whichever client leaves.
    DoesNotHeal(usize),
    Make(usize, usize, Knob),
    Exit(usize, usize, i32),
    Sigkill(usize, usize),
    /// The kernel's OOM killer takes it; its line in the log comes so many milliseconds later, or never.
    OomKill(usize, usize, Option<u64>),
    /// Its cgroup counts so many.
    MemoryEvents(usize, usize, u64),
    /// It holds so many bytes of device memory, and so many more each second.
    Holds(usize, usize, u64, u64),
    Stray(usize),
    NvmlBlind(bool),
    /// Readings hang in the driver; `false`: they are answered again.
    NvmlHangs(bool),
    /// The GPU falls off the bus, with Xid 79 or unsaid; `false`: it is there again.
    Lost(bool, bool),
    /// NVML answers that the GPU requires a reset, or no more.
    Refuses(bool),
    /// NVML has no figure of the GPU's memory, or has one.
    WithoutMemory(bool),
    /// What NVML's lists of processes are like.
    Lists(Lists),
    /// What the driver wants done to the GPU; `None`: it has no such field.
    Action(Option<RecoveryAction>),
    /// The kernel log announces it, whatever NVML says.
    Announced(RecoveryAction),
    /// Killed processes' memory does not come back; `false`: it does.
    Leak(bool),
    Xid(u32),
    CudaError(usize, usize, u32),
    Ask(Request),
    Crash,
    /// A changed configuration has a group that there never was.
    NewGroup(String),
    /// It has an engine of the group that there never was.
    NewEngine(usize, String),
    /// A changed configuration has this group, or has it not.
    HasGroup(usize, bool),
    /// It has this engine of the group, or has it not.
    Has(usize, usize, bool),
    /// It starts these engines of the group in another way.
    Rolls(usize, Vec<usize>),
    SetMode(usize, Mode),
    /// A process that no group owns computes on the GPU.
    Foreign(u32, String),
    /// A client of this user waits for the group's server.
    Pending(usize, u32, u32),
    /// The server refuses a client with this CUDA error.
    Refused(usize, u32, u32),
    /// The server says that it takes so many and no more.
    Full(usize, u32),
    LetIn(usize, u32),
    /// Connects so many clients that no engine owns.
    Crowd(usize, u32),
    Claims(u32, Member),
    OutsiderGone(u32),
    /// What an engine says of its load from now on, in words.
    Says(usize, usize, String),
    /// An engine's client becomes a child of its main process.
    Split(usize, usize),
    /// That child ends, and its main process does not notice.
    CoreEnds(usize, usize),
    /// What the kernel probes show from now on.
    Windows(Windows),
    /// What an engine's kernel probe does from now on.
    Probe(usize, usize, ProbeState),
    /// Activity in percent of the SMs; `None`: there is no GPM.
    SmActive(Option<u8>),
}

impl World {
    pub fn break_it(&mut self, what: Break) {
        match what {
            Break::Fatal { group, memory_fault } => {
                if let Some(server) = self.groups[group].server.as_ref().map(|server| server.pid) {
                    self.fatal(group, server, memory_fault, None);
                }
            }
            Break::FatalOf(group, engine) => {
                let side = self.side_of(group, engine);
                let server = self.groups[side].server.as_ref().map(|server| server.pid);
                if let Some(server) = server.filter(|_| self.groups[side].engines[engine].client) {
                    self.fatal(side, server, false, Some(engine));
                }
            }
            Break::Sits(group, engine, seats) => {
                self.groups[group].engines[engine].seats = seats.into_iter().collect();
            }
            Break::NamesNobody(group) => self.groups[group].names_nobody = true,
            Break::KillServer(group) => {
                if let Some(server) = self.groups[group].server.as_ref().map(|server| server.pid) {
                    self.signal(server, Exit::Signal(9), ms(1));
                }
            }
            Break::KillControl(group) => {
                if let Some(control) = self.groups[group].control {
                    self.signal(control, Exit::Signal(9), ms(1));
                }
            }
            Break::WedgeControl(group, wedged) => self.groups[group].wedged = wedged,
            Break::OthersStartControl(group) => self.others_start_control(group),
            Break::OthersStart(group, engine) => {
                self.others_start_engine(group, engine);
                self.configure(group, Some(engine), true);
            }
            Break::OthersTakeAway(group, engine) => {
                self.others_take_away(group, engine);
                self.later(ms(101), Happening::Forgotten(group, engine));
            }
            Break::OthersStop(group, engine) => self.others_take_away(group, engine),
            Break::Supervised(group, engine, supervises) => self.supervise(group, engine, supervises),
            Break::WatchedByAnother(group, watched) => self.groups[group].watched_by_another = watched,
            Break::Teardown(group) => {
                if let Some(server) = &mut self.groups[group].server {
                    server.state = ServerState::Fault;
                }
            }
            Break::LogUnreadable(group) => self.groups[group].log_unreadable = true,
            Break::SlotTaken(group, taken) => self.groups[group].slot_taken = taken,
            Break::Said(group, engine, saying) => {
                let engine = self.key(group, engine);
                let place = LinePlace { file: format!("{}.log", engine.engine), byte: 0 };
                self.observe(Observation::Said { engine, saying, place });
            }
            Break::NextServerHangs(group) => self.groups[group].next_server_hangs = true,
            Break::NoControl(group, gone) => self.groups[group].cannot_start_control = gone,
            Break::DoesNotHeal(group) => self.groups[group].does_not_heal = true,
            Break::Make(group, engine, knob) => self.make(group, engine, knob),
            Break::Exit(group, engine, status) => {
                self.end(self.side_of(group, engine), engine, Exit::Status(status), ms(1))
            }
            Break::Sigkill(group, engine) => self.sigkill(self.side_of(group, engine), engine),
            Break::OomKill(group, engine, line) => self.oom_kill(group, engine, line),
            Break::MemoryEvents(group, engine, oom_kills) => {
                let engine = self.key(group, engine);
                self.observe(Observation::MemoryEvents { engine, oom_kills });
            }
            Break::Holds(group, engine, held, grows) => {
                self.groups[group].engines[engine].memory = (held, grows, self.now);
            }
            Break::Stray(group) => self.stray(group),
            Break::NvmlBlind(blind) => self.gpu.blind = blind,
            Break::NvmlHangs(hangs) => self.gpu.hangs = hangs,
            Break::Lost(lost, xid) => {
                self.gpu.lost = lost;
                if lost && xid {
                    self.break_it(Break::Xid(79));
                }
            }
            Break::Action(action) => self.gpu.action = action,
            Break::Refuses(refuses) => self.gpu.refuses = refuses,
            Break::WithoutMemory(without) => self.gpu.without_memory = without,
            Break::Lists(lists) => self.gpu.lists = lists,
            Break::Announced(action) => {
                self.break_it(Break::Xid(154));
                let gpu = self.policy.gpus[0].uuid.clone();
                self.observe(Observation::RecoveryAction { gpu, action });
            }
            Break::Leak(leaks) => {
                self.gpu.leaks = leaks;
                self.gpu.leaked = if leaks { self.gpu.leaked } else { 0 };
            }
            Break::Xid(xid) => {
                let gpu = Some(self.policy.gpus[0].uuid.clone());
                self.observe(Observation::Xid { gpu, xid, pid: Some(4242), via: XidVia::Kmsg });
            }
            Break::CudaError(group, engine, code) => self.break_it(Break::Said(group, engine, Saying::Error(code))),
            Break::Ask(request) => self.ask(request),
            Break::Crash => self.crash(),
            Break::Says(group, engine, words) => {
                let (engine, now) = (&mut self.groups[group].engines[engine], self.now);
                let words: Vec<&str> = words.split_whitespace().collect();
                engine.says = Some(Says::parse(&words, engine.says.as_ref(), now));
            }
            Break::Windows(windows) => self.windows = windows,
            Break::Probe(group, engine, state) => self.probe(group, engine, state),
            Break::Split(group, engine) => self.split(group, engine),
            Break::CoreEnds(group, engine) => self.core_ends(group, engine),
            Break::SmActive(percent) => self.gpu.sm_active = percent.map(|percent| f64::from(percent) / 100.0),
            Break::NewGroup(name) => self.add_group(&name),
            Break::NewEngine(group, name) => self.add_engine(group, &name),
            Break::HasGroup(group, has) => self.configure(group, None, has),
            Break::Has(group, engine, has) => self.configure(group, Some(engine), has),
            Break::Rolls(group, engines) => {
                engines.iter().for_each(|engine| self.all.groups[group].engines[*engine].launch += 1);
                let rolls = engines.into_iter().map(|engine| self.key(group, engine).key()).collect();
                self.reload(rolls);
            }
            Break::SetMode(group, mode) => {
                self.all.groups[group].mode = mode;
                self.reload(BTreeSet::new());
            }
            other => {
                if let Some(outside) = self.break_driver(other) {
                    self.break_outside(outside);
                }
            }
        }
    }

    pub(super) fn configure(&mut self, group: usize, engine: Option<usize>, has: bool) {
        let changed = if has { self.absent.remove(&(group, engine)) } else { self.absent.insert((group, engine)) };
        if changed && engine.is_none() && !has {
            self.sides(group).into_iter().for_each(|side| self.groups[side].stopping = true);
        }
        self.reload(BTreeSet::new());
    }

    /// The configuration as it is now comes to the core. It names only engines that it has.
    fn reload(&mut self, rolls: BTreeSet<EngineKey>) {
        let mut policy = self.all.clone();
        for (group, here) in policy.groups.iter_mut().enumerate() {
            let mut places = 0..;
            here.engines.retain(|_| !self.absent.contains(&(group, places.next())));
        }
        let mut places = 0..;
        policy.groups.retain(|_| !self.absent.contains(&(places.next().unwrap(), None)));
        self.policy = policy.clone();
        let change = PolicyChange { policy, rolls };
        self.later(Duration::ZERO, Happening::Input(Input::PolicyChanged(Box::new(change))));
    }

    fn add_group(&mut self, name: &str) {
        let group = policies::group(name, &["one", "two"]);
        self.groups.push(Group::new(&group));
        self.all.groups.push(group);
        self.reload(BTreeSet::new());
    }

    fn add_engine(&mut self, group: usize, name: &str) {
        let engine = policies::engine(name);
        for side in self.sides(group) {
            self.groups[side].engines.push(Engine::new(&engine.name));
        }
        self.all.groups[group].engines.push(engine);
        self.reload(BTreeSet::new());
    }

    fn ask(&mut self, request: Request) {
        match &request {
            Request::Stop | Request::StopNow | Request::StopGroups => {
                self.groups.iter_mut().for_each(|group| group.stopping = true)
            }
            Request::StopGroup(name) => {
                self.groups.iter_mut().filter(|side| side.domain.group == *name).for_each(|side| side.stopping = true);
            }
            _ => {}
        }
        self.later(Duration::ZERO, Happening::Input(Input::Asked(request)));
    }

    pub(super) fn key(&self, group: usize, engine: usize) -> Member {
        Member::new(&self.groups[group].domain, &self.groups[group].engines[engine].name)
    }

    fn make(&mut self, group: usize, engine: usize, knob: Knob) {
        for side in self.sides(group) {
            self.groups[side].engines[engine].knob = knob;
        }
        let group = self.side_of(group, engine);
        let place = engine;
        let engine = &mut self.groups[group].engines[engine];
        engine.ready &= knob != Knob::Leaving;
        let left = matches!(knob, Knob::Elsewhere | Knob::OffGpu) && std::mem::take(&mut engine.client);
        if let (true, Some(client)) = (left, engine.pid) {
            self.leaves(group, client);
        }
        let engine = &self.groups[group].engines[place];
        let Some(process) = engine.pid.and_then(|pid| self.processes.get_mut(&pid)) else { return };
        process.undead = knob == Knob::Undead;
        if let (Some(exit), false) = (process.signalled, process.undead) {
            let pid = process.id.pid;
            self.later(ms(1), Happening::Gone(pid, exit));
        }
    }

    fn leaves(&mut self, group: usize, client: u32) {
        if let Some(server) = self.groups[group].server.as_ref().map(|server| server.pid) {
            self.log(group, ServerLine::Disconnected { server, client });
            self.client_left(group, server);
        }
    }

    fn end(&mut self, group: usize, engine: usize, exit: Exit, wait: Duration) {
        if let Some(pid) = self.groups[group].engines[engine].pid {
            self.signal(pid, exit, wait);
        }
    }

    fn sigkill(&mut self, group: usize, engine: usize) {
        let hit = &self.groups[group].engines[engine];
        if hit.knob == Knob::Busy && hit.client {
            self.neighbours_fail(group);
        }
        let server = self.groups[group].server.as_ref().map(|server| server.pid);
        let client = self.groups[group].engines[engine].pid.filter(|_| self.groups[group].engines[engine].client);
        if let (Some(server), Some(client)) = (server, client) {
            self.log(group, ServerLine::Exiting { server, client });
        }
        self.end(group, engine, Exit::Signal(9), ms(30));
    }

    fn oom_kill(&mut self, group: usize, engine: usize, line: Option<u64>) {
        if let (Some(pid), Some(wait)) = (self.groups[group].engines[engine].pid, line) {
            let line = format!("Out of memory: Killed process {pid} (VLLM::EngineCor)");
            let said = Input::Observed(Observation::OomKill { pid, line });
            self.later(ms(wait), Happening::Input(said));
        }
        self.sigkill(group, engine);
    }

    pub(super) fn stray(&mut self, group: usize) {
        let Some(server) = self.groups[group].server.as_ref() else { return };
        let (server, active) = (server.pid, server.state == ServerState::Active);
        let client = 9000 + self.next_pid;
        self.next_pid += 1;
        if active {
            self.groups[group].strays.insert(client);
            self.log(group, ServerLine::Connected { server, client });
        }
    }
}
