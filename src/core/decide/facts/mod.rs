//! What is known, each thing by itself: nothing here knows of an engine or a domain, or of what follows.

pub(crate) mod active_time;
pub(crate) mod control;
pub(crate) mod gpu;
pub(crate) mod gpu_health;
pub(crate) mod growth;
pub(crate) mod guard;
pub(crate) mod kept_out;
pub(crate) mod memory_trend;
pub(crate) mod passage;
pub(crate) mod progress;
pub(crate) mod reading;
pub(crate) mod server;
pub(crate) mod server_start;
pub(crate) mod taken;
pub(crate) mod usage;
pub(crate) mod xid;

pub(crate) use control::ControlFacts;
pub(crate) use gpu::GpuFacts;
pub(crate) use server::{SERVER_FRESH, ServerFacts, ServerNews, trusted};
