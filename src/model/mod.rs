//! The shared words, plain data. Nothing here reads a clock, touches the system or decides.

pub mod action;
pub mod engine_kind;
pub mod event;
pub mod fault;
pub mod gpu;
pub mod hook;
pub mod ids;
pub mod incident;
pub mod known;
pub mod launch;
pub mod load;
pub mod moment;
pub mod mps;
pub mod observation;
pub mod outcome;
pub mod overlap;
pub mod process;
pub mod report;
pub mod request;
pub mod saying;
pub mod setup;
pub mod state;
pub mod status;
pub mod suspicion;
pub mod traffic;
pub mod unknown;
mod words;

pub use action::{Action, Look, Ordered};
pub use engine_kind::EngineKind;
pub use event::{Event, What};
pub use fault::{Fault, HeldReason, Reason, RecoveryResult, RecoveryStep, Tier};
pub use gpu::{GpuActivity, GpuIdentity, GpuProcess, GpuReading};
pub use hook::{Hook, HookResult};
pub use ids::{ActionId, EngineKey, EngineName, GpuUuid, GroupName};
pub use incident::{Incident, IncidentLine, Written};
pub use known::Known;
pub use launch::{ControlLaunch, EngineLaunch, GpuNamedBy, GroupLaunch, MetricsPlace};
pub use load::{EngineLoad, ProcessUsage};
pub use moment::Moment;
pub use mps::{CommandResult, ServerLine, ServerState};
pub use observation::{Health, Observation, XidVia};
pub use outcome::{Outcome, Remaining};
pub use overlap::{Advice, AdviceReason, Baseline, BaselineSource, OverlapWindow, ProbeState, Taken};
pub use process::{CommandLine, Exit, MpsEnvironment, Owner, ProcessId};
pub use report::Report;
pub use request::{Goal, Plan, Request};
pub use saying::{Doubt, LinePlace, Saying};
pub use setup::Setup;
pub use state::{EngineIsolation, EngineState, ExitCause, GroupState, IsolationResult, Mode, Source};
pub use status::{
    EngineSharing, EngineStatus, GpuStatus, GroupStatus, Hold, IsolationStatus, OverlapStatus, SourceStatus, Status,
};
pub use suspicion::{EvidenceLine, EvidenceSource, Strength, Suspicion};
pub use traffic::Traffic;
pub use unknown::{Question, Unknown};
