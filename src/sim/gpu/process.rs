//! A process that uses the GPUs, and its contexts on them. Plain data.

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use crate::cuda::CudaError;

/// A context's place: a process, and the GPU by NVML's index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seat {
    pub pid: u32,
    pub device: usize,
}

/// A process that uses GPUs, or is about to.
pub(super) struct Process {
    pub name: String,
    /// Contexts by the GPU's index.
    pub contexts: BTreeMap<usize, Context>,
    /// The server whose client it is; none: outside MPS, or not yet decided.
    pub server: Option<u32>,
    pub ended: bool,
    /// Its contexts were ended by `terminate_client`.
    pub terminated: bool,
    /// When its teardown will be over, once that is planned.
    pub gone_at: Option<Instant>,
    /// That plan was made when its server was dead.
    pub outlived_server: bool,
    /// Keeps the process from being reaped until it is dropped.
    pub hold: Option<Sender<()>>,
}

/// A context on one GPU.
pub(super) struct Context {
    pub link: u64,
    /// It is there, and NVML shows it.
    pub made: bool,
    pub memory: u64,
    /// The share of the SMs that it may use: its active thread percentage.
    pub sm_share: f64,
    /// The serial number of what it runs.
    pub kernel: Option<u64>,
    /// Sticky: the answer to all further calls.
    pub error: Option<CudaError>,
    /// Its process waits for an answer.
    pub waiting: bool,
    /// Its kernels wait while others take the GPU.
    pub starves: bool,
}

impl Process {
    /// One without any context yet.
    pub(super) fn called(name: &str) -> Process {
        Process {
            name: name.to_owned(),
            contexts: BTreeMap::new(),
            server: None,
            ended: false,
            terminated: false,
            gone_at: None,
            outlived_server: false,
            hold: None,
        }
    }

    pub(super) fn has_context(&self) -> bool {
        self.contexts.values().any(|context| context.made)
    }

    pub(super) fn is_on(&self, device: usize) -> bool {
        self.contexts.get(&device).is_some_and(|context| context.made)
    }

    /// GPUs on which it has a context.
    pub(super) fn devices(&self) -> Vec<usize> {
        self.contexts.iter().filter(|(_, context)| context.made).map(|(device, _)| *device).collect()
    }

    /// Device memory on all GPUs, in bytes.
    pub(super) fn memory(&self) -> u64 {
        self.contexts.values().map(|context| context.memory).sum()
    }

    /// How much longer its memory takes to be torn down.
    pub(super) fn memory_takes(&self) -> Duration {
        Duration::from_millis(self.memory() >> 30)
    }
}

impl Context {
    /// One that is about to be made, by what is said over this connection.
    pub(super) fn over(link: u64) -> Context {
        Context {
            link,
            made: false,
            memory: 0,
            sm_share: 1.0,
            kernel: None,
            error: None,
            waiting: false,
            starves: false,
        }
    }
}
