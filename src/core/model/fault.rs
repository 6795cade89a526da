//! Faults and what is done about them, in the words of the metrics.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::words::words;

words!(
    /// What can be wrong. `mps_faults_total{fault}` has one series for each.
    Fault {
        /// This server's fatal line, or its FAULT state.
        GpuFault = "gpu_fault",
        /// The GPU is off the bus.
        GpuLost = "gpu_lost",
        /// The driver asks for a reset or a reboot.
        GpuResetNeeded = "gpu_reset_needed",
        /// The MPS server process ended.
        ServerDied = "server_died",
        /// The control daemon process ended.
        ControlDied = "control_died",
        /// The control daemon lives and does not answer.
        ControlWedged = "control_wedged",
        /// The MPS server ends before it is ever ready.
        ServerCannotStart = "server_cannot_start",
        /// FAULT for longer than the driver needs, with no client left.
        ServerStuck = "server_stuck",
        /// The server says ACTIVE and lets no client in.
        NewcomersHang = "newcomers_hang",
        /// An engine's main process ended, or it did not get ready in its time.
        EngineDied = "engine_died",
        /// An engine failed more often than its budget allows.
        CrashLoop = "crash_loop",
        /// An engine ran out of device memory.
        DeviceOom = "device_oom",
        /// The kernel's OOM killer took an engine.
        HostOom = "host_oom",
        /// Memory grows and load does not.
        MemoryLeak = "memory_leak",
        /// A limit is missing from an engine's environment.
        LimitMissing = "limit_missing",
        /// An engine holds more than its limit.
        LimitExceeded = "limit_exceeded",
        /// Requests running and no token.
        Hang = "hang",
        /// An engine waits while its siblings take the GPU.
        Starved = "starved",
        /// An engine runs outside its group's server.
        OutsideMps = "outside_mps",
        /// A process that no group owns computes on the GPU.
        ForeignProcess = "foreign_process",
        /// The MPS server ended an engine's client, without an order of the watchdog.
        Evicted = "evicted",
        /// A client of the server that no engine owns.
        UnknownClient = "unknown_client",
        /// A client waits because its user is not the server's.
        UidMismatch = "uid_mismatch",
        /// More clients than the server takes.
        ClientLimit = "client_limit",
    }
);

words!(
    /// The rungs of the recovery ladder, least first.
    Tier {
        /// One engine.
        Engine = "engine",
        /// All clients of the server.
        Clients = "clients",
        /// All clients, the server and the control daemon.
        Daemon = "daemon",
    }
);

/// Why something is restarted: a fault, spelled as it is, or an operator's word, spelled `operator`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Reason {
    /// The fault that is the reason.
    Fault(Fault),
    /// An operator ordered it, or changed the configuration.
    Operator,
}

impl Reason {
    /// The one spelling of this reason.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::Fault(fault) => fault.as_str(),
            Reason::Operator => "operator",
        }
    }
}

impl From<Fault> for Reason {
    fn from(fault: Fault) -> Self {
        Reason::Fault(fault)
    }
}

impl From<Reason> for String {
    fn from(reason: Reason) -> Self {
        reason.as_str().to_owned()
    }
}

impl TryFrom<String> for Reason {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let fault = Fault::ALL.iter().find(|fault| fault.as_str() == text).copied().map(Reason::Fault);
        let operator = (text == Reason::Operator.as_str()).then_some(Reason::Operator);
        fault.or(operator).ok_or_else(|| format!("`{text}` is no reason for a restart: a fault, or `operator`"))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

words!(
    /// The steps of a recovery, in order.
    RecoveryStep {
        /// Time from the evidence to the order.
        Decide = "decide",
        /// Signals sent to every process.
        Kill = "kill",
        /// Every process proven gone.
        Gone = "gone",
        /// The GPU well again, where a restart waits for that.
        Gpu = "gpu",
        /// Device memory back.
        Memory = "memory",
        /// Waiting before the server and the engines start.
        Backoff = "backoff",
        /// Server ACTIVE (with the daemon's restart, where the tier has one).
        Active = "active",
        /// Engines started.
        Start = "start",
        /// Engines serving.
        Ready = "ready",
    }
);

words!(
    /// How a recovery ended.
    RecoveryResult {
        /// Every engine that is not quarantined serves.
        Serving = "serving",
        /// Some serve.
        Partly = "partly",
        /// Nothing more can be done without new facts or a person.
        Held = "held",
        /// Another recovery took its place.
        Superseded = "superseded",
    }
);

words!(
    /// Why a group is held.
    HeldReason {
        /// The restart budget is spent and `when_spent = "hold"`.
        BudgetSpent = "budget_spent",
        /// A process does not die.
        ProcessStuck = "process_stuck",
        /// The old generation's device memory did not come back.
        MemoryNotBack = "memory_not_back",
        /// Nobody can say whether it came back.
        MemoryUnknown = "memory_unknown",
        /// The GPU needs a reset or a reboot.
        GpuResetNeeded = "gpu_reset_needed",
        /// The GPU is off the bus.
        GpuLost = "gpu_lost",
        /// The MPS server ends before it is ever ready, again and again.
        ServerCannotStart = "server_cannot_start",
        /// NVML does not list the GPU, or can't read it.
        GpuUnreadable = "gpu_unreadable",
        /// The MPS binary is not there, or can't be run.
        MpsBinaryMissing = "mps_binary_missing",
        /// Another control daemon uses the group's pipe directory.
        PipeDirectoryOccupied = "pipe_directory_occupied",
        /// The control daemon that others run is not there, or does not answer.
        ControlAbsent = "control_absent",
        /// The control daemon that others run must be restarted, which is theirs to do.
        ControlNotOurs = "control_not_ours",
        /// Engines that others run must be restarted, which is theirs to do.
        EnginesNotOurs = "engines_not_ours",
        /// Another mpswarden looks after the control daemon that others run.
        WatchedByAnother = "watched_by_another",
        /// mpswarden itself has no process, descriptor or memory left for the next step.
        OutOfResources = "out_of_resources",
        /// An operator said so.
        Operator = "operator",
    }
);

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_read_as_it_is_spelled_and_nothing_else_is() {
        let faults = Fault::ALL.iter().copied().map(Reason::Fault);
        for reason in faults.chain([Reason::Operator]) {
            let text = serde_json::to_string(&reason).unwrap();
            assert_eq!(text, format!("\"{reason}\""));
            assert_eq!(serde_json::from_str::<Reason>(&text).unwrap(), reason);
        }
        assert!(serde_json::from_str::<Reason>("\"whim\"").is_err());
    }
}
