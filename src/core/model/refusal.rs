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
        /// The GPU is lost, or is to be reset.
        GpuSick = "gpu_sick",
        /// NVML does not list the GPU, or can't read it.
        GpuUnreadable = "gpu_unreadable",
        /// The GPU takes one server only.
        OneServer = "one_server",
        /// The budget of restarts is spent, and the policy holds the group then.
        BudgetSpent = "budget_spent",
        /// A daemon that does not answer has time to come back, while its engines serve.
        InGrace = "in_grace",
        /// Evidence of who did it is still to come.
        EvidenceOutstanding = "evidence_outstanding",
        /// Clients of the server lost no context: they serve on.
        ContextsLive = "contexts_live",
        /// The control daemon is not there, or does not answer.
        ControlSilent = "control_silent",
        /// The server is not known to be ACTIVE, or a fault hit it.
        ServerNotActive = "server_not_active",
        /// Another of its kind is on its way, and they go one after the other.
        OneAtATime = "one_at_a_time",
        /// A restart was tried for it, and did not mend it.
        TriedInVain = "tried_in_vain",
        /// The control daemon or the engine is others', who let the watchdog only look.
        NotOurs = "not_ours",
        /// An operator let the group go on over it.
        Excused = "excused",
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
        /// Run the suspects of repeated faults isolated from their siblings.
        IsolateEngines = "isolate_engines",
    }
);
