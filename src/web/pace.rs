//! How long a connection may keep its server waiting, and which one goes when there is no room. It
//! touches no socket.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep_until};

/// Upper bound for a handshake and for a request's head, once it has begun.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Upper bound for the next request of a connection that was answered: longer than the usual time between scrapes.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// What one connection does now.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// It is new, or a request has begun.
    Beginning { since: Instant },
    /// It was answered, and nothing came since.
    Idle { since: Instant },
    /// A request is being answered.
    Answering,
    /// Its place is needed for another.
    Over,
}

/// One connection's phase.
pub(super) struct Pace {
    phase: watch::Sender<Phase>,
}

/// Guard of a request that is being answered, for as long as it lives.
pub(super) struct Answering {
    pace: Arc<Pace>,
}

impl Pace {
    pub(super) fn new() -> Pace {
        Pace { phase: watch::Sender::new(Phase::Beginning { since: Instant::now() }) }
    }

    /// Bytes came: an idle connection begins a request.
    pub(super) fn heard(&self) {
        self.phase.send_if_modified(|phase| {
            let begins = matches!(phase, Phase::Idle { .. });
            if begins {
                *phase = Phase::Beginning { since: Instant::now() };
            }
            begins
        });
    }

    /// A request's head is there.
    pub(super) fn answering(self: &Arc<Self>) -> Answering {
        self.enter(Phase::Answering);
        Answering { pace: Arc::clone(self) }
    }

    /// Ends when the connection has kept the server waiting for too long, or must make room.
    pub(super) async fn overdue(&self) {
        let mut phases = self.phase.subscribe();
        loop {
            let phase = *phases.borrow_and_update();
            let end = async {
                match phase {
                    Phase::Beginning { since } => sleep_until(since + HEAD_TIMEOUT).await,
                    Phase::Idle { since } => sleep_until(since + IDLE_TIMEOUT).await,
                    Phase::Answering => pending().await,
                    Phase::Over => {}
                }
            };
            tokio::select! {
                () = end => return,
                // The sender is `self`.
                _ = phases.changed() => {}
            }
        }
    }

    fn waiting_since(&self) -> Option<Instant> {
        match *self.phase.borrow() {
            Phase::Beginning { since } | Phase::Idle { since } => Some(since),
            Phase::Answering | Phase::Over => None,
        }
    }

    fn enter(&self, next: Phase) {
        self.phase.send_if_modified(|phase| {
            let lives = *phase != Phase::Over;
            if lives {
                *phase = next;
            }
            lives
        });
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.pace.enter(Phase::Idle { since: Instant::now() });
    }
}

/// The places for connections.
pub(super) struct Room {
    free: Arc<Semaphore>,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    next: u64,
    paces: BTreeMap<u64, Arc<Pace>>,
}

/// One connection's place; free again when dropped.
pub(super) struct Place {
    room: Arc<Room>,
    number: u64,
    /// Pace of the connection that has it.
    pub pace: Arc<Pace>,
    _permit: OwnedSemaphorePermit,
}

impl Room {
    pub(super) fn new(places: usize) -> Room {
        Room { free: Arc::new(Semaphore::new(places)), taken: Mutex::default() }
    }

    /// A place for a newcomer. Where none is free, the connection ends that has waited longest for its client.
    pub(super) async fn enter(self: &Arc<Self>) -> Option<Place> {
        if self.free.available_permits() == 0 {
            self.make_room();
        }
        // The semaphore is never closed.
        let permit = Arc::clone(&self.free).acquire_owned().await.ok()?;
        let pace = Arc::new(Pace::new());
        let number = {
            let mut taken = self.taken();
            taken.next += 1;
            let number = taken.next;
            taken.paces.insert(number, Arc::clone(&pace));
            number
        };
        Some(Place { room: Arc::clone(self), number, pace, _permit: permit })
    }

    fn make_room(&self) {
        let taken = self.taken();
        let waiting = taken.paces.values().filter_map(|pace| Some((pace.waiting_since()?, pace)));
        if let Some((_, longest)) = waiting.min_by_key(|(since, _)| *since) {
            longest.enter(Phase::Over);
        }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.taken().paces.remove(&self.number);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use tokio::time::{advance, timeout};

    use super::*;

    async fn is_overdue(pace: &Pace) -> bool {
        timeout(Duration::ZERO, pace.overdue()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_has_10_s_and_an_answered_connection_waits_longer() {
        let pace = Arc::new(Pace::new());
        advance(HEAD_TIMEOUT - Duration::from_millis(10)).await;
        assert!(!is_overdue(&pace).await);
        drop(pace.answering());
        advance(IDLE_TIMEOUT - Duration::from_millis(10)).await;
        assert!(!is_overdue(&pace).await, "idle");
        pace.heard();
        advance(HEAD_TIMEOUT - Duration::from_millis(10)).await;
        pace.heard();
        assert!(!is_overdue(&pace).await);
        advance(Duration::from_millis(20)).await;
        assert!(is_overdue(&pace).await, "a trickle of bytes buys no time");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_not_cut_short() {
        let pace = Arc::new(Pace::new());
        let _answering = pace.answering();
        advance(Duration::from_secs(500)).await;
        assert!(!is_overdue(&pace).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_newcomer_takes_the_place_of_the_longest_idle_connection() {
        let room = Arc::new(Room::new(3));
        let busy = room.enter().await.unwrap();
        let _answering = busy.pace.answering();
        advance(Duration::from_secs(1)).await;
        let first = room.enter().await.unwrap();
        advance(Duration::from_secs(1)).await;
        let second = room.enter().await.unwrap();
        let newcomer = tokio::spawn({
            let room = Arc::clone(&room);
            async move { room.enter().await.is_some() }
        });
        first.pace.overdue().await;
        drop(first);
        assert!(newcomer.await.unwrap());
        assert!(!is_overdue(&second.pace).await && !is_overdue(&busy.pace).await);
    }
}
