//! The executor of the stand-in world: carries out what the core orders and answers each order once.

use std::time::Duration;

use mpswarden_core::decide::Input;
use mpswarden_core::model::{
    Action, ActionId, CommandResult, Custody, DomainId, EngineName, Exit, HeldReason, InstanceId, Look, Member,
    MpsEnvironment, Observation, Outcome, Owner, Powers, ProcessId, Remaining, SentAction, ServerLine, ServerState,
};

use super::{AFTERSHOCK, Engine, Happening, Knob, Server, TEARDOWN, World, ms};

/// A control command's timeout.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(3);
/// The timeout of `terminate_client`.
const TERMINATE_TIMEOUT: Duration = Duration::from_secs(2);
/// Time after which a terminated client has left its server.
const LEAVES: Duration = Duration::from_millis(23);

impl World {
    pub(super) fn carry_out(&mut self, ordered: SentAction) {
        let id = ordered.id;
        if let Some(domain) = domain_of(&ordered.action) {
            self.open_second_side(&domain);
        }
        if self.open.insert(id, ordered.clone()).is_some() {
            self.violate("an action id was used twice");
        }
        self.later(ordered.deadline.since(self.now), Happening::Deadline(id));
        match ordered.action {
            Action::Look(look) => {
                self.looks.push((self.now, look.clone()));
                self.look(id, look);
            }
            Action::Save { memory } => {
                self.saved = serde_json::from_str(&memory).unwrap();
                self.later(Duration::ZERO, Happening::Finish(id, Outcome::Done));
            }
            Action::WatchServer { server, .. } => {
                let outcome = match self.processes.get(&server) {
                    Some(process) => Outcome::Started { process: process.id },
                    None => Outcome::Failed { why: "no such process".to_owned() },
                };
                self.later(Duration::ZERO, Happening::Finish(id, outcome));
            }
            Action::StartControl { domain } => {
                let group = self.find_group(&domain);
                self.later(ms(40), Happening::ControlUp(group, id));
            }
            Action::FindControl { domain } => {
                let group = self.find_group(&domain);
                self.later(ms(5), Happening::ControlFound(group, id));
            }
            Action::StopControl { domain, grace, .. } => self.stop_control(id, self.find_group(&domain), grace),
            Action::StartServer { domain } => self.start_server(id, self.find_group(&domain)),
            Action::StartEngine { instance, outside } => {
                self.forget_requests(&instance.member());
                self.start_engine(id, &instance, outside);
            }
            Action::FindEngine { instance } => self.find_engine_of_others(id, &instance),
            Action::Fence { engine, .. } => self.fence(id, engine),
            Action::KillEngines { domain, engines, strays } => {
                let group = self.find_group(&domain);
                for engine in &engines {
                    let (_, place) = self.find_engine(&domain.member(engine));
                    self.hold_the_living(group, place);
                }
                self.kill_engines(id, group, &engines, &strays);
            }
            Action::AwaitGone { .. } => self.waiters(),
            Action::LetGoOfDriver => self.later(ms(20), Happening::Finish(id, Outcome::Done)),
            Action::TerminateClients { engine, .. } => self.terminate(id, &engine),
            Action::StopEngine { engine, grace } => {
                let (group, place) = self.find_engine(&engine);
                self.hold_the_living(group, place);
                self.stop_engine(&engine, grace);
            }
        }
    }

    /// An order that was not answered by its deadline.
    pub(super) fn deadline(&mut self, id: ActionId) {
        let Some(ordered) = self.open.get(&id) else { return };
        let outcome = match ordered.action.clone() {
            Action::AwaitGone { domain, engines, processes } => {
                let group = self.find_group(&domain);
                Outcome::Gone { remaining: self.remaining(group, &engines, &processes) }
            }
            Action::TerminateClients { engine, .. } => {
                let (group, engine) = self.find_engine(&engine);
                self.groups[group].engines[engine].terminated = true;
                Outcome::TimedOut
            }
            _ => Outcome::TimedOut,
        };
        self.finish(id, outcome);
    }

    pub(super) fn answer(&mut self, id: ActionId, mut seen: Vec<Observation>, mut outcome: Outcome) {
        let wait = self.by_nature(id, &mut seen, &mut outcome);
        for observation in seen {
            self.later(wait, Happening::Input(Input::Observed(observation)));
        }
        self.later(wait, Happening::Finish(id, outcome));
    }

    fn look(&mut self, id: ActionId, look: Look) {
        match look {
            // Nobody answers before the look's deadline.
            Look::Gpu(_) if self.gpu.hangs => {}
            Look::Gpu(gpu) if self.gpu.lost => {
                let why = "GPU is lost".to_owned();
                self.answer(id, vec![Observation::GpuLost { gpu, why: why.clone() }], Outcome::Failed { why });
            }
            Look::Gpu(gpu) if self.gpu.refuses => {
                let why = "GPU requires reset".to_owned();
                self.answer(id, vec![Observation::GpuResetNeeded { gpu, why: why.clone() }], Outcome::Failed { why });
            }
            Look::Gpu(_) if self.gpu.blind => {
                self.answer(id, vec![], Outcome::Failed { why: "NVML: unknown error".to_owned() });
            }
            Look::Gpu(gpu) => {
                let reading = self.reading(&gpu);
                self.answer(id, vec![Observation::Gpu { gpu, reading }], Outcome::Done);
            }
            Look::Server { domain: ref group, .. } | Look::Clients { domain: ref group, .. } => {
                let group = self.find_group(group);
                self.command(id, group, &look);
            }
            Look::Trees(domain) => {
                let group = self.find_group(&domain);
                let here = &self.groups[group];
                let trees = here.engines.iter().map(|engine| Observation::Tree {
                    engine: Member::new(&here.domain, &engine.name),
                    processes: {
                        let main = engine.pid.and_then(|pid| self.processes.get(&pid)).map(|p| p.id);
                        main.into_iter().chain(engine.core).collect()
                    },
                });
                let mut trees: Vec<Observation> = trees.collect();
                trees.extend((0..here.engines.len()).filter_map(|index| self.usage(group, index)));
                let trees = self.claim(trees);
                self.answer(id, trees, Outcome::Done);
            }
            Look::Pipe(domain) => {
                let connected = self.knocking(&domain);
                self.answer(id, vec![Observation::Pipe { domain, connected }], Outcome::Done);
            }
            Look::CommandLines { domain, pids } => {
                let found = self.command_lines(&pids);
                self.answer(id, vec![Observation::CommandLines { domain, asked: pids, found }], Outcome::Done);
            }
            Look::Overlap(group) => self.look_overlap(id, group),
            Look::Load(_) if self.load_fails => {
                self.answer(id, vec![], Outcome::Failed { why: "garbage".to_owned() });
            }
            Look::Load(engine) => {
                let (group, index) = self.find_engine(&engine);
                self.look_load(id, group, index);
            }
            Look::Environment(engine) => {
                let (group, index) = self.find_engine(&engine);
                let Engine { pid, knob, .. } = &self.groups[group].engines[index];
                let process = pid.and_then(|pid| self.processes.get(&pid)).map(|process| process.id);
                let told = |process| MpsEnvironment {
                    process,
                    own_pipe: true,
                    thread_percentage: true,
                    percentage: None,
                    memory_limit: *knob != Knob::DropsLimits,
                };
                let processes = process.map(told).into_iter().collect();
                self.answer(
                    id,
                    vec![Observation::Environment { engine, processes, overwritten: Vec::new() }],
                    Outcome::Done,
                );
            }
            Look::Traffic(engine) => {
                let (group, index) = self.find_engine(&engine);
                self.look_traffic(id, group, index);
            }
            Look::Token(_) => self.answer(id, vec![], Outcome::Done),
            Look::Health(engine) => {
                let (group, index) = self.find_engine(&engine);
                self.look_health(id, group, index);
            }
        }
    }

    fn command(&mut self, id: ActionId, group: usize, look: &Look) {
        let now = self.now;
        let here = &mut self.groups[group];
        here.commands.push(now);
        let name = here.domain.clone();
        let failed = |why: &str| Outcome::Failed { why: why.to_owned() };
        if here.unaskable {
            let said = vec![Observation::ControlReply { domain: name, result: CommandResult::NotAsked }];
            return self.answer(id, said, Outcome::NotAsked { why: "the program was not found".to_owned() });
        }
        if here.control.is_none() {
            let said = vec![Observation::ControlReply { domain: name, result: CommandResult::Unreachable }];
            return self.answer(id, said, failed("no control daemon there"));
        }
        if here.slot_taken {
            let said = vec![Observation::ControlReply { domain: name, result: CommandResult::Refused }];
            return self.answer(id, said, failed("it serves another caller"));
        }
        if here.wedged {
            let said = Observation::ControlReply { domain: name, result: CommandResult::Timeout };
            self.later(COMMAND_TIMEOUT, Happening::Input(Input::Observed(said)));
            return self.later(COMMAND_TIMEOUT, Happening::Finish(id, failed("no answer within 3 s")));
        }
        let answered = Observation::ControlReply { domain: name.clone(), result: CommandResult::Answered };
        let listed = here.server.as_ref().filter(|server| server.state != ServerState::Initializing);
        let said = match look {
            Look::Clients { server, .. } => {
                let clients = here.clients().into_iter().collect();
                Observation::Clients { domain: name, server: *server, clients }
            }
            _ => Observation::Server {
                domain: name,
                server: listed.map(|server| server.pid),
                state: listed.map_or(ServerState::None, |server| server.state),
            },
        };
        self.answer(id, vec![answered, said], Outcome::Done);
    }

    pub(super) fn control_up(&mut self, group: usize, id: ActionId) {
        if !self.open.contains_key(&id) {
            return;
        }
        if self.groups[group].unaskable {
            return self.finish(id, World::without_a_binary());
        }
        if self.groups[group].cannot_start_control {
            return self.finish(id, Outcome::Failed { why: "nvidia-cuda-mps-control: not found".to_owned() });
        }
        if self.groups[group].of_others && !self.groups[group].custody.may_start() {
            self.violate("a control daemon was started that others run");
        }
        if self.groups[group].control.is_some() {
            self.violate("a control daemon was started beside a living one");
            return self.finish(id, Outcome::Failed { why: "already running".to_owned() });
        }
        let owner = Owner::Control(self.groups[group].domain.clone());
        let process = self.spawn(group, owner);
        self.groups[group].control = Some(process.pid);
        self.groups[group].wedged = false;
        self.groups[group].stopping = false;
        self.finish(id, Outcome::Started { process });
    }

    /// Looks for the daemon that others run.
    pub(super) fn control_found(&mut self, group: usize, id: ActionId) {
        let here = &self.groups[group];
        let process = here.control.filter(|_| !here.wedged).and_then(|pid| self.processes.get(&pid));
        let outcome = match process {
            _ if here.unaskable => World::without_a_binary(),
            _ if here.watched_by_another => {
                Outcome::Waits { reason: HeldReason::WatchedByAnother, why: "process 77 looks after it".to_owned() }
            }
            Some(process) => Outcome::Started { process: process.id },
            None => Outcome::Waits { reason: HeldReason::ControlAbsent, why: "nobody is bound there".to_owned() },
        };
        self.finish(id, outcome);
    }

    fn stop_control(&mut self, id: ActionId, group: usize, grace: Duration) {
        if self.groups[group].of_others && !self.groups[group].custody.may_end() {
            self.violate("a control daemon was stopped that others run");
        }
        let here = &self.groups[group];
        let quits = !grace.is_zero() && !here.wedged;
        let takes = match (quits, here.clients().is_empty()) {
            (false, _) => ms(3),
            (true, true) => ms(70),
            (true, false) => grace + ms(70),
        };
        let pids: Vec<u32> = here.control.into_iter().chain(here.server.as_ref().map(|server| server.pid)).collect();
        for pid in pids {
            self.signal(pid, if quits { Exit::Status(0) } else { Exit::Signal(9) }, takes);
        }
        self.later(takes + ms(1), Happening::Finish(id, Outcome::Done));
    }

    fn start_server(&mut self, id: ActionId, group: usize) {
        let here = &self.groups[group];
        let starts = here.control.is_some() && !here.wedged && here.server.is_none();
        if starts && !self.fails_to_start(group) {
            self.start_a_server(group);
        }
        self.later(ms(2), Happening::Finish(id, Outcome::Done));
    }

    pub(super) fn start_a_server(&mut self, group: usize) {
        let owner = Owner::Server(self.groups[group].domain.clone());
        let pid = self.spawn(group, owner).pid;
        self.groups[group].server = Some(Server { pid, state: ServerState::Initializing });
        self.groups[group].does_not_heal = false;
        self.log(group, ServerLine::Starting { server: pid, uid: super::UID });
        if !std::mem::take(&mut self.groups[group].next_server_hangs) {
            self.later(ms(270), Happening::ServerReady(group, pid));
        }
    }

    fn start_engine(&mut self, id: ActionId, instance: &InstanceId, outside: bool) {
        let key = instance.member();
        let (group, index) = self.find_engine(&key);
        if self.groups[group].engines[index].of_others {
            return self.ask_for_engine(id, instance);
        }
        self.check_start(group, index, &key);
        let knob = self.groups[group].engines[index].knob;
        if knob == Knob::CannotStart {
            let why = "/opt/engine: no such file".to_owned();
            return self.later(ms(1), Happening::Finish(id, Outcome::Failed { why }));
        }
        let process = self.spawn(group, Owner::Engine(instance.clone()));
        let engine = &mut self.groups[group].engines[index];
        engine.pid = Some(process.pid);
        engine.ready = false;
        engine.client = false;
        engine.terminated = false;
        engine.outside = outside;
        self.later(ms(1), Happening::Finish(id, Outcome::Started { process }));
        match knob {
            Knob::ExitsAtOnce => self.later(ms(20), Happening::Gone(process.pid, Exit::Status(1))),
            Knob::NeverReady => self.later(self.start_takes * 4 / 5, Happening::Connects(process.pid)),
            _ => {
                self.later(self.start_takes * 4 / 5, Happening::Connects(process.pid));
                self.later(self.start_takes, Happening::Ready(process.pid));
            }
        }
    }

    pub(super) fn check_start(&mut self, group: usize, index: usize, key: &Member) {
        let server = self.groups[group].server.as_ref();
        let active = server.is_some_and(|server| server.state == ServerState::Active);
        // What happens at this very moment may not have been observed yet.
        let all_told = self.queue.range(..=(self.now, u64::MAX)).next().is_none();
        if !active && all_told {
            self.violate(&format!("{key} was started while its server was not ACTIVE"));
        }
        if self.sides(group).into_iter().any(|side| self.groups[side].engines[index].pid.is_some()) {
            self.violate(&format!("{key} was started while its predecessor lived"));
        }
        if self.processes.values().any(|process| process.group == group && process.with_its_group) {
            self.violate(&format!("{key} was started while a process of the old generation lived"));
        }
    }

    fn kill_engines(&mut self, id: ActionId, group: usize, engines: &[EngineName], strays: &[u32]) {
        let here = &mut self.groups[group];
        for stray in strays {
            here.strays.remove(stray);
        }
        if let (false, Some(server)) = (strays.is_empty(), here.server.as_ref().map(|server| server.pid)) {
            self.client_left(group, server);
        }
        let here = &self.groups[group];
        let named = here.engines.iter().filter(|engine| engines.contains(&engine.name));
        let theirs = here.engines.iter().any(|engine| engines.contains(&engine.name) && !engine.custody.may_end());
        let asked: Vec<usize> = (0..here.engines.len())
            .filter(|at| here.engines[*at].of_others && engines.contains(&here.engines[*at].name))
            .collect();
        let pids: Vec<u32> = named.filter_map(|engine| engine.pid).collect();
        if theirs {
            self.violate("an engine was killed that others run");
        }
        asked.into_iter().for_each(|index| self.end_engine_of_others(group, index));
        let mut processes = Vec::new();
        for pid in pids {
            let process = self.processes.get_mut(&pid).unwrap();
            process.with_its_group = true;
            processes.push(process.id);
            self.signal(pid, Exit::Signal(9), TEARDOWN + ms(1));
        }
        self.later(ms(1), Happening::Finish(id, Outcome::Killed { processes }));
    }

    fn terminate(&mut self, id: ActionId, key: &Member) {
        let (group, index) = self.find_engine(key);
        self.terminate_hangs(group, index);
        let here = &mut self.groups[group];
        let engine = &mut here.engines[index];
        if let Some(core) = engine.core.filter(|_| !here.wedged) {
            here.strays.remove(&core.pid);
        }
        if here.wedged || engine.knob == Knob::HangsInTerminate {
            return self.later(TERMINATE_TIMEOUT, Happening::TerminateFailed(id, group, index));
        }
        engine.terminated = true;
        let client = engine.pid.filter(|_| std::mem::take(&mut engine.client));
        if let (Some(client), Some(server)) = (client, here.server.as_ref().map(|server| server.pid)) {
            let (stamped, line) = (self.now.after(LEAVES), ServerLine::Disconnected { server, client });
            let said = Observation::Log { domain: here.domain.clone(), line, stamped };
            self.later(LEAVES, Happening::Input(Input::Observed(said)));
            self.client_left(group, server);
        }
        self.later(ms(10), Happening::Finish(id, Outcome::Done));
    }

    pub(super) fn terminate_failed(&mut self, id: ActionId, group: usize, index: usize) {
        if self.open.contains_key(&id) {
            self.groups[group].engines[index].terminated = true;
            let domain = self.groups[group].domain.clone();
            self.tell(Input::Observed(Observation::ControlReply { domain, result: CommandResult::Timeout }));
            let why = "terminate_client: no answer within 2 s".to_owned();
            self.finish(id, Outcome::Failed { why });
        }
    }

    fn stop_engine(&mut self, key: &Member, grace: Duration) {
        let (group, index) = self.find_engine(key);
        if !self.groups[group].engines[index].custody.may_end() {
            self.violate(&format!("{key} was stopped, which others run"));
        }
        let here = &self.groups[group];
        let engine = &here.engines[index];
        let siblings = here.engines.iter().filter(|engine| engine.client).count() > 1;
        let healthy = here.server.as_ref().is_some_and(|server| server.state == ServerState::Active);
        let Some(pid) = engine.pid else { return self.waiters() };
        let asked = engine.custody == Custody::Others(Powers::Supervisor);
        let (busy, ignores) = (
            engine.knob == Knob::Busy && engine.client,
            matches!(engine.knob, Knob::IgnoresTerm | Knob::Frozen | Knob::Leaving),
        );
        if engine.client && siblings && healthy && !engine.terminated && !here.stopping {
            self.violate(&format!("{key} was signalled before terminate_client had answered"));
        }
        self.groups[group].engines[index].stopped |= asked;
        if busy {
            self.neighbours_fail(group);
        }
        if ignores || grace.is_zero() {
            self.signal(pid, Exit::Signal(9), grace + TEARDOWN);
        } else {
            self.signal(pid, Exit::Status(0), ms(100));
        }
    }

    /// A signal hit a client with a long kernel in flight.
    pub(super) fn neighbours_fail(&mut self, group: usize) {
        if let Some(server) = self.groups[group].server.as_ref().map(|server| server.pid) {
            self.later(AFTERSHOCK, Happening::Fatal(group, server));
        }
    }

    fn remaining(&self, group: usize, engines: &[EngineName], processes: &[ProcessId]) -> Vec<Remaining> {
        let here = self.groups[group].engines.iter().filter(|engine| engines.contains(&engine.name));
        let named: Vec<u32> = here.filter_map(|engine| engine.pid).collect();
        let waited = |id: &ProcessId| named.contains(&id.pid) || processes.contains(id);
        let there = self.processes.values().filter(|process| waited(&process.id));
        there.map(|process| Remaining { process: process.id, state: if process.undead { 'D' } else { 'R' } }).collect()
    }

    /// Answers every order that waits for an end that has come.
    pub(super) fn waiters(&mut self) {
        let mut over = Vec::new();
        for (id, ordered) in &self.open {
            match &ordered.action {
                Action::AwaitGone { domain, engines, processes }
                    if self.remaining(self.find_group(domain), engines, processes).is_empty() =>
                {
                    over.push((*id, Outcome::Gone { remaining: vec![] }));
                }
                Action::StopEngine { engine, .. } => {
                    let (group, index) = self.find_engine(engine);
                    if self.groups[group].engines[index].pid.is_none() {
                        over.push((*id, Outcome::Done));
                    }
                }
                _ => {}
            }
        }
        for (id, outcome) in over {
            self.later(Duration::ZERO, Happening::Finish(id, outcome));
        }
    }
}

/// Whose an order or a look is.
fn domain_of(action: &Action) -> Option<DomainId> {
    match action {
        Action::Look(Look::Gpu(_) | Look::Overlap(_)) | Action::Save { .. } | Action::LetGoOfDriver => None,
        Action::Look(
            Look::Health(key) | Look::Load(key) | Look::Environment(key) | Look::Traffic(key) | Look::Token(key),
        ) => Some(key.domain.clone()),
        Action::Look(
            Look::Server { domain, .. }
            | Look::Clients { domain, .. }
            | Look::CommandLines { domain, .. }
            | Look::Pipe(domain)
            | Look::Trees(domain),
        ) => Some(domain.clone()),
        Action::WatchServer { domain, .. }
        | Action::StartControl { domain }
        | Action::FindControl { domain }
        | Action::StopControl { domain, .. }
        | Action::StartServer { domain }
        | Action::KillEngines { domain, .. }
        | Action::AwaitGone { domain, .. } => Some(domain.clone()),
        Action::StartEngine { instance, .. } | Action::FindEngine { instance } => Some(instance.domain()),
        Action::TerminateClients { engine, .. } | Action::StopEngine { engine, .. } | Action::Fence { engine, .. } => {
            Some(engine.domain.clone())
        }
    }
}
