//! HTTP: connections and their bounds, TLS and passwords, what is answered at which path.

mod answer;
mod connection;
mod gzip;
mod pace;
mod port_holder;
mod server;
mod site;
pub mod web;

pub use server::{Server, serve};
