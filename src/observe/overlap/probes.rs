//! The kernel probes that are connected: whose they are, what they were ordered and what they said. Tells each
//! change of an engine's state once. Reads and writes nothing.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;

use super::concurrency::Span;
use crate::host::pidfd::Pidfd;
use crate::model::{EngineName, GroupName, Member, Observation, ProbeState};
use crate::observe::reports::Reports;
use crate::probe::wire::{Kernels, Order, Word};

/// Connected processes of one group: an engine has one for each GPU that it uses, and few more.
const MOST: usize = 64;
/// Orders that wait to be sent to one probe.
const WAITING: usize = 4;

/// All on one thread.
pub(super) type Shared = Rc<RefCell<Probes>>;

/// The probes of all groups.
pub(super) struct Probes {
    clients: BTreeMap<u64, Client>,
    /// Engines with a probe, as they were announced.
    reported: BTreeMap<Member, ReportedState>,
    /// Reason why no probe can call.
    deaf: Option<String>,
    /// Windows in a row without a time that all of the group's probes covered.
    empty: BTreeMap<GroupName, u32>,
    numbers: u64,
    reports: Reports,
}

type ReportedState = (ProbeState, Option<String>);

/// One process that has a probe.
struct Client {
    engine: Member,
    held: Arc<Pidfd>,
    orders: Sender<Order>,
    /// Why it can't record.
    unavailable: Option<String>,
    /// What it may still say: a word after its hello, and one for each order.
    owed: u32,
    awaited: Option<(u64, oneshot::Sender<Kernels>)>,
}

/// What one process will say. It is dropped when the process can't answer any more.
pub(super) type Asked = (EngineName, oneshot::Receiver<Kernels>);

impl Probes {
    pub(super) fn new(reports: Reports) -> Self {
        let (clients, reported, empty) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Probes { clients, reported, deaf: None, empty, numbers: 0, reports }
    }

    /// Whether probes can call; or why not.
    pub(super) fn listens(&mut self, deaf: Option<String>) {
        if let (Some(why), None) = (&deaf, &self.deaf) {
            tracing::warn!("{why}");
        }
        self.deaf = deaf;
    }

    /// A process of an engine said hello. A connection that it had before is over. `None`: its group has too many.
    pub(super) fn join(&mut self, engine: Member, held: Arc<Pidfd>) -> Option<(u64, Receiver<Order>)> {
        self.forget(|client| client.held.id == held.id || client.held.is_gone());
        let group = engine.domain.group.clone();
        if self.clients.values().filter(|client| client.engine.domain.group == group).count() >= MOST {
            tracing::debug!("{engine} has one kernel probe too many: a group has {MOST} at most");
            return None;
        }
        let (orders, ordered) = channel(WAITING);
        let id = self.number();
        let client = Client { engine: engine.clone(), held, orders, unavailable: None, owed: 1, awaited: None };
        self.clients.insert(id, client);
        self.tell(&engine);
        Some((id, ordered))
    }

    /// Its connection has ended.
    pub(super) fn left(&mut self, id: u64) {
        if let Some(client) = self.clients.remove(&id) {
            self.tell(&client.engine);
        }
    }

    /// Takes up what a process said. `false`: it does not speak as a probe does.
    pub(super) fn said(&mut self, id: u64, word: Word) -> bool {
        let Some(client) = self.clients.get_mut(&id) else { return false };
        if !client.said(word) {
            return false;
        }
        let engine = client.engine.clone();
        self.tell(&engine);
        true
    }

    /// Orders one window of every process of the group. What those will say that can record is waited for; one that
    /// could not may try again, and counts from the next window on. Fails where one of them can't be asked.
    pub(super) fn order(&mut self, group: &GroupName, (from, to): Span) -> Result<Vec<Asked>, String> {
        if let Some(why) = &self.deaf {
            return Err(why.clone());
        }
        self.forget(|client| client.held.is_gone());
        let window = self.number();
        let of_group = self.clients.values_mut().filter(|client| client.engine.domain.group == *group);
        of_group.filter_map(|client| client.order(Order::Record { window, from, to }).transpose()).collect()
    }

    /// A window came out, or no time of it was covered by all: how often that was in a row.
    pub(super) fn covered(&mut self, group: &GroupName, some: bool) -> u32 {
        let empty = self.empty.entry(group.clone()).or_default();
        *empty = if some { 0 } else { empty.saturating_add(1) };
        *empty
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn forget(&mut self, over: impl Fn(&Client) -> bool) {
        let ids: Vec<u64> = self.clients.iter().filter(|(_, client)| over(client)).map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| self.left(id));
    }

    /// An engine without a process here is waited for: so it was announced at its start.
    fn tell(&mut self, engine: &Member) {
        let mut of_engine = self.clients.values().filter(|client| client.engine == *engine).peekable();
        let state = match of_engine.peek() {
            None => (ProbeState::Waiting, None),
            // One that can't record is enough: the engine's kernels are not all seen.
            Some(_) => match of_engine.find_map(|client| client.unavailable.clone()) {
                Some(why) => (ProbeState::Unavailable, Some(why)),
                None => (ProbeState::Working, None),
            },
        };
        let before = self.reported.remove(engine).unwrap_or((ProbeState::Waiting, None));
        if before != state {
            let (state, why) = state.clone();
            self.reports.observed(Observation::Probe { engine: engine.clone(), state, why });
        }
        if state.0 != ProbeState::Waiting {
            self.reported.insert(engine.clone(), state);
        }
    }
}

impl Client {
    /// Orders a window; `None`: no answer is awaited.
    fn order(&mut self, order: Order) -> Result<Option<Asked>, String> {
        let Order::Record { window, .. } = order;
        let taken = self.orders.try_send(order);
        self.owed = self.owed.saturating_add(u32::from(taken.is_ok()));
        if self.unavailable.is_some() {
            return Ok(None);
        }
        let hangs = |_| format!("the kernel probe of {}, process {}, takes no orders", self.engine, self.held.id.pid);
        taken.map_err(hangs)?;
        let (answer, answered) = oneshot::channel();
        self.awaited = Some((window, answer));
        Ok(Some((self.engine.engine.clone(), answered)))
    }

    /// Takes what the probe said; `false`: it was not its turn.
    fn said(&mut self, word: Word) -> bool {
        let Some(owed) = self.owed.checked_sub(1) else { return false };
        self.owed = owed;
        match word {
            Word::Hello { .. } => return false,
            Word::Unavailable { why } => (self.unavailable, self.awaited) = (Some(why), None),
            Word::Kernels(kernels) => {
                self.unavailable = None;
                // Nobody waits for one that comes too late.
                if let Some((_, answer)) = self.awaited.take_if(|(window, _)| *window == kernels.window) {
                    let _ = answer.send(kernels);
                }
            }
        }
        true
    }
}
