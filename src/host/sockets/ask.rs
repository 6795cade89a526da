//! One question to the kernel over its socket for sockets, and its whole answer.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket};
use nix::sys::time::{TimeVal, TimeValLike};

use super::wire::Socket;
use super::wire::{self, NetlinkPart, SocketState};

/// Upper bound for one answer of the kernel. It answers within microseconds.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
/// Upper bound for one reading of a port, however many sockets it has.
pub(super) const BOUND: Duration = Duration::from_secs(2);
/// The kernel puts at most 32 KiB into one piece.
pub(super) const PIECE: usize = 64 * 1024;
/// Number of readings, where sockets come and go beneath them.
pub(super) const TRIES: u32 = 3;
const FAMILIES: [u8; 2] = [wire::IPV4, wire::IPV6];
/// Sockets of one reading; more are not read.
pub(super) const MOST: usize = 65_536;

/// The sockets of one network namespace: the one of the thread that opened it, wherever it is used.
#[derive(Debug)]
pub struct Sockets {
    netlink: OwnedFd,
    /// Number of the last request: the answer to it bears the same one.
    sequence: u32,
    piece: Vec<u8>,
}

impl Sockets {
    /// Those of this thread's network namespace.
    pub fn here() -> io::Result<Sockets> {
        let kind = (SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkSockDiag);
        let netlink = socket(AddressFamily::Netlink, kind.0, kind.1, kind.2)?;
        setsockopt(&netlink, ReceiveTimeout, &TimeVal::milliseconds(PATIENCE.as_millis() as i64))?;
        Ok(Sockets { netlink, sequence: 0, piece: vec![0; PIECE] })
    }

    /// The listening and the open sockets whose own port is one of these, of IPv4 and of IPv6. Many ports cost what one
    /// costs. After a failure it is of no use any more: the rest of an answer may still be in it.
    pub fn at_ports(&mut self, ports: &[u16]) -> Result<Vec<Socket>, String> {
        let until = Instant::now() + BOUND;
        let mut found = Vec::new();
        for some in ports.chunks(wire::MOST_PORTS) {
            found.extend(self.unchanged(some, until)?);
        }
        Ok(found)
    }

    /// The sockets that listen at one port, of IPv4 and of IPv6.
    pub fn listening_at(&mut self, port: u16) -> Result<Vec<Socket>, String> {
        let (until, mut found) = (Instant::now() + BOUND, Vec::new());
        for family in FAMILIES {
            // One that comes meanwhile is seen by the next reading.
            self.read(SocketState::Listening, family, &[port], until, &mut found)?;
        }
        Ok(found)
    }

    /// A reading beneath which nothing changed.
    fn unchanged(&mut self, ports: &[u16], until: Instant) -> Result<Vec<Socket>, String> {
        for _ in 0..TRIES {
            let (mut found, mut whole) = (Vec::new(), true);
            let mut takers = Vec::new();
            for family in FAMILIES {
                let before = found.len();
                whole &= self.read(SocketState::Listening, family, ports, until, &mut found)?;
                takers.extend((found.len() > before).then_some(family));
            }
            // A connection has the family of the socket that took it. Where a port listens no more, those that it took
            // earlier may be of either.
            let all_listen = ports.iter().all(|port| found.iter().any(|socket| socket.local.port() == *port));
            for family in if all_listen { takers } else { FAMILIES.to_vec() } {
                whole &= self.read(SocketState::Open, family, ports, until, &mut found)?;
            }
            if whole {
                return Ok(found);
            }
        }
        Err(format!(
            "the sockets of {} changed while they were read, {TRIES} times: the next look may do",
            named(ports)
        ))
    }

    /// One reading. Whether nothing changed beneath it.
    fn read(
        &mut self,
        state: SocketState,
        family: u8,
        ports: &[u16],
        until: Instant,
        found: &mut Vec<Socket>,
    ) -> Result<bool, String> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = wire::request(state, family, ports, self.sequence);
        send(self.netlink.as_raw_fd(), &request, MsgFlags::empty()).map_err(refused)?;
        let mut whole = true;
        loop {
            if Instant::now() > until {
                return Err(format!("the kernel did not tell all sockets of {} within {BOUND:?}", named(ports)));
            }
            let length = self.receive()?;
            let mut ended = false;
            for message in wire::messages(&self.piece[..length], self.sequence) {
                let message = message?;
                whole &= !message.changed();
                match message.part()? {
                    Some(NetlinkPart::Socket(socket)) if found.len() < MOST => found.push(socket),
                    Some(NetlinkPart::Failed(errno)) => return Err(refused(Errno::from_raw(errno))),
                    Some(NetlinkPart::End) => ended = true,
                    Some(NetlinkPart::Socket(_)) | None => {}
                }
            }
            if ended {
                return Ok(whole);
            }
        }
    }

    fn receive(&mut self) -> Result<usize, String> {
        loop {
            // With MSG_TRUNC the kernel tells the true length of a piece that was too long.
            match recv(self.netlink.as_raw_fd(), &mut self.piece, MsgFlags::MSG_TRUNC) {
                Ok(length) if length > PIECE => return Err(format!("a piece of {length} bytes came from the kernel")),
                Ok(length) => return Ok(length),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Err(format!("the kernel listed no socket within {PATIENCE:?}")),
                Err(error) => return Err(refused(error)),
            }
        }
    }
}

/// The ports, for people.
fn named(ports: &[u16]) -> String {
    match ports {
        [port] => format!("port {port}"),
        ports => format!("{} ports", ports.len()),
    }
}

/// Why there is no answer, and what may be done.
#[expect(clippy::wildcard_enum_match_arm, reason = "an errno has a hundred values")]
pub(super) fn refused(error: Errno) -> String {
    let cure = match error {
        Errno::ENOENT => ": load its module, modprobe tcp_diag",
        Errno::EPERM | Errno::EACCES => ": a sandbox forbids it; allow AF_NETLINK",
        _ => "",
    };
    format!("the kernel does not tell its sockets ({}){cure}", error.desc())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
