//! Turns the sockets of an engine's port, look after look, into what the connections say: who waits, who was answered.
//! Pure: it reads nothing and judges nothing.
//!
//! A client that vanished without a word (its machine lost power) shows as open until TCP gives it up.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::host::sockets::Socket;
use crate::model::traffic::STALLED_AFTER;
use crate::model::{Moment, Traffic};

/// Connections whose bytes are followed; what more there are is counted, and adds nothing to `answered`.
const MOST: usize = 4096;
/// What comes sooner after its request may be a front end's own: /health, /metrics, a refusal.
const LATE: Duration = Duration::from_secs(1);
/// A front end's sign of life on a silent stream (SSE comments: `:`, `: keep-alive`, `: ping - TIME`), in bytes. A token as
/// an event of OpenAI's API has twice as many.
const SIGN: u64 = 80;
/// Bytes of signs of life in a second: no front end that is known gives more than one.
const SIGNS_A_SECOND: f64 = 60.0;
/// The head of an answer, which may come long before the answer, and all of a late refusal.
const HEAD: u64 = 256;

/// What was seen of one engine's connections so far.
#[derive(Debug, Default)]
pub(super) struct Reckoner {
    /// Connections as of the last look, by their cookies.
    seen: BTreeMap<u64, ConnectionState>,
    /// When that was, if it followed every connection: one that is not among them is new.
    complete_at: Option<Moment>,
    answered: u64,
}

/// A connection as it was when it last made progress: with a request, or with a part of its answer.
#[derive(Clone, Copy, Debug, Default)]
struct ConnectionState {
    at: Moment,
    written: u64,
    packets: u32,
    received: u64,
    /// Bytes have come since its last request, at an earlier look.
    begun: bool,
}

impl Reckoner {
    /// The engine was started anew: what was seen are no connections to it.
    pub(super) fn begin(&mut self) {
        *self = Reckoner { answered: self.answered, ..Reckoner::default() };
    }

    /// Takes up a look at the port of an engine whose URL names `host`; without the clients on `own_ports`.
    pub(super) fn reckon(
        &mut self,
        sockets: &[Socket],
        host: Option<IpAddr>,
        own_ports: &[u16],
        now: Moment,
    ) -> Traffic {
        let home = Home::of(sockets, host);
        let of_engine = sockets.iter().filter(|socket| home.has(socket.local.ip()));
        let (listening, open): (Vec<&Socket>, Vec<&Socket>) = of_engine.partition(|socket| socket.listens);
        let open: Vec<&Socket> = open.into_iter().filter(|one| !own_ports.contains(&one.remote.port())).collect();
        self.follow(&open, now);
        let waiting = open.iter().filter(|socket| waits(socket));
        Traffic {
            listening: !listening.is_empty(),
            open: count(open.len()),
            unanswered: count(waiting.clone().count()),
            longest: waiting.map(|socket| socket.since_received).max().unwrap_or_default(),
            stalled: count(open.iter().filter(|socket| self.stalls(socket, now)).count()),
            answered: self.answered,
        }
    }

    /// Adds what answers have grown by since the last look.
    fn follow(&mut self, open: &[&Socket], now: Moment) {
        let mut seen = BTreeMap::new();
        for socket in open.iter().take(MOST) {
            let (follows, grown) = self.grown(socket, now);
            self.answered = self.answered.saturating_add(grown);
            seen.insert(socket.cookie, follows);
        }
        self.complete_at = (open.len() <= MOST).then_some(now);
        self.seen = seen;
    }

    /// What is to be remembered of a connection, and by how many bytes its answer has grown. Bytes count where they come
    /// late, or as a stream: look after look, and no request in between.
    fn grown(&self, socket: &Socket, now: Moment) -> (ConnectionState, u64) {
        let new = self.complete_at.map(|at| ConnectionState { at, ..ConnectionState::default() });
        let Some(before) = self.seen.get(&socket.cookie).copied().or(new) else {
            return (ConnectionState::of(socket, now), 0);
        };
        let growth = written(socket).saturating_sub(before.written);
        let asked = socket.received != before.received;
        let packets = socket.packets.wrapping_sub(before.packets);
        let answer = growth > signs(packets, now.since(before.at)) + if asked { HEAD } else { 0 };
        let late = socket.since_received.saturating_sub(socket.since_sent) >= LATE;
        let stream = before.begun && !asked;
        let begun = stream || growth > 0 && !waits(socket);
        let now = if answer || asked { ConnectionState::of(socket, now) } else { before };
        (ConnectionState { begun, ..now }, if answer && (late || stream) { growth } else { 0 })
    }

    /// Its engine spoke last, its client has everything, and no more comes. A client that does not read is no engine that
    /// does not write.
    fn stalls(&self, socket: &Socket, now: Moment) -> bool {
        let at = self.seen.get(&socket.cookie).map_or(ConnectionState::of(socket, now).at, |seen| seen.at);
        socket.received > 0 && !waits(socket) && socket.unacknowledged == 0 && now.since(at) > STALLED_AFTER
    }
}

impl ConnectionState {
    /// The socket as it is now.
    fn of(socket: &Socket, now: Moment) -> ConnectionState {
        let still = socket.since_sent.min(socket.since_received);
        ConnectionState {
            at: now.before(still),
            written: written(socket),
            packets: socket.packets,
            received: socket.received,
            begun: false,
        }
    }
}

/// Bytes that the engine has written, acknowledged or not: when a client says that it has them tells nothing of the engine.
fn written(socket: &Socket) -> u64 {
    socket.acknowledged.saturating_add(socket.unacknowledged.into())
}

/// The most bytes that signs of life can have in so many packets, within this time.
fn signs(packets: u32, time: Duration) -> u64 {
    let in_packets = u64::from(packets.max(1)).saturating_mul(SIGN);
    in_packets.min((SIGNS_A_SECOND * (1.0 + time.as_secs_f64())) as u64)
}

/// Its client spoke last. Times are in the kernel's ticks: within one the engine is taken to have spoken last, but for
/// a new connection, whose two times both begin with it.
fn waits(socket: &Socket) -> bool {
    let at_once = socket.since_received == socket.since_sent;
    socket.received > 0 && (socket.since_received < socket.since_sent || at_once && written(socket) == 0)
}

fn count(connections: usize) -> u32 {
    u32::try_from(connections).unwrap_or(u32::MAX)
}

/// Whose connections of a port are the engine's: two engines may have the same port at two addresses.
struct Home {
    /// Addresses with a listener of their own; others are of the one that listens at any address.
    own: BTreeSet<IpAddr>,
    /// Address of the host; `None`: the host is no address, so all are.
    of: Option<IpAddr>,
}

impl Home {
    fn of(sockets: &[Socket], host: Option<IpAddr>) -> Home {
        let listening = sockets.iter().filter(|socket| socket.listens).map(|socket| socket.local.ip());
        Home { own: listening.filter(|address| !address.is_unspecified()).collect(), of: host }
    }

    fn has(&self, address: IpAddr) -> bool {
        self.of.is_none_or(|host| self.own.get(&host) == self.own.get(&address))
    }
}

#[cfg(test)]
#[path = "traffic_tests.rs"]
mod tests;
