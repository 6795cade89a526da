//! One incarnation of an engine. What is forgotten when it ends lies in it, and nothing else does.

use std::collections::BTreeSet;

use crate::decide::facts::attached::Watched;
use crate::decide::facts::figures::Figures;
use crate::decide::facts::gpu_process::GpuProcesses;
use crate::decide::facts::limits::Limits;
use crate::decide::facts::overlap::sharing::Beside;
use crate::decide::facts::passage::Passage;
use crate::decide::facts::progress::{Answers, Stretch, Tokens};
use crate::decide::facts::said::Said;
use crate::decide::facts::shortage::Shortage;
use crate::decide::policy::MpsUse;
use crate::model::{Exit, Health, Known, Moment, ProcessId};

/// One incarnation, from the order to start it until the next one is ordered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Instance {
    /// Counted from 1; 0: the engine was never started.
    pub incarnation: u32,
    pub process: MainProcess,
    pub tree: Tree,
    /// Whether it was started as a client.
    pub mps: MpsUse,
    /// It runs as an older configuration says, and is to be replaced.
    pub outdated: bool,
    /// A process of it does not die: which, for people.
    pub stuck: Option<String>,
    /// Sentence about why it does not serve.
    pub note: Option<String>,
    pub probes: Probes,
    pub gpu: OnGpu,
    pub output: Output,
    pub progress: Progress,
    /// What is only reported.
    pub figures: Figures,
    /// Its limits as they are.
    pub limits: Limits,
    /// Who said that it ran out of memory.
    pub shortage: Shortage,
    /// How fast it is beside the others, and its kernel probe.
    pub beside: Beside,
}

/// The main process of an engine.
#[derive(Clone, Debug, Default)]
pub(crate) struct MainProcess {
    /// Identity of the process; `None`: it is not there yet, or is proven gone.
    pub id: Option<ProcessId>,
    /// When and why it could not be started, if it could not.
    pub not_started: Option<(Moment, String)>,
    /// When it was started.
    pub started: Moment,
    /// When and how it ended, if it has.
    pub ended: Option<(Moment, Exit)>,
}

/// The processes of an engine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    pub all: Known<Vec<ProcessId>>,
    /// Those of them that nothing but the word of its start speaks for.
    pub claimed: BTreeSet<ProcessId>,
}

/// What its health endpoint answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Probes {
    pub last: Known<Health>,
    /// When this row of good probes began.
    pub good_since: Option<Moment>,
    /// Bad ones in a row.
    pub bad: u32,
}

/// What it is on the GPU and to its server.
#[derive(Clone, Debug, Default)]
pub(crate) struct OnGpu {
    /// Place where the engine computes; `None`: unknown.
    pub watched: Option<Watched>,
    /// When a process of it last began to leave the server.
    pub left: Option<Moment>,
    /// What NVML lists of it can be believed, as of its last reading.
    pub counted: bool,
    /// Processes of it that were seen as clients of the server, also those that are gone.
    pub held: BTreeSet<u32>,
    pub processes: GpuProcesses,
    /// Windows of the kernel probe between which kernels of it ended.
    pub kernels: Option<Stretch>,
}

/// What its output said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Output {
    /// Error lines.
    pub said: Said,
    /// CUDA error 46, 808 or 809 since it last got ready.
    pub over_limit: Option<(Moment, u32)>,
    /// All its memory is allocated, while it started.
    pub allocated: Option<Moment>,
    /// It wants numbers in CUDA_VISIBLE_DEVICES, while it started.
    pub wants_index: bool,
}

/// Its requests' tokens, its answers and its connections: whether it makes progress, and whether a client waits.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    pub tokens: Tokens,
    pub answers: Answers,
    pub passage: Passage,
    /// Answers to the tokens that the watchdog asked for.
    pub asked_token: Answers,
}

impl Instance {
    /// The next one, of which nothing was seen yet.
    pub(crate) fn next(&self) -> Instance {
        Instance { incarnation: self.incarnation + 1, ..Instance::default() }
    }

    /// Its processes, as last seen: never without its main process while that lives.
    pub(crate) fn processes(&self) -> Vec<ProcessId> {
        let mut all = self.tree.all.last().cloned().unwrap_or_default();
        let main = self.process.id.filter(|main| self.process.ended.is_none() && !all.contains(main));
        all.extend(main);
        all
    }

    /// Its processes, as last seen, without those that nothing but its word speaks for; `None`: they were not seen.
    pub(crate) fn proven(&self) -> Option<impl Iterator<Item = &ProcessId>> {
        Some(self.tree.all.last()?.iter().filter(|process| !self.tree.claimed.contains(process)))
    }

    /// What its output hints at as the reason why it did not come up; empty: nothing.
    pub(crate) fn hint(&self) -> &'static str {
        if self.output.wants_index {
            "; its output says that it wants a number in CUDA_VISIBLE_DEVICES and found a UUID: set gpu_named_by = \"index\""
        } else {
            ""
        }
    }
}
