//! Finds out which client left a server whose log does not say it: who is missing from the next list of clients, or
//! whose process ended.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::decide::facts::engine::Engine;
use crate::decide::facts::engine::nameless::says_terminated;
use crate::decide::facts::scene::Scene;
use crate::decide::facts::trusted;
use crate::model::{Moment, ProcessId};

impl Scene {
    /// A line says that some client left.
    pub(crate) fn someone_left(&mut self, stamped: Moment, now: Moment) {
        self.departed.nameless.left(trusted(stamped, now), now);
    }

    /// The daemon listed its clients: a client that was listed before and is not any more is known now to have left.
    /// Where lines have names they say it, and better.
    pub(crate) fn listed(&mut self, clients: &BTreeSet<u32>, now: Moment) {
        if self.departed.nameless.at.is_none() && !self.engines.iter().any(says_terminated) {
            return;
        }
        let before = self.server.clients.last().cloned().unwrap_or_default();
        for pid in before.difference(clients) {
            self.named(*pid, now);
        }
        self.departed.nameless.settle(now);
    }

    /// An engine's processes were looked at: a client that is not among them any more left.
    pub(crate) fn tree_without(&mut self, before: &[ProcessId], after: &[ProcessId], now: Moment) {
        if self.departed.nameless.at.is_none() {
            return;
        }
        let clients = self.server.clients.last().cloned().unwrap_or_default();
        let missing = before.iter().filter(|process| !after.contains(process) && clients.contains(&process.pid));
        for process in missing {
            self.named(process.pid, now);
        }
    }

    fn named(&mut self, pid: u32, now: Moment) {
        let at = self.departed.nameless.at.unwrap_or(now);
        let owns = |engine: &&mut Engine| {
            engine.instance.processes().iter().any(|process| process.pid == pid) || engine.instance.shortage.knows(pid)
        };
        let pending = self.departed.nameless.at.is_some();
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

/// Time after a server's line that named a client in which it is not taken for another one.
const SAME: Duration = Duration::from_secs(10);
