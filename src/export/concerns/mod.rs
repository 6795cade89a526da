//! What is wrong, worst first: in words, since when, why, and what to do about it. The page and `mpswarden status` say the
//! first of it in the same two lines. Pure: made of one status and of since when it is so.

mod concern;
mod engines;
mod faults;
mod find;
mod gpus;
mod groups;
mod situation;
mod todo;

pub use concern::{Concern, Rank, Todo, Tone};
pub use find::concerns;
pub use situation::Situation;
pub use todo::RUNBOOKS;
