//! What is known, each thing by itself: nothing here knows of an engine or a domain, or of what follows.

pub(crate) mod active_time;
pub(crate) mod attached;
pub(crate) mod bytes;
pub(crate) mod cadence;
pub(crate) mod control;
pub(crate) mod died;
pub(crate) mod engine;
pub(crate) mod evicted;
pub(crate) mod figures;
pub(crate) mod foreign;
pub(crate) mod gpu;
pub(crate) mod gpu_health;
pub(crate) mod gpu_process;
pub(crate) mod growth;
pub(crate) mod guard;
pub(crate) mod idle;
pub(crate) mod kept_out;
pub(crate) mod limits;
pub(crate) mod memory_trend;
pub(crate) mod nameless;
pub(crate) mod newcomers;
pub(crate) mod passage;
pub(crate) mod progress;
pub(crate) mod reading;
pub(crate) mod server;
pub(crate) mod server_start;
pub(crate) mod shortage;
pub(crate) mod stall;
pub(crate) mod strangers;
pub(crate) mod taken;
pub(crate) mod usage;
pub(crate) mod words;
pub(crate) mod xid;

pub(crate) use control::ControlFacts;
pub(crate) use gpu::GpuFacts;
pub(crate) use server::{AFTERSHOCK, SERVER_FRESH, ServerFacts, ServerNews, trusted};
