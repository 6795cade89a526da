//! Wiring: builds everything, spawns everything, runs the core loop, drains. It decides nothing.

mod build;
mod bundle;
mod client;
mod control;
mod core_loop;
mod demo;
mod descriptors;
mod doors;
mod followers;
mod hands;
mod hooks;
mod incident_keeper;
mod incidents;
mod known_secrets;
mod news;
mod outputs;
mod prepare;
mod probes;
mod refusal;
mod reload;
mod run;
mod setup;
mod signals;
mod study;
mod study_files;
mod study_order;
mod trust;

pub use client::client;
pub use demo::demo;
pub use run::run;
pub use study::study;
