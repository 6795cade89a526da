//! One file for each outside system. Parsing is pure, I/O thin; roots and paths are injected.

pub mod clock;
pub mod cuda;
pub mod http;
pub mod kmsg;
pub mod mps_log;
pub mod notify;
pub mod nvml;
