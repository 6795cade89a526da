//! The driver's process: it takes messages and what is due by time, one after the other.

use std::io::{self, Read};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::super::agenda::Next;
use super::super::args::Args;
use super::super::cuda::CudaError;
use super::super::wire::{self, Heard};
use super::driver::Driver;
use super::process::Seat;

/// Bytes of device memory of an H200.
pub(crate) const MEMORY_TOTAL: u64 = 143_771 << 20;
/// Bytes that a server's context takes.
pub(crate) const SERVER_MEMORY: u64 = 66 << 20;

/// The share of the SMs that a kernel can use, where it is not configured: three of them do not slow each other down.
pub(crate) const DEMAND: f64 = 0.3;

/// What the GPU process hears.
pub(super) enum Message {
    Wire(Heard),
    /// A client or a server has begun to exit; it is held until the other end of the channel is dropped.
    Exiting(u32, Sender<()>),
}

impl From<Heard> for Message {
    fn from(heard: Heard) -> Self {
        Message::Wire(heard)
    }
}

/// What the GPU will do later. Processes and servers are named by pid.
pub(super) enum Due {
    /// The first of those in flight on a GPU.
    KernelDone {
        device: usize,
    },
    FaultLine {
        domain: Domain,
        kind: Kind,
        culprit: Seat,
    },
    XidEvent {
        device: usize,
        xid: u32,
    },
    Error {
        seat: Seat,
        error: CudaError,
    },
    ResetOver {
        server: u32,
    },
    Drained {
        seat: Seat,
    },
    Terminated {
        server: u32,
        pid: u32,
    },
    ContextZeroExit {
        server: u32,
        pid: u32,
    },
    Gone {
        pid: u32,
    },
    Active {
        server: u32,
    },
    /// A dead server is torn down; dropping the channel lets its process go.
    ServerGone {
        devices: Vec<usize>,
        _hold: Option<Sender<()>>,
    },
}

/// Who shares a fault: the clients of one server, or one process outside MPS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Domain {
    Server(u32),
    Alone(u32),
}

/// What went wrong on the GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A kernel touched memory that is not there.
    IllegalAddress,
    /// A process was killed while its kernel ran: its memory went under the kernel's feet.
    Orphaned,
    /// A kernel executed a trap.
    Trap,
}

/// `sim gpu --socket PATH --kernel-log PATH --uuid UUID[,UUID...] [--seed N] [--let-go]`.
pub(crate) fn main(args: &Args) -> ExitCode {
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sim gpu: {error}");
            ExitCode::FAILURE
        }
    }
}

pub(super) fn run(args: &Args) -> io::Result<()> {
    let (to, messages) = channel();
    let mut driver = Driver::new(args, to.clone())?;
    wire::listen(&args.path("socket", "gpu.socket"), to)?;
    std::thread::spawn(end_with_the_starter);
    turn(&mut driver, &messages);
    Ok(())
}

/// The starter holds the other end of stdin.
pub(super) fn end_with_the_starter() {
    let _ = io::stdin().read_to_end(&mut Vec::new());
    std::process::exit(0);
}

pub(super) fn turn(driver: &mut Driver, messages: &Receiver<Message>) {
    loop {
        match driver.agenda.next(messages) {
            Next::Message(Message::Exiting(pid, hold)) => driver.exiting(pid, hold),
            Next::Message(Message::Wire(Heard::Opened(link, peer, stream))) => driver.links.open(link, peer, stream),
            Next::Message(Message::Wire(Heard::Line(link, line))) => driver.hear(link, &line),
            Next::Message(Message::Wire(Heard::Closed(link))) => driver.hung_up(link),
            Next::Deed(due) => driver.carry_out(due),
            Next::Silence => return,
        }
    }
}
