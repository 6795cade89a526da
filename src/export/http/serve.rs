//! Brings the site to the web server. It answers nothing itself.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::site::Site;
use crate::export::Exporter;
use crate::model::Moment;
use crate::web::{self, Gate, Listeners, MAX_CONNECTIONS, Server};

/// What is served, and to whom.
pub struct Service {
    /// Who is let in.
    pub gate: Gate,
    /// Where the metrics are.
    pub telemetry_path: String,
    /// What there is to tell.
    pub exporter: Arc<Exporter>,
    /// Whether the core loop turned within the last 10 s.
    pub liveness: Arc<dyn Fn() -> bool + Send + Sync>,
    /// Reads CLOCK_BOOTTIME.
    pub clock: Arc<dyn Fn() -> Moment + Send + Sync>,
    /// Connections at once.
    pub connections: usize,
    /// Called on the server's thread with each address that was waited for, once it is served.
    pub had: Arc<dyn Fn(SocketAddr) + Send + Sync>,
}

/// Binds every address, then answers the clients that `gate` lets in, on a thread of its own.
///
/// `liveness` says whether the core loop turned within the last 10 s; `clock` is CLOCK_BOOTTIME. Errors
/// name the address and the cure.
pub fn serve(
    gate: Gate,
    addresses: &[SocketAddr],
    telemetry_path: &str,
    exporter: Arc<Exporter>,
    liveness: Arc<dyn Fn() -> bool + Send + Sync>,
    clock: Arc<dyn Fn() -> Moment + Send + Sync>,
) -> io::Result<Server> {
    // Before there is a runtime: one that is dropped on the caller's runtime, on an error, would panic.
    let listeners = web::bind_all(addresses)?;
    let (telemetry_path, connections, had) = (telemetry_path.to_owned(), MAX_CONNECTIONS, Arc::new(|_| ()));
    serve_on(listeners, Service { gate, telemetry_path, exporter, liveness, clock, connections, had })
}

/// Answers on a thread of its own, on each address from when it can be had.
pub fn serve_on(listeners: Listeners, service: Service) -> io::Result<Server> {
    let Service { gate, telemetry_path, exporter, liveness, clock, connections, had } = service;
    let site = Arc::new(Site::new(&telemetry_path, exporter, liveness, clock));
    web::serve(listeners, web::Service { gate, site, connections, had })
}
