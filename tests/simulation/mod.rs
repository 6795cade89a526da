//! The simulated GPU, its library, daemon, server and engines, as real processes.

mod dialects;
mod lines;
mod play;
mod recorded;
mod sharing;
mod stage;
mod two_gpus;
