//! The bytes of sock_diag (linux/inet_diag.h, linux/tcp.h): one request, and the messages of its answer. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// Address family AF_INET.
pub(super) const IPV4: u8 = 2;
/// AF_INET6; sockets that take IPv4 too are among them.
pub(super) const IPV6: u8 = 10;

/// Ports that one request can name: a jump in its program is 16 bits wide.
pub(super) const MOST_PORTS: usize = 3_000;

const TCP: u8 = 6;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// NLM_F_REQUEST | NLM_F_DUMP.
const DUMP: u16 = 0x301;
/// Flag NLM_F_DUMP_INTR.
const INTERRUPTED: u16 = 0x10;
/// NLMSG_ERROR, NLMSG_DONE, NLMSG_OVERRUN.
const ERROR: u16 = 2;
const DONE: u16 = 3;
const OVERRUN: u16 = 4;
/// The attribute that holds tcp_info, INET_DIAG_INFO.
const INFO: u16 = 2;
/// The attribute of a request that holds a program, INET_DIAG_REQ_BYTECODE.
const BYTECODE: u16 = 1;
/// INET_DIAG_BC_JMP, _S_GE, _S_LE; bytes of an instruction, of a comparison, and of all that one port takes.
const JUMP: u8 = 1;
const AT_LEAST: u8 = 2;
const AT_MOST: u8 = 3;
const INSTRUCTION: usize = 4;
const COMPARISON: usize = 8;
const BLOCK: usize = 2 * COMPARISON + INSTRUCTION;
const ESTABLISHED: u8 = 1;
const LISTEN: u8 = 10;

/// struct nlmsghdr.
const HEADER: usize = 16;
/// That, and struct inet_diag_req_v2.
const REQUEST: usize = HEADER + 56;
/// struct nlattr.
const ATTRIBUTE: usize = 4;
/// struct inet_diag_msg.
const MESSAGE: usize = 72;

/// One TCP socket that listens or is open on both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    /// It waits for connections.
    pub listens: bool,
    /// Address of its own end. An IPv4 address is one, whatever kind of socket has it.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// No other socket has had it since the machine's boot.
    pub cookie: u64,
    /// Inode, by which the descriptors of its processes name it.
    pub inode: u32,
    /// Bytes that it has sent, or will, and that the other end has not acknowledged.
    pub unacknowledged: u32,
    /// Bytes that the other end has acknowledged.
    pub acknowledged: u64,
    /// Packets with bytes that were sent.
    pub packets: u32,
    /// Bytes that came.
    pub received: u64,
    /// Time since bytes were sent; since it was opened, where none were.
    pub since_sent: Duration,
    /// Time since bytes came; since it was opened, where none did.
    pub since_received: Duration,
}

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NetlinkPart {
    Socket(Socket),
    /// An errno.
    Failed(i32),
    /// End of the list.
    End,
}

/// State of the sockets that are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SocketState {
    /// Sockets that wait for connections. The kernel finds them at once.
    Listening,
    /// Connections. The kernel goes through its whole table for them: a millisecond on a large host.
    Open,
}

/// Asks for all sockets of a state and an address family whose own port is one of these.
pub(super) fn request(state: SocketState, family: u8, ports: &[u16], sequence: u32) -> Vec<u8> {
    let state = match state {
        SocketState::Listening => LISTEN,
        SocketState::Open => ESTABLISHED,
    };
    let program = program(ports);
    let length = REQUEST + ATTRIBUTE + program.len();
    let mut bytes = Vec::with_capacity(length);
    bytes.extend((length as u32).to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(DUMP.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend([family, TCP, 1 << (INFO - 1), 0]);
    bytes.extend((1u32 << state).to_ne_bytes());
    // Its name: what is zero fits any socket.
    bytes.resize(REQUEST, 0);
    bytes.extend(((ATTRIBUTE + program.len()) as u16).to_ne_bytes());
    bytes.extend(BYTECODE.to_ne_bytes());
    bytes.extend(program);
    bytes
}

/// The program by which the kernel picks sockets (struct inet_diag_bc_op): for each port, "at least it" and "at most
/// it", then a jump to the end, which takes the socket. A jump beyond the end leaves it out.
fn program(ports: &[u16]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ports.len() * BLOCK);
    for (before, port) in ports.iter().enumerate() {
        let rest = (ports.len() - before) * BLOCK;
        // Where no port is left, one instruction beyond the end.
        let beyond = if rest == BLOCK { INSTRUCTION } else { 0 };
        let instruction = |code: u8, yes: usize, no: usize| {
            let [low, high] = (no as u16).to_ne_bytes();
            [code, yes as u8, low, high]
        };
        for (code, no) in [(AT_LEAST, BLOCK), (AT_MOST, BLOCK - COMPARISON)] {
            bytes.extend(instruction(code, COMPARISON, no + beyond));
            bytes.extend(instruction(0, 0, usize::from(*port)));
        }
        bytes.extend(instruction(JUMP, INSTRUCTION, rest - 2 * COMPARISON));
    }
    bytes
}

/// The messages of one piece of an answer; those that answer another request are left out.
pub(super) fn messages(piece: &[u8], sequence: u32) -> impl Iterator<Item = Result<NetlinkMessage<'_>, String>> {
    let mut rest = piece;
    let all = std::iter::from_fn(move || {
        let bytes = Some(std::mem::take(&mut rest)).filter(|bytes| !bytes.is_empty())?;
        let Some((message, after)) = NetlinkMessage::first(bytes) else {
            return Some(Err(format!("{} bytes of the kernel's answer are no netlink message", bytes.len())));
        };
        rest = after;
        Some(Ok(message))
    });
    all.filter(move |message| message.as_ref().map_or(true, |message| message.sequence == sequence))
}

/// struct nlmsghdr, and what follows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct NetlinkMessage<'b> {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: &'b [u8],
}

impl<'b> NetlinkMessage<'b> {
    /// The first message, with what comes after it.
    fn first(bytes: &'b [u8]) -> Option<(NetlinkMessage<'b>, &'b [u8])> {
        let length = u32_at(bytes, 0)? as usize;
        let body = bytes.get(HEADER..length)?;
        let after = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((
            NetlinkMessage { kind: u16_at(bytes, 4)?, flags: u16_at(bytes, 6)?, sequence: u32_at(bytes, 8)?, body },
            after,
        ))
    }

    /// Sockets came or went meanwhile, so that one may be missing or listed twice.
    pub(super) fn changed(&self) -> bool {
        self.flags & INTERRUPTED != 0 || self.kind == OVERRUN
    }

    /// The part that this message is; `None`: nothing that matters.
    pub(super) fn part(&self) -> Result<Option<NetlinkPart>, String> {
        match self.kind {
            SOCK_DIAG_BY_FAMILY => Ok(socket(self.body)?.map(NetlinkPart::Socket)),
            ERROR | DONE => match u32_at(self.body, 0).map_or(0, u32::cast_signed) {
                failed if failed < 0 => Ok(Some(NetlinkPart::Failed(failed.saturating_neg()))),
                _ => Ok((self.kind == DONE).then_some(NetlinkPart::End)),
            },
            _ => Ok(None),
        }
    }
}

/// struct inet_diag_msg and its attributes. `None`: a socket in a state that was not asked for.
fn socket(body: &[u8]) -> Result<Option<Socket>, String> {
    let Some(([family, state, ..], attributes)) = body.split_first_chunk::<MESSAGE>() else {
        return Err(format!("a socket of {} bytes came from the kernel", body.len()));
    };
    if !matches!(*state, ESTABLISHED | LISTEN) {
        return Ok(None);
    }
    let socket = still(body, *family, *state == LISTEN)
        .ok_or_else(|| format!("a socket of the unknown family {family} came from the kernel"))?;
    match attribute(attributes, INFO) {
        _ if socket.listens => Ok(Some(socket)),
        Some(info) => moved(socket, info).map(Some),
        None => Err("the kernel tells a connection without what moved on it".to_owned()),
    }
}

/// A socket on which nothing has moved.
fn still(body: &[u8], family: u8, listens: bool) -> Option<Socket> {
    let place = |port, address| Some(SocketAddr::new(address_at(body, address, family)?, port_at(body, port)?));
    Some(Socket {
        listens,
        local: place(4, 8)?,
        remote: place(6, 24)?,
        cookie: u64_at(body, 44)?,
        inode: u32_at(body, 68)?,
        // Of one that listens it is its backlog.
        unacknowledged: if listens { 0 } else { u32_at(body, 60)? },
        acknowledged: 0,
        packets: 0,
        received: 0,
        since_sent: Duration::ZERO,
        since_received: Duration::ZERO,
    })
}

/// struct tcp_info. It grows with each kernel, at its end.
fn moved(socket: Socket, info: &[u8]) -> Result<Socket, String> {
    let read = || {
        Some(Socket {
            acknowledged: u64_at(info, 120)?,
            received: u64_at(info, 128)?,
            packets: u32_at(info, 156)?,
            since_sent: ago(u32_at(info, 44)?),
            since_received: ago(u32_at(info, 52)?),
            ..socket
        })
    };
    read().ok_or_else(|| "the kernel counts too little of a connection: it is older than 4.6".to_owned())
}

/// Duration of so many milliseconds; a socket that moves just then may be a tick ahead, which reads as 49 days.
fn ago(milliseconds: u32) -> Duration {
    match milliseconds.cast_signed() {
        0.. => Duration::from_millis(milliseconds.into()),
        _ => Duration::ZERO,
    }
}

/// The value of the first attribute of a kind.
fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let (length, kind) = (u16_at(bytes, 0)? as usize, u16_at(bytes, 2)?);
        let value = bytes.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
}

fn address_at(bytes: &[u8], at: usize, family: u8) -> Option<IpAddr> {
    let bytes = bytes.get(at..)?;
    match family {
        IPV4 => Some(Ipv4Addr::from(*bytes.first_chunk()?).into()),
        IPV6 => Some(IpAddr::from(Ipv6Addr::from(*bytes.first_chunk()?)).to_canonical()),
        _ => None,
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn port_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}
