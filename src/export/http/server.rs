//! The HTTP server, on a thread and a runtime of its own: a flood of scrapes never delays the core.
//! It bounds connections, waits and sizes; what is answered is `site`'s.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener as Listener};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::connection::{Front, converse};
use super::pace::Room;
use super::port_holder::holder;
use super::site::Site;
use super::web::Gate;
use crate::export::Exporter;
use crate::model::Moment;

/// A further one takes the place of the one that has been idle longest.
const MAX_CONNECTIONS: usize = 256;
/// For a client that takes nothing of its answer (TCP_USER_TIMEOUT, milliseconds).
const WRITE_TIMEOUT_MS: u32 = 10_000;
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
    let listeners = addresses.iter().map(|address| bind(*address)).collect::<io::Result<Vec<_>>>()?;
    let local_addresses = listeners.iter().map(Listener::local_addr).collect::<io::Result<_>>()?;
    let runtime = Builder::new_current_thread().enable_io().enable_time().max_blocking_threads(WORKERS).build()?;
    let site = Arc::new(Site::new(telemetry_path, exporter, liveness, clock));
    let front = Arc::new(Front { site, gate: Arc::new(gate) });
    let (stop, stopped) = oneshot::channel();
    std::thread::Builder::new().name("http".to_owned()).spawn(move || run(runtime, listeners, &front, stopped))?;
    Ok(Server { local_addresses, _stop: stop })
}

fn run(runtime: Runtime, listeners: Vec<Listener>, front: &Arc<Front>, stopped: oneshot::Receiver<Infallible>) {
    let room = Arc::new(Room::new(MAX_CONNECTIONS));
    for listener in listeners {
        runtime.spawn(accept(listener, Arc::clone(front), Arc::clone(&room)));
    }
    // Nothing is ever sent: the sender's drop is the word to stop.
    let _ = runtime.block_on(stopped);
    // A password that is being checked is not waited for.
    runtime.shutdown_background();
}

fn bind(address: SocketAddr) -> io::Result<Listener> {
    let listener = Listener::bind(address).map_err(|error| explained(address, &error))?;
    // Accepted connections inherit it.
    setsockopt(&listener, sockopt::TcpUserTimeout, &WRITE_TIMEOUT_MS)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn explained(address: SocketAddr, error: &io::Error) -> io::Error {
    let cure = match error.kind() {
        io::ErrorKind::AddrInUse => {
            let who = holder(address).unwrap_or_else(|| "a process that can't be seen from here".to_owned());
            format!("it is in use by {who}: stop that, or choose another with --web.listen-address")
        }
        io::ErrorKind::PermissionDenied => "ports below 1024 need CAP_NET_BIND_SERVICE: choose a higher one".to_owned(),
        io::ErrorKind::AddrNotAvailable => "no interface here has that address: see `ip address`".to_owned(),
        _ => error.to_string(),
    };
    io::Error::new(error.kind(), format!("can't listen on {address}: {cure}"))
}

async fn accept(listener: Listener, front: Arc<Front>, room: Arc<Room>) {
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
