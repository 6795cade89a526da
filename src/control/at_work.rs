//! A socket at work on a thread and a runtime of its own: a slow or mad caller never delays the core.

use std::convert::Infallible;
use std::io;
use std::mem::ManuallyDrop;
use std::os::unix::net::UnixListener as StdListener;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::task::LocalSet;
use tokio::time::sleep;

use super::listen::Listening;

/// Pause between two tries when accepting fails, as it does when descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A socket that accepts. Dropping it ends that and its conversations, and removes its file; it waits for nothing.
#[derive(Debug)]
pub struct SocketAtWork {
    _stop: oneshot::Sender<Infallible>,
    listening: Listening,
}

impl SocketAtWork {
    /// Whether its file is still there, and no other has taken its place.
    pub fn is_in_place(&self) -> bool {
        self.listening.is_in_place()
    }
}

/// Accepts on a thread of this name. `begin` makes there what takes each connection, one after the other; `what` names
/// the socket in the log.
pub fn accept_on_a_thread<T: AsyncFnMut(UnixStream)>(
    listening: Listening,
    thread: &str,
    what: String,
    begin: impl FnOnce() -> T + Send + 'static,
) -> io::Result<SocketAtWork> {
    let listener = listening.listener().try_clone()?;
    // Where no thread can be had it is leaked: dropped on another runtime's thread it would panic.
    let runtime = ManuallyDrop::new(Builder::new_current_thread().enable_io().enable_time().build()?);
    let (stop, stopped) = oneshot::channel();
    std::thread::Builder::new().name(thread.to_owned()).spawn(move || {
        let take = begin();
        LocalSet::new().block_on(&ManuallyDrop::into_inner(runtime), async {
            tokio::select! {
                // Nothing is ever sent: the sender's drop is the word to stop.
                _ = stopped => {}
                () = accept(listener, &what, take) => {}
            }
        });
    })?;
    Ok(SocketAtWork { _stop: stop, listening })
}

async fn accept(listener: StdListener, what: &str, mut take: impl AsyncFnMut(UnixStream)) {
    let listener = match UnixListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!("{what} does not answer: {error}"),
    };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => take(stream).await,
            Err(error) => {
                tracing::debug!("a connection to {what} can't be accepted: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
