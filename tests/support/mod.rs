//! What several of the tests are built with.

pub mod browser;
pub mod http;
pub mod label_words;
pub mod metrics;
pub mod needs;
pub mod others;
pub mod owner;
pub mod plights;
pub mod processes;
pub mod running;
pub mod scene;
pub mod schema;
pub mod statuses;
pub mod watchdog;
