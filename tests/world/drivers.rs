//! What other drivers, and what is short on the watchdog's own side, do differently.

use mpswarden_core::model::{HeldReason, LinePlace, Observation, Outcome, Saying, ServerLine};

use super::breaks::Break;
use super::{Happening, World, ms};

/// Milliseconds after which a server that can't start ends.
const FAILS_AFTER: u64 = 40;

impl World {
    /// Does it; gives back what is not this file's.
    pub(super) fn break_driver(&mut self, what: Break) -> Option<Break> {
        match what {
            Break::Unaskable(group, missing) => self.groups[group].unaskable = missing,
            Break::ServerFails(group, words) => self.groups[group].server_fails = words,
            Break::Nameless(group) => self.groups[group].nameless = true,
            Break::NewcomersHang(group) => {
                self.groups[group].hangs = self.groups[group].server.as_ref().map(|server| server.pid);
            }
            Break::Evicts(group, index) => self.evict(group, index),
            other => return Some(other),
        }
        None
    }

    /// The server takes a client off itself; its next call fails.
    fn evict(&mut self, group: usize, index: usize) {
        let engine = &mut self.groups[group].engines[index];
        let client = engine.pid.filter(|_| std::mem::take(&mut engine.client));
        let server = self.groups[group].server.as_ref().map(|server| server.pid);
        let (Some(client), Some(server)) = (client, server) else { return };
        self.log(group, ServerLine::Exiting { server, client });
        self.log(group, ServerLine::Disconnected { server, client });
        let engine = self.key(group, index);
        let place = LinePlace { file: format!("{}.log", engine.engine), byte: 0 };
        let said = Observation::Said { engine, saying: Saying::Error(810), place };
        self.later(ms(5), Happening::Input(mpswarden_core::decide::Input::Observed(said)));
    }

    /// Whether the group's server lets no client in any more.
    pub(super) fn lets_nobody_in(&self, group: usize) -> bool {
        let server = self.groups[group].server.as_ref().map(|server| server.pid);
        server.is_some() && self.groups[group].hangs == server
    }

    /// Engines that wait for such a server.
    pub(super) fn knocking(&self, domain: &mpswarden_core::model::DomainId) -> Vec<u32> {
        let group = self.find_group(domain);
        let waits = |engine: &&super::Engine| !engine.client && self.lets_nobody_in(group);
        self.groups[group].engines.iter().filter(waits).filter_map(|engine| engine.pid).collect()
    }

    /// A line as the group's driver writes it; `None`: it has none.
    pub(super) fn in_its_words(&self, group: usize, line: ServerLine) -> Option<ServerLine> {
        if !self.groups[group].nameless {
            return Some(line);
        }
        match line {
            ServerLine::Connected { .. } => None,
            ServerLine::Exiting { server, .. } => Some(ServerLine::SomeoneLeft { server, contexts: 0 }),
            ServerLine::Disconnected { server, .. } => Some(ServerLine::SomeoneGone { server }),
            line => Some(line),
        }
    }

    /// A start that comes to nothing. Whether this is one.
    pub(super) fn fails_to_start(&mut self, group: usize) -> bool {
        let Some(words) = self.groups[group].server_fails.clone() else { return false };
        self.next_pid += 1;
        let server = self.next_pid;
        self.log(group, ServerLine::Starting { server, uid: super::UID });
        let group_name = self.groups[group].domain.clone();
        let said = Observation::ServerSaid { domain: group_name.clone(), server, words, trouble: true };
        let exited = Observation::Log {
            domain: group_name,
            line: ServerLine::Exited { server, status: 1 },
            stamped: self.now.after(ms(FAILS_AFTER)),
        };
        for told in [said, exited] {
            self.later(ms(FAILS_AFTER), Happening::Input(mpswarden_core::decide::Input::Observed(told)));
        }
        true
    }

    /// What the start of a daemon comes to while its program is missing.
    pub(super) fn without_a_binary() -> Outcome {
        let why = "program `nvidia-cuda-mps-control` was not found: install it, or give its full path".to_owned();
        Outcome::Waits { reason: HeldReason::MpsBinaryMissing, why }
    }
}
