//! What is not done, and why not.

use super::words::words;

words!(
    /// Why something is not done now. Only some of them are ever shown: those of an action that is suppressed.
    Refusal {
        /// The policy only observes this fault, or this group.
        Observe = "observe",
        /// An operator holds the group.
        Hold = "hold",
        /// The policy leaves this action out, whatever the fault.
        Policy = "policy",
        /// The search for a culprit is switched off.
        Off = "off",
    }
);

words!(
    /// What would have been done, where it is only reported. `mps_actions_suppressed_total{action}` has one series
    /// for each.
    SuppressedAction {
        /// End all clients of the server and start the engines again.
        RestartClients = "restart_clients",
        /// The same, with a new control daemon.
        RestartDaemon = "restart_daemon",
        /// Take one engine out and start it again.
        RestartEngine = "restart_engine",
        /// End the group, and start nothing before its GPU is well.
        StopGroup = "stop_group",
        /// End a client of the server that no engine owns.
        KillUnknownClient = "kill_unknown_client",
        /// Run the suspects of repeated faults apart from the others.
        IsolateEngines = "isolate_engines",
    }
);
