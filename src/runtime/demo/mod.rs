//! `mpswarden demo`: the same watchdog over a simulated GPU, MPS daemon and engines, with traffic and faults. Only paths
//! and times differ from `run`.

mod audience;
mod play;
mod scenery;
mod schedule;

pub use play::demo;
