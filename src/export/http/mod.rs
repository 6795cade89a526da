//! HTTP: connections and their bounds, TLS and passwords, what is answered at which path.

mod answer;
mod connection;
mod gzip;
mod listeners;
mod pace;
mod port_holder;
mod server;
mod site;
pub mod web;

pub use listeners::{Listeners, Waiting};
pub use server::{MAX_CONNECTIONS, Server, Service, serve, serve_on};
