//! The shared words, plain data. Nothing here reads a clock, touches the system or decides.

pub mod action;
pub mod event;
pub mod fault;
pub mod gpu;
pub mod ids;
pub mod known;
pub mod launch;
pub mod moment;
pub mod mps;
pub mod observation;
pub mod outcome;
pub mod process;
pub mod report;
pub mod state;
pub mod status;
mod words;

pub use action::{Action, Look, Ordered};
pub use event::{Event, What};
pub use fault::{Fault, HeldReason, RecoveryResult, RecoveryStep, Tier};
pub use gpu::{GpuIdentity, GpuProcess, GpuReading};
pub use ids::{ActionId, EngineKey, EngineName, GpuUuid, GroupName};
pub use known::Known;
pub use launch::{ControlLaunch, EngineLaunch, GroupLaunch};
pub use moment::Moment;
pub use mps::{CommandResult, ServerLine, ServerState};
pub use observation::{Health, Observation, XidVia};
pub use outcome::{Outcome, Remaining};
pub use process::{Exit, Owner, ProcessId};
pub use report::Report;
pub use state::{EngineState, ExitCause, GroupState, Mode, Source};
pub use status::{EngineStatus, GpuStatus, GroupStatus, SourceStatus, Status};
