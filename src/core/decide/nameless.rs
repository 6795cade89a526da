//! Clients of a server whose log does not say who they are (drivers before r525). That one left makes the watchdog ask
//! who is still there; who is missing then, or whose process ended, is the one that left.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::{Moment, ProcessId};

use super::domain::Domain;
use super::engine::Engine;
use super::evicted::TERMINATED;
use super::facts::trusted;

/// So long after it a departure is looked for closely; then an answer that was asked for after it must do.
const CLOSELY: Duration = Duration::from_millis(500);
/// A client that its server's line named so shortly before is not taken for another one.
const SAME: Duration = Duration::from_secs(10);

/// A departure that nobody has a name for yet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Nameless {
    at: Option<Moment>,
    read: Moment,
}

impl Nameless {
    /// Somebody left.
    pub fn left(&mut self, at: Moment, now: Moment) {
        self.at = self.at.or(Some(at));
        self.read = now;
    }

    /// When the last departure that nobody has a name for was, if there is one.
    pub fn departure(&self) -> Option<Moment> {
        self.at
    }

    /// Whether it is to be asked now who.
    pub fn asks(&self, clients_asked: Option<Moment>, now: Moment) -> bool {
        self.at.is_some() && (now.since(self.read) < CLOSELY || clients_asked.is_none_or(|asked| asked <= self.read))
    }

    /// A list came that was asked for after it was read, and enough time for a process to end has passed.
    fn settle(&mut self, now: Moment) {
        if now.since(self.read) >= CLOSELY {
            self.at = None;
        }
    }
}

impl Domain {
    /// A line says that some client left.
    pub fn someone_left(&mut self, stamped: Moment, now: Moment) {
        self.nameless.left(trusted(stamped, now), now);
    }

    /// The daemon listed its clients: of whom was listed before and is not any more it is known now that he left. Where
    /// lines have names they say it, and better.
    pub fn listed(&mut self, clients: &BTreeSet<u32>, now: Moment) {
        if self.nameless.at.is_none() && !self.engines.iter().any(says_terminated) {
            return;
        }
        let before = self.server.clients.last().cloned().unwrap_or_default();
        for pid in before.difference(clients) {
            self.named(*pid, now);
        }
        self.nameless.settle(now);
    }

    /// An engine's processes were looked at: a client that is not among them any more left.
    pub fn tree_without(&mut self, before: &[ProcessId], after: &[ProcessId], now: Moment) {
        if self.nameless.at.is_none() {
            return;
        }
        let clients = self.server.clients.last().cloned().unwrap_or_default();
        let missing = before.iter().filter(|process| !after.contains(process) && clients.contains(&process.pid));
        for process in missing {
            self.named(process.pid, now);
        }
    }

    fn named(&mut self, pid: u32, now: Moment) {
        let at = self.nameless.at.unwrap_or(now);
        let owns = |engine: &&mut Engine| {
            engine.instance.processes().iter().any(|process| process.pid == pid) || engine.instance.shortage.knows(pid)
        };
        let pending = self.nameless.at.is_some();
        let Some(engine) = self.engines.iter_mut().find(owns).filter(|engine| pending || says_terminated(engine))
        else {
            return;
        };
        engine.instance.gpu.processes.left(pid, now);
        if engine.instance.gpu.left.is_none_or(|left| now.since(left) > SAME) {
            engine.instance.gpu.left = Some(at);
        }
    }
}

/// It printed that its server had ended its client, and nothing has decided that yet.
fn says_terminated(engine: &Engine) -> bool {
    engine.instance.output.said.open().any(|run| run.code == TERMINATED)
}
