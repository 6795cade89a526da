//! What was: since when things are as a status says, the states of the last hour, and a few figures of it. Bounded, in
//! memory, made of statuses alone; what looks at it gets a copy.

mod course;
mod lane;
mod past;
mod since;

pub use course::Course;
pub use lane::{HOUR, Lane};
pub use past::{EngineHistory, History};
pub use since::{Since, Subject};
