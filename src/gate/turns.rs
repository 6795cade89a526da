//! Whose turn it is: engines that are started by others start one after the other, in the order in which they came. A turn
//! lasts until its engine says that it is ready, ends, or has had its time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Who came to the gate: an engine is all of one cgroup's processes of one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub user: u32,
    pub cgroup: String,
}

/// A place in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket(u64);

/// Who has the turn.
struct Holder<P> {
    process: P,
    pid: u32,
    origin: Origin,
    until: Instant,
}

/// The line of one gate. `P`: a process, which may be gone.
pub(super) struct Turns<P> {
    next: u64,
    line: VecDeque<Ticket>,
    holder: Option<Holder<P>>,
    is_gone: fn(&P) -> bool,
}

impl<P> Turns<P> {
    /// Nobody waits yet.
    pub(super) fn new(is_gone: fn(&P) -> bool) -> Turns<P> {
        Turns { next: 0, line: VecDeque::new(), holder: None, is_gone }
    }

    /// Joins the end of the line.
    pub(super) fn enter(&mut self) -> Ticket {
        self.next += 1;
        self.line.push_back(Ticket(self.next));
        Ticket(self.next)
    }

    /// Leaves the line, wherever it is.
    pub(super) fn leave(&mut self, ticket: Ticket) {
        self.line.retain(|other| *other != ticket);
    }

    /// Why it is not the turn of process `pid`, which has this ticket. One that had the turn and comes again has it still.
    pub(super) fn may_go(&mut self, ticket: Ticket, pid: u32, now: Instant) -> Result<(), String> {
        self.holder.take_if(|holder| now >= holder.until || (self.is_gone)(&holder.process));
        if self.holder.as_ref().is_some_and(|holder| holder.pid == pid) {
            return Ok(());
        }
        if let Some(holder) = &self.holder {
            return Err(format!("the engine that process {} became is starting", holder.pid));
        }
        match self.line.iter().position(|other| *other == ticket) {
            Some(0) | None => Ok(()),
            Some(1) => Err("another one is before it".to_owned()),
            Some(before) => Err(format!("{before} others are before it")),
        }
    }

    /// It goes, and has the turn for so long.
    pub(super) fn go(
        &mut self,
        ticket: Ticket,
        (process, pid): (P, u32),
        origin: Origin,
        lasts: Duration,
        now: Instant,
    ) {
        self.leave(ticket);
        self.holder = Some(Holder { process, pid, origin, until: now + lasts });
    }

    /// The engine of this origin is ready: the turn is the next one's, if it was its own.
    pub(super) fn ready(&mut self, origin: &Origin) {
        self.holder.take_if(|holder| holder.origin == *origin);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    const LASTS: Duration = Duration::from_secs(120);

    fn turns() -> Turns<bool> {
        Turns::new(|gone| *gone)
    }

    fn origin(cgroup: &str) -> Origin {
        Origin { user: 7, cgroup: cgroup.to_owned() }
    }

    #[test]
    fn they_go_in_the_order_in_which_they_came() {
        let (mut turns, now) = (turns(), Instant::now());
        let (first, second, third) = (turns.enter(), turns.enter(), turns.enter());
        assert_eq!(turns.may_go(third, 1, now), Err("2 others are before it".to_owned()));
        assert_eq!(turns.may_go(first, 1, now), Ok(()));
        turns.leave(first);
        assert_eq!(turns.may_go(second, 1, now), Ok(()));
    }

    #[test]
    fn a_turn_ends_with_readiness_of_its_own_engine_alone() {
        let (mut turns, now) = (turns(), Instant::now());
        let (first, second) = (turns.enter(), turns.enter());
        turns.go(first, (false, 42), origin("/a"), LASTS, now);
        assert_eq!(turns.may_go(second, 1, now), Err("the engine that process 42 became is starting".to_owned()));
        turns.ready(&origin("/b"));
        assert!(turns.may_go(second, 1, now).is_err());
        turns.ready(&Origin { user: 8, ..origin("/a") });
        assert!(turns.may_go(second, 1, now).is_err());
        turns.ready(&origin("/a"));
        assert_eq!(turns.may_go(second, 1, now), Ok(()));
    }

    #[test]
    fn who_comes_again_has_its_turn_still() {
        let (mut turns, now) = (turns(), Instant::now());
        let first = turns.enter();
        turns.go(first, (false, 42), origin("/a"), LASTS, now);
        let (other, again) = (turns.enter(), turns.enter());
        assert!(turns.may_go(other, 1, now).is_err());
        assert_eq!(turns.may_go(again, 42, now), Ok(()));
    }

    #[test]
    fn a_turn_ends_with_its_process_and_with_its_time() {
        for (gone, later) in [(true, Duration::ZERO), (false, LASTS)] {
            let (mut turns, now) = (turns(), Instant::now());
            let (first, second) = (turns.enter(), turns.enter());
            turns.go(first, (gone, 42), origin("/a"), LASTS, now);
            assert_eq!(turns.may_go(second, 1, now + later), Ok(()));
        }
    }
}
