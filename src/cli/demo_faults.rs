//! The faults that `demo --inject` takes: what each does, what is seen of it, and how long that takes. One table, for
//! the help, for what the demo announces and for what it refuses.

use std::fmt::Write;
use std::time::Duration;

/// What a fault is injected into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// One engine.
    Engine,
    /// The MPS server.
    Server,
    /// The MPS control daemon.
    Daemon,
    /// The GPU.
    Gpu,
    /// NVML: what the driver says.
    Driver,
    /// None of the group's: a process beside it.
    Stranger,
}

/// What is seen of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// This word of the story, so many seconds after it was injected at the latest.
    As(&'static str, u64),
    /// It ends another fault, and this word of the story says so, so many seconds after it at the latest.
    Mends(&'static str, u64),
    /// Nothing: it is no fault, or none before something else happens.
    Nothing,
}

/// One of the faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownFault {
    /// Its word on the command line.
    pub name: &'static str,
    /// What is injected, in a line.
    pub does: &'static str,
    /// What it is injected into.
    pub victim: Victim,
    /// What is seen of it.
    pub seen: Seen,
}

const fn fault(victim: Victim, name: &'static str, seen: Seen, does: &'static str) -> KnownFault {
    KnownFault { name, does, victim, seen }
}

use Seen::{As, Mends, Nothing};
use Victim::{Daemon, Driver, Engine, Gpu, Server, Stranger};

/// Every fault that the demo can bring about.
pub const KNOWN_FAULTS: [KnownFault; 42] = [
    fault(Engine, "illegal-address", As("gpu_fault", 2), "a kernel touches memory that is not there: error 700"),
    fault(Engine, "trap", As("gpu_fault", 2), "a kernel traps: error 719"),
    fault(Engine, "linger", As("gpu_fault", 2), "an illegal address, and every engine lives on with its error"),
    fault(Engine, "sigkill-busy", As("gpu_fault", 2), "its GPU process is killed in a long kernel"),
    fault(Engine, "sigkill-idle", As("engine_died", 2), "its GPU process is killed between two kernels"),
    fault(Engine, "device-oom", As("device_oom", 3), "it runs out of device memory"),
    fault(Engine, "host-oom", As("host_oom", 2), "the kernel's OOM killer takes its GPU process"),
    fault(Engine, "leak", As("memory_leak", 30), "its device memory grows indefinitely"),
    fault(Engine, "hang", As("hang", 20), "a kernel never ends"),
    fault(Engine, "stop", As("hang", 25), "SIGSTOP of all of it: it answers nothing"),
    fault(Engine, "stop-core", As("hang", 20), "SIGSTOP of its GPU process; it says that it is healthy"),
    fault(Engine, "dead-core", As("engine_died", 3), "its GPU process is killed; it says that it is healthy"),
    fault(Engine, "starve", As("starved", 20), "its kernels wait while others take every SM"),
    fault(Engine, "zombie", As("engine_died", 2), "its main process is killed; its GPU process lives on"),
    fault(Server, "server-kill", As("server_died", 2), "SIGKILL of the MPS server"),
    fault(Server, "server-cannot-start", As("server_cannot_start", 3), "the same, and none can be started any more"),
    fault(Server, "server-starts", Mends("server_up", 35), "servers can be started again"),
    fault(Engine, "evict", As("evicted", 3), "the MPS server ends its client, as those of r615 do"),
    fault(Engine, "newcomers-hang", As("newcomers_hang", 40), "sigkill-busy, and the server lets no client in then"),
    fault(Daemon, "control-kill", As("control_died", 2), "SIGKILL of the control daemon"),
    fault(Daemon, "control-wedge", As("control_wedged", 30), "SIGSTOP of the control daemon: it never answers"),
    fault(Engine, "outside-mps", As("outside_mps", 5), "its GPU process is replaced by one outside MPS"),
    fault(Stranger, "foreign-process", As("foreign_process", 5), "a process outside MPS computes on the GPU"),
    fault(Stranger, "foreign-fault", As("xid", 3), "a process outside MPS faults: nothing is done"),
    fault(Engine, "metrics-hang", As("source_down", 10), "its metrics are asked for and never come"),
    fault(Engine, "metrics-flood", As("source_down", 45), "its metrics never end"),
    fault(Engine, "term-hangs", Nothing, "it will end by SIGKILL alone: seen once it is stopped"),
    fault(Engine, "abort-all", Nothing, "all its callers go away for ten minutes: that is no fault"),
    fault(Engine, "echo", Nothing, "users ask about CUDA errors of their own: that is no fault"),
    fault(Engine, "echo-flood", Nothing, "10 000 such lines a second: that is no fault"),
    fault(Gpu, "xid-79", As("gpu_lost", 3), "the GPU falls off the bus"),
    fault(Gpu, "reset-needed", As("gpu_reset_needed", 3), "Xid 95, and the driver wants the GPU reset"),
    fault(Gpu, "gpu-repaired", Mends("released", 5), "the GPU was reset, or is back on the bus"),
    fault(Driver, "nvml-hang", As("source_down", 10), "every call of NVML hangs"),
    fault(Driver, "nvml-error", As("source_down", 5), "every call of NVML fails, and says nothing of the GPU"),
    fault(Driver, "nvml-well", Mends("source_up", 15), "NVML answers again"),
    fault(Driver, "nvml-reset-required", As("gpu_reset_needed", 3), "NVML says that the GPU requires a reset"),
    fault(Driver, "nvml-lost", As("gpu_lost", 3), "NVML says that the GPU is lost"),
    fault(Driver, "bus-reset-needed", As("gpu_reset_needed", 3), "the driver wants the GPU reset by its bus (r615)"),
    fault(Driver, "system-reboot-needed", As("gpu_reset_needed", 3), "the driver wants a reboot (r615)"),
    fault(Driver, "imex-domain", As("driver_wants", 3), "the driver wants its IMEX domain recovered: the GPU is well"),
    fault(Driver, "unknown-action", As("driver_wants", 3), "the driver wants something that is not known here"),
];

impl KnownFault {
    /// The one of that name.
    pub fn named(name: &str) -> Option<KnownFault> {
        KNOWN_FAULTS.iter().find(|known| known.name == name).copied()
    }

    /// Time after it within which it is seen; `None`: it is not.
    pub fn seen_within(&self) -> Option<Duration> {
        match self.seen {
            As(_, seconds) | Mends(_, seconds) => Some(Duration::from_secs(seconds)),
            Nothing => None,
        }
    }

    /// Whether it ends another fault.
    pub fn mends(&self) -> bool {
        matches!(self.seen, Mends(..))
    }

    /// The fault and its victim; `engine`: which, where it is an engine's.
    pub fn into_whom(&self, engine: Option<&str>) -> String {
        let victim = match (self.victim, engine) {
            (Engine, Some(engine)) => engine,
            (Engine, None) => "the first engine that runs",
            (Server, _) => "the MPS server",
            (Daemon, _) => "the control daemon",
            (Gpu, _) => "the GPU",
            (Driver, _) => "the driver",
            (Stranger, _) => return format!("{} beside the group", self.name),
        };
        if self.mends() { self.name.to_owned() } else { format!("{} into {victim}", self.name) }
    }
}

/// A line for each fault, for the help.
pub(super) fn help() -> String {
    let mut text = "Faults, the word of the story that shows each, within how long, and what it is:\n".to_owned();
    for known in &KNOWN_FAULTS {
        let seen = match known.seen {
            As(word, seconds) | Mends(word, seconds) => format!("{word} {seconds} s"),
            Nothing => "-".to_owned(),
        };
        // A String takes whatever is written.
        let _ = writeln!(text, "  {:<20}  {seen:<24}  {}", known.name, known.does);
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn the_help_has_a_line_for_each_fault_that_fits_a_terminal() {
        let help = help();
        assert_eq!(help.lines().count(), KNOWN_FAULTS.len() + 1);
        let long: Vec<&str> = help.lines().filter(|line| line.chars().count() > 110).collect();
        assert!(long.is_empty(), "{long:#?}");
    }

    #[test]
    fn an_injection_names_its_victim() {
        let said = |name: &str, engine| KnownFault::named(name).unwrap().into_whom(engine);
        assert_eq!(said("illegal-address", Some("qwen-a")), "illegal-address into qwen-a");
        assert_eq!(said("trap", None), "trap into the first engine that runs");
        assert_eq!(said("server-kill", None), "server-kill into the MPS server");
        assert_eq!(said("foreign-process", None), "foreign-process beside the group");
        assert_eq!(said("gpu-repaired", None), "gpu-repaired");
    }

    #[test]
    fn what_a_minute_has_room_for_is_seen_within_it() {
        for name in ["hang", "leak", "starve"] {
            assert!(KnownFault::named(name).unwrap().seen_within() < Some(Duration::from_secs(45)), "{name}");
        }
    }
}
