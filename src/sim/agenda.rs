//! What a simulated process will do later, and the wait for what comes first: a deed or a message.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Deeds by their time; of two for the same moment the older comes first.
#[derive(Debug)]
pub(crate) struct Agenda<T> {
    deeds: BTreeMap<Ticket, T>,
    made: u64,
}

/// A deed that is noted: its time, and its place among those of that time.
pub(crate) type Ticket = (Instant, u64);

/// The first of what can come.
#[derive(Debug)]
pub(crate) enum Next<M, T> {
    /// A message.
    Message(M),
    /// A deed whose time has come.
    Deed(T),
    /// Nobody can send any more.
    Silence,
}

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Agenda { deeds: BTreeMap::new(), made: 0 }
    }
}

impl<T> Agenda<T> {
    /// Notes a deed for `wait` from now.
    pub(crate) fn after(&mut self, wait: Duration, deed: T) {
        self.at(Instant::now() + wait, deed);
    }

    /// Notes a deed for a moment.
    pub(crate) fn at(&mut self, when: Instant, deed: T) -> Ticket {
        self.made += 1;
        let ticket = (when, self.made);
        self.deeds.insert(ticket, deed);
        ticket
    }

    /// Strikes a deed out; one that was done, or struck out, is no longer there.
    pub(crate) fn cancel(&mut self, ticket: Ticket) {
        self.deeds.remove(&ticket);
    }

    /// Waits for the next message or deed; without deeds and messages it costs nothing.
    pub(crate) fn next<M>(&mut self, messages: &Receiver<M>) -> Next<M, T> {
        let Some(first) = self.deeds.first_entry() else {
            return messages.recv().map_or(Next::Silence, Next::Message);
        };
        let wait = first.key().0.saturating_duration_since(Instant::now());
        if wait.is_zero() {
            return Next::Deed(first.remove());
        }
        match messages.recv_timeout(wait) {
            Ok(message) => Next::Message(message),
            Err(RecvTimeoutError::Timeout) => Next::Deed(first.remove()),
            Err(RecvTimeoutError::Disconnected) => Next::Silence,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn deeds_come_in_the_order_of_their_times() {
        let (_keep, messages) = channel::<()>();
        let mut agenda = Agenda::default();
        let now = Instant::now();
        agenda.at(now + Duration::from_millis(2), "second");
        agenda.at(now, "first");
        let ticket = agenda.at(now, "never");
        agenda.cancel(ticket);
        assert!(matches!(agenda.next(&messages), Next::Deed("first")));
        assert!(matches!(agenda.next(&messages), Next::Deed("second")));
    }
}
