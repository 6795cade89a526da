//! Wiring: builds everything, spawns everything, runs the core loop, drains. It decides nothing.

mod build;
mod control;
mod core_loop;
mod demo;
mod descriptors;
mod doors;
mod followers;
mod hands;
mod hooks;
mod incident_keeper;
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
mod study_demo;
mod study_order;
mod trust;

pub use demo::demo;
pub use run::run;
pub use study::study;
pub use study_demo::study_demo;
