//! What is served over HTTP, and the thread that serves it.

mod serve;
mod site;

pub use serve::{Service, serve, serve_on};
