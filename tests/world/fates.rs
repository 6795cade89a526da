//! What becomes of the stand-in world's processes: born, signalled, gone, and what a server's fault does to them.

use std::time::Duration;

use mpswarden_core::model::{Exit, Moment, Observation, Owner, ProcessId, ServerLine, ServerState};

use super::{CLIENT_EXITS, GIB, HEALS, Happening, Knob, Process, World, ms};

impl World {
    pub(super) fn spawn(&mut self, group: usize, owner: Owner) -> ProcessId {
        let id = ProcessId { pid: self.next_pid, started_at: self.now.as_nanos() / 10_000_000 };
        self.next_pid += 1;
        let process =
            Process { id, group, owner, undead: false, signalled: None, with_its_group: false, taken_away: false };
        self.processes.insert(id.pid, process);
        id
    }

    /// A signal that can't be refused; the process is gone after `wait`, if it can die.
    pub(super) fn signal(&mut self, pid: u32, exit: Exit, wait: Duration) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        process.signalled = Some(exit);
        if !process.undead {
            self.later(wait, Happening::Gone(pid, exit));
        }
    }

    pub(super) fn gone(&mut self, pid: u32, exit: Exit) {
        if self.processes.get(&pid).is_none_or(|process| process.undead) {
            return;
        }
        let process = self.processes.remove(&pid).unwrap();
        let group = process.group;
        let ended = self.groups[group].engines.iter().position(|engine| engine.of_others && engine.pid == Some(pid));
        match &process.owner {
            Owner::Engine(..) => self.engine_gone(group, pid),
            Owner::Control(_) => self.control_gone(group),
            Owner::Server(_) => self.server_gone(group, pid),
        }
        match process.owner {
            // Nobody had found it.
            Owner::Engine(instance) if instance.incarnation == 0 => {}
            Owner::Engine(instance) if process.taken_away => {
                self.observe(Observation::Removed { instance, process: process.id, exit });
            }
            owner => self.observe(Observation::Ended { owner, process: process.id, exit }),
        }
        if let Some(index) = ended {
            self.supervisor_saw_the_end(group, index);
        }
        self.waiters();
    }

    pub(super) fn engine_gone(&mut self, group: usize, pid: u32) {
        let (leaks, now) = (self.gpu.leaks, self.now);
        let Some(engine) = self.engine_of(pid) else { return };
        let client = std::mem::take(&mut engine.client) || engine.core.is_some();
        engine.pid = None;
        engine.ready = false;
        engine.split = false;
        let core = engine.core.take();
        if engine.says.is_some() {
            engine.says = Some(super::stuck::Says::parse(&["running=0", "rate=0"], None, now));
        }
        if matches!(engine.knob, Knob::Silent | Knob::Frozen) {
            engine.knob = Knob::Well;
        }
        // What had grown begins anew; what it takes from its start it takes again.
        engine.memory = if engine.memory.1 > 0 { (0, 0, Moment::ZERO) } else { engine.memory };
        if leaks && client {
            self.gpu.leaked += 20 * GIB;
        }
        if let Some(core) = core {
            self.groups[group].strays.remove(&core.pid);
        }
        let server = self.groups[group].server.as_ref().map(|server| server.pid);
        if let (true, Some(server)) = (client, server) {
            self.log(group, ServerLine::Disconnected { server, client: pid });
            self.client_left(group, server);
        }
    }

    pub(super) fn client_left(&mut self, group: usize, server: u32) {
        let here = &self.groups[group];
        let fault = here.server.as_ref().is_some_and(|server| server.state == ServerState::Fault);
        if fault && !here.holds_a_fault() {
            self.later(HEALS, Happening::Heals(group, server));
        }
    }

    /// A client of others makes its daemon start a server, and tries again.
    fn connects_again(&mut self, group: usize, pid: u32) {
        let here = &self.groups[group];
        if here.control.is_some() && here.server.is_none() && !here.wedged {
            self.start_a_server(group);
        }
        self.later(ms(300), Happening::Connects(pid));
    }

    pub(super) fn control_gone(&mut self, group: usize) {
        self.groups[group].control = None;
        if let Some(server) = self.groups[group].server.as_ref().map(|server| server.pid) {
            self.signal(server, Exit::Status(0), ms(1));
        }
    }

    pub(super) fn server_gone(&mut self, group: usize, pid: u32) {
        let here = &mut self.groups[group];
        if here.server.as_ref().is_none_or(|server| server.pid != pid) {
            return;
        }
        here.server = None;
        here.torn.clear();
        here.strays.clear();
        let alive = here.control.is_some();
        self.clients_exit(group);
        for engine in &mut self.groups[group].engines {
            engine.client = false;
        }
        if alive {
            self.log(group, ServerLine::Exited { server: pid, status: 0 });
        }
    }

    /// Every client gets an error; those that don't linger exit.
    pub(super) fn clients_exit(&mut self, group: usize) {
        let engines = self.groups[group].engines.iter();
        let torn = &self.groups[group].torn;
        let hit = |pid: &u32| torn.is_empty() || torn.contains(pid) || self.groups[group].server.is_none();
        let exits: Vec<u32> = engines
            .filter(|engine| engine.client && engine.knob != Knob::Lingers)
            .filter_map(|engine| engine.pid)
            .filter(hit)
            .collect();
        for pid in exits {
            self.later(CLIENT_EXITS, Happening::Gone(pid, Exit::Status(1)));
        }
    }

    /// The server handles a fatal error: FAULT, and every client's contexts are dead.
    pub(super) fn fatal(&mut self, group: usize, pid: u32, memory_fault: bool, culprit: Option<usize>) {
        let here = &mut self.groups[group];
        let Some(server) = here.server.as_mut().filter(|server| server.pid == pid) else { return };
        let clients = here.engines.iter().filter(|engine| engine.client).filter_map(|engine| engine.pid).min();
        let Some(client) = clients.or(here.strays.first().copied()) else { return };
        server.state = ServerState::Fault;
        if memory_fault {
            self.log(group, ServerLine::Blamed { server: pid, client });
        }
        self.log(group, ServerLine::Fatal { server: pid });
        if self.groups[group].gpus.are_several() {
            self.tear(group, pid, culprit);
        }
        self.clients_exit(group);
    }

    pub(super) fn heals(&mut self, group: usize, pid: u32) {
        let here = &mut self.groups[group];
        let empty = !here.holds_a_fault() && !here.does_not_heal;
        if let Some(server) = here.server.as_mut().filter(|server| server.pid == pid && empty) {
            server.state = ServerState::Active;
            here.torn.clear();
        }
    }

    pub(super) fn server_ready(&mut self, group: usize, pid: u32) {
        if let Some(server) = self.groups[group].server.as_mut().filter(|server| server.pid == pid) {
            server.state = ServerState::Active;
            self.log(group, ServerLine::Ready { server: pid });
        }
    }

    /// An engine makes its context: a client, unless no daemon is there or it is set up otherwise.
    pub(super) fn connects(&mut self, pid: u32) {
        let Some(group) = self.processes.get(&pid).map(|process| process.group) else { return };
        let server = self.groups[group].server.as_ref().map(|server| (server.pid, server.state));
        if self.lets_nobody_in(group) {
            return;
        }
        let Some(engine) = self.engine_of(pid) else { return };
        match server {
            Some((server, ServerState::Active)) if !engine.knob.is_outside() && !engine.outside => {
                engine.client = true;
                self.log(group, ServerLine::Connected { server, client: pid });
            }
            Some((_, ServerState::Fault)) => self.later(ms(5), Happening::Gone(pid, Exit::Status(3))),
            _ if engine.of_others => self.connects_again(group, pid),
            _ => {}
        }
    }
}
