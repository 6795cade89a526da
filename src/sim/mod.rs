//! The simulated GPU, NVML library, MPS control daemon and engines behind `demo` and the tests.
//! All of them are real processes of the one binary, and behave as the recordings do.

mod agenda;
mod args;
mod chance;
mod client;
mod control;
mod crowd;
mod cuda;
mod engine;
mod gpu;
mod gpu_like;
mod inject;
mod injection;
mod layout;
mod roles;
mod silence;
mod stage;
mod story;
mod traffic;
mod visible;
mod wire;
mod worker;

pub use args::Args;
pub use chance::Chance;
pub use client::AS_USER;
pub use control::dialect::{Dialect, Role};
pub use control::server::CLIENTS_LIMIT;
pub use engine::dialect::Program;
pub use gpu_like::GpuLike;
pub use inject::Injection;
pub use layout::{Judgement, Layout, StageMode, StageOptions};
pub use roles::dispatch;
use roles::named;
pub use stage::{CUPTI, Stage};
pub use traffic::Traffic;
