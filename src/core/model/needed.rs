//! What somebody must do because mpswarden can't, or may not.

use super::words::words;

words!(
    /// Who must do it.
    NeededBy {
        /// Somebody who may give mpswarden orders.
        Operator = "operator",
        /// Somebody who administers the node.
        Administrator = "administrator",
        /// Who runs the control daemon, or the engine: mpswarden only looks after it.
        Owner = "owner",
    }
);

words!(
    /// What somebody must do in a group before it can go on as it should.
    NeededAction {
        /// `mpswarden resume`: the group waits for an operator's word.
        Resume = "resume",
        /// `mpswarden release`: an engine was taken out for good, or kept from the others.
        Release = "release",
        /// `mpswarden restart`, or `evict` of one engine: contexts are dead, or an engine hangs or is down, and mpswarden does
        /// nothing about it, by its mode, a policy or a hold.
        Restart = "restart",
        /// Reset the GPU.
        ResetGpu = "reset_gpu",
        /// Reboot the node.
        RebootNode = "reboot_node",
        /// Get rid of a process that can't be killed: reset the GPU or reboot the node at a moment of one's choice.
        EndProcess = "end_process",
        /// End who holds the device memory.
        FreeMemory = "free_memory",
        /// Mend the driver or NVML: the GPU can't be read.
        MendDriver = "mend_driver",
        /// Remove what keeps MPS servers from starting.
        MendServer = "mend_server",
        /// Install the MPS binary, or name it in the configuration.
        InstallMps = "install_mps",
        /// End the other control daemon in the group's pipe directory, or configure another directory.
        FreePipeDirectory = "free_pipe_directory",
        /// Start the control daemon that others run.
        StartControl = "start_control",
        /// Restart the control daemon that others run, which ends all of its clients.
        RestartControl = "restart_control",
        /// Restart the engines that others run: their contexts are dead.
        RestartEngines = "restart_engines",
        /// Start an engine that others run: it is configured, and does not run.
        StartEngines = "start_engines",
        /// Stop one of two mpswardens that look after one control daemon.
        StopOtherWatchdog = "stop_other_watchdog",
        /// Give mpswarden more processes, descriptors or memory.
        RaiseLimits = "raise_limits",
    }
);

impl NeededAction {
    /// Who must do it.
    pub const fn by(self) -> NeededBy {
        match self {
            NeededAction::Resume | NeededAction::Release | NeededAction::Restart => NeededBy::Operator,
            NeededAction::StartControl
            | NeededAction::RestartControl
            | NeededAction::RestartEngines
            | NeededAction::StartEngines => NeededBy::Owner,
            NeededAction::StopOtherWatchdog
            | NeededAction::ResetGpu
            | NeededAction::RebootNode
            | NeededAction::EndProcess
            | NeededAction::FreeMemory
            | NeededAction::MendDriver
            | NeededAction::MendServer
            | NeededAction::InstallMps
            | NeededAction::FreePipeDirectory
            | NeededAction::RaiseLimits => NeededBy::Administrator,
        }
    }
}
