//! mpswarden: the watchdog and Prometheus exporter for NVIDIA MPS groups.
//!
//! Data flows one way through the folders, in this order: `host` reads, `observe` makes observations, `decide` turns
//! them into actions, events and a status, `act` carries actions out, `export` and `control` show the rest. `model` is
//! their common language. `files` opens what others may have put there, `text` makes text fit for people, `web` is a
//! web server. `config`, `cli` (the command line), `sim`, `probe` (the library inside the engines) and `study` (the
//! experiment) stand beside; `runtime` wires it all.

pub mod act;
pub mod cli;
pub mod config;
pub mod control;
pub mod export;
pub mod files;
pub mod gate;
pub mod host;
pub mod observe;
pub mod probe;
pub mod runtime;
pub mod study;
pub mod text;
pub mod web;

pub use mpswarden_core::{decide, model};
#[cfg(feature = "demo")]
pub use mpswarden_sim as sim;
