//! States of groups, engines and sources, in the words of the metrics.

use super::words::words;

words!(
    /// What the watchdog may do to a group.
    Mode {
        /// The watchdog may do everything.
        Enforce = "enforce",
        /// First starts and ordered stops; otherwise it says what it would do.
        Observe = "observe",
    }
);

words!(
    /// A group's state.
    GroupState {
        /// Not started, or stopped in order.
        Stopped = "stopped",
        /// The first start.
        Starting = "starting",
        /// Every engine that is not quarantined serves.
        Serving = "serving",
        /// Some engines serve.
        Degraded = "degraded",
        /// A whole-group restart is on its way.
        Recovering = "recovering",
        /// It waits for new facts or a person.
        Held = "held",
        /// The watchdog is blind.
        Unknown = "unknown",
    }
);

words!(
    /// An engine's state.
    EngineState {
        /// No process.
        Stopped = "stopped",
        /// A process, not yet serving.
        Starting = "starting",
        /// Healthy and attached.
        Serving = "serving",
        /// A process that served and no longer does, or the wait before it is started again.
        Failing = "failing",
        /// Being ended.
        Stopping = "stopping",
        /// Failed too often; not started any more.
        Quarantined = "quarantined",
        /// The watchdog is blind.
        Unknown = "unknown",
    }
);

words!(
    /// What the search for the cause of repeated faults makes of an engine.
    EngineIsolation {
        /// It is under no suspicion.
        None = "none",
        /// It may be the culprit, and runs with its siblings.
        Suspect = "suspect",
        /// It may be the culprit, and is set apart: in a second group on the same GPU, or stopped.
        Apart = "apart",
        /// It is the culprit: it alone ran where the fault came again.
        Guilty = "guilty",
    }
);

words!(
    /// How the search for the cause of repeated faults ended.
    IsolationResult {
        /// One engine was proven to be the culprit.
        Proven = "proven",
        /// No fault came any more.
        Expired = "expired",
        /// A fault came where no suspect ran: two culprits, or the hardware. The search begins anew.
        Contradiction = "contradiction",
        /// The configuration ended it.
        Ended = "ended",
    }
);

words!(
    /// Why an engine's process ended.
    ExitCause {
        /// Status 0.
        Clean = "clean",
        /// Another status.
        Error = "error",
        /// A signal that the watchdog did not send.
        Signal = "signal",
        /// The device memory ran out.
        DeviceOom = "device_oom",
        /// The kernel's OOM killer.
        HostOom = "host_oom",
        /// Taken out alone by the watchdog.
        Evicted = "evicted",
        /// Taken away by those who run it, or left in order.
        Removed = "removed",
        /// Ended with its whole group by the watchdog.
        GroupRestart = "group_restart",
    }
);
