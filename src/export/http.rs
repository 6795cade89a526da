//! The HTTP server, on a thread and a runtime of its own: a flood of scrapes never delays the core.
//! It bounds connections, waits and sizes; what is answered is `site`'s.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener as Listener};
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{sleep, timeout};

use super::Exporter;
use super::port_holder::holder;
use super::site::Site;
use crate::model::Moment;

/// Further ones wait in the kernel's backlog until one of these ends.
const MAX_CONNECTIONS: usize = 256;
/// For a request's head, and for an idle connection's next one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// For a client that takes nothing of its answer (TCP_USER_TIMEOUT, milliseconds).
const WRITE_TIMEOUT_MS: u32 = 10_000;
/// The longest life of a connection, so that a trickle of bytes does not keep one for ever.
const CONNECTION_LIFE: Duration = Duration::from_secs(600);
/// Between two tries when accepting fails, as it does when descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A running server. It stops taking connections when dropped, and waits for nothing.
#[derive(Debug)]
pub struct Server {
    /// Where it listens, in the order asked for; port 0 is a chosen one here.
    pub local_addresses: Vec<SocketAddr>,
    _stop: oneshot::Sender<Infallible>,
}

/// Binds every address, then answers on a thread of its own.
///
/// `liveness` says whether the core loop turned within the last 10 s; `clock` is CLOCK_BOOTTIME. Errors
/// name the address and the cure.
pub fn serve(
    addresses: &[SocketAddr],
    telemetry_path: &str,
    exporter: Arc<Exporter>,
    liveness: Arc<dyn Fn() -> bool + Send + Sync>,
    clock: Arc<dyn Fn() -> Moment + Send + Sync>,
) -> io::Result<Server> {
    // Before there is a runtime: one that is dropped on the caller's runtime, on an error, would panic.
    let listeners = addresses.iter().map(|address| bind(*address)).collect::<io::Result<Vec<_>>>()?;
    let local_addresses = listeners.iter().map(Listener::local_addr).collect::<io::Result<_>>()?;
    let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
    let site = Arc::new(Site::new(telemetry_path, exporter, liveness, clock));
    let (stop, stopped) = oneshot::channel();
    std::thread::Builder::new().name("http".to_owned()).spawn(move || run(&runtime, listeners, &site, stopped))?;
    Ok(Server { local_addresses, _stop: stop })
}

fn run(runtime: &Runtime, listeners: Vec<Listener>, site: &Arc<Site>, stopped: oneshot::Receiver<Infallible>) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    for listener in listeners {
        runtime.spawn(accept(listener, Arc::clone(site), Arc::clone(&room)));
    }
    // Nothing is ever sent: the sender's drop is the word to stop.
    let _ = runtime.block_on(stopped);
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

async fn accept(listener: Listener, site: Arc<Site>, room: Arc<Semaphore>) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!("HTTP is not served: {error}"),
    };
    // The semaphore is never closed, so the loop ends only with the runtime.
    while let Ok(place) = Arc::clone(&room).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let site = Arc::clone(&site);
                tokio::spawn(async move {
                    converse(stream, &site).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!("a connection can't be accepted: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Answers one connection's requests until it ends, by itself or by its bound.
async fn converse(stream: TcpStream, site: &Site) {
    let service = service_fn(async |request: Request<Incoming>| {
        Ok::<_, Infallible>(site.answer(request.method(), request.uri()))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        // Clients that go away or send garbage are their own affair.
        _ = connection.as_mut() => return,
        () = sleep(CONNECTION_LIFE) => connection.as_mut().graceful_shutdown(),
    }
    // Past this the connection is dropped, whatever is left of its answer.
    let _ = timeout(HEAD_TIMEOUT, connection).await;
}
