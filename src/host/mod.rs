//! One file for each outside system. Parsing is pure, I/O thin; roots and paths are injected.

pub mod archive;
mod birth;
pub mod cgroup;
pub mod child;
pub mod clock;
pub mod control;
pub mod cuda;
pub mod engine_metrics;
pub mod environ;
pub mod evidence;
pub mod follow;
mod gpm;
pub mod http;
pub mod incident_store;
pub mod kmsg;
pub mod leftovers;
pub mod mps_log;
pub mod notify;
pub mod nvml;
mod nvml_session;
pub mod pidfd;
pub mod probe_place;
pub mod probe_socket;
pub mod procfs;
pub mod reaper;
pub mod state_file;
pub mod trees;
