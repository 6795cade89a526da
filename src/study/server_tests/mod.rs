//! Engines whose behaviour is known, and whole studies of them in virtual time.

mod server;
mod studies;
mod world;
