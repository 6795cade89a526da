//! The HTTP server, on a thread and a runtime of its own: a flood of requests delays nothing else.
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

use super::connection::{Front, Site, converse};
use super::gate::Gate;
use super::listeners::{self, Listeners};
use super::pace::Room;

/// Most connections; a further one takes the place of the one that has been idle longest.
pub const MAX_CONNECTIONS: usize = 256;
/// Pause between two tries when accepting fails, as it does when descriptors run out.
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
pub struct Service<S> {
    /// Who is let in.
    pub gate: Gate,
    /// Site that answers.
    pub site: Arc<S>,
    /// Connections at once.
    pub connections: usize,
    /// Called on the server's thread with each address that was waited for, once it is served.
    pub had: Arc<dyn Fn(SocketAddr) + Send + Sync>,
}

/// Answers on a thread of its own, on each address from when it can be had. The error is the system's, which gives no
/// thread.
pub fn serve<S: Site>(listeners: Listeners, service: Service<S>) -> io::Result<Server> {
    let local_addresses = listeners.bound.iter().map(Listener::local_addr).collect::<io::Result<_>>()?;
    // Where no thread can be had it is leaked: dropped on another runtime's thread it would panic.
    let runtime = ManuallyDrop::new(
        Builder::new_current_thread().enable_io().enable_time().max_blocking_threads(WORKERS).build()?,
    );
    let Service { gate, site, connections, had } = service;
    let door = Door { front: Arc::new(Front { site, gate: Arc::new(gate) }), room: Arc::new(Room::new(connections)) };
    let (stop, stopped) = oneshot::channel();
    let run = move || run(ManuallyDrop::into_inner(runtime), listeners, &door, &had, stopped);
    std::thread::Builder::new().name("http".to_owned()).spawn(run)?;
    Ok(Server { local_addresses, _stop: stop })
}

/// What every address leads to.
struct Door<S> {
    front: Arc<Front<S>>,
    room: Arc<Room>,
}

impl<S> Clone for Door<S> {
    fn clone(&self) -> Self {
        Door { front: Arc::clone(&self.front), room: Arc::clone(&self.room) }
    }
}

fn run(
    runtime: Runtime,
    listeners: Listeners,
    door: &Door<impl Site>,
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

async fn accept(listener: Listener, Door { front, room }: Door<impl Site>) {
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
