//! The HTTP server, on a thread and a runtime of its own: a flood of scrapes never delays the core.
//! It bounds connections, waits and sizes; what is answered is `site`'s.

use std::convert::Infallible;
use std::io;
use std::mem::ManuallyDrop;
use std::net::{SocketAddr, TcpListener as Listener};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::connection::{Front, converse};
use super::listeners::{self, Listeners};
use super::pace::Room;
use super::site::Site;
use super::web::Gate;
use crate::export::Exporter;
use crate::model::Moment;

/// A further one takes the place of the one that has been idle longest.
pub const MAX_CONNECTIONS: usize = 256;
/// Between two tries when accepting fails, as it does when descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Threads for what may take long: one renders, one checks a password, one looks at files.
const WORKERS: usize = 4;

/// A running server. It stops taking connections when dropped, and waits for nothing.
#[derive(Debug)]
pub struct Server {
    /// Where it listens, in the order asked for; port 0 is a chosen one here.
    pub local_addresses: Vec<SocketAddr>,
    _stop: oneshot::Sender<Infallible>,
}

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
    /// CLOCK_BOOTTIME.
    pub clock: Arc<dyn Fn() -> Moment + Send + Sync>,
    /// Connections at once.
    pub connections: usize,
    /// Called on the server's thread with each address that was waited for, once it is served.
    pub had: Arc<dyn Fn(SocketAddr) + Send + Sync>,
}

/// Binds every address, then answers whoever `gate` lets in, on a thread of its own.
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
    let listeners = listeners::all(addresses)?;
    let (telemetry_path, connections, had) = (telemetry_path.to_owned(), MAX_CONNECTIONS, Arc::new(|_| ()));
    serve_on(listeners, Service { gate, telemetry_path, exporter, liveness, clock, connections, had })
}

/// Answers on a thread of its own, on each address from when it can be had.
pub fn serve_on(listeners: Listeners, service: Service) -> io::Result<Server> {
    let local_addresses = listeners.bound.iter().map(Listener::local_addr).collect::<io::Result<_>>()?;
    // Where no thread can be had it is leaked: dropped on another runtime's thread it would panic.
    let runtime = ManuallyDrop::new(
        Builder::new_current_thread().enable_io().enable_time().max_blocking_threads(WORKERS).build()?,
    );
    let Service { gate, telemetry_path, exporter, liveness, clock, connections, had } = service;
    let site = Arc::new(Site::new(&telemetry_path, exporter, liveness, clock));
    let door = Door { front: Arc::new(Front { site, gate: Arc::new(gate) }), room: Arc::new(Room::new(connections)) };
    let (stop, stopped) = oneshot::channel();
    let run = move || run(ManuallyDrop::into_inner(runtime), listeners, &door, &had, stopped);
    std::thread::Builder::new().name("http".to_owned()).spawn(run)?;
    Ok(Server { local_addresses, _stop: stop })
}

/// What every address leads to.
#[derive(Clone)]
struct Door {
    front: Arc<Front>,
    room: Arc<Room>,
}

fn run(
    runtime: Runtime,
    listeners: Listeners,
    door: &Door,
    had: &Arc<dyn Fn(SocketAddr) + Send + Sync>,
    stopped: oneshot::Receiver<Infallible>,
) {
    for address in listeners.waiting().iter().map(|waiting| waiting.address) {
        let (door, had) = (door.clone(), Arc::clone(had));
        runtime.spawn(async move {
            let listener = listeners::wait_for(address).await;
            had(address);
            accept(listener, door).await;
        });
    }
    for listener in listeners.bound {
        runtime.spawn(accept(listener, door.clone()));
    }
    // Nothing is ever sent: the sender's drop is the word to stop.
    let _ = runtime.block_on(stopped);
    // A password that is being checked is not waited for.
    runtime.shutdown_background();
}

async fn accept(listener: Listener, Door { front, room }: Door) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!("HTTP is not served: {error}"),
    };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let Some(place) = room.enter().await else { return };
                let front = Arc::clone(&front);
                tokio::spawn(async move { converse(stream, &front, &place.pace).await });
            }
            Err(error) => {
                tracing::debug!("a connection can't be accepted: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
