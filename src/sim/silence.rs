//! Engines to which no client sends a request for a while: the stage says so, and its traffic heeds it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Times until which engines get no request; shared by all who have a copy.
#[derive(Clone, Debug, Default)]
pub(crate) struct Silence(Arc<Mutex<BTreeMap<SocketAddr, Instant>>>);

impl Silence {
    /// Lets no client send the engine anything for so long, and clients that wait for an answer go away.
    pub(crate) fn begin(&self, engine: SocketAddr, length: Duration) {
        self.lock().insert(engine, Instant::now() + length);
    }

    /// Whether the engine gets no request now.
    pub(crate) fn is_around(&self, engine: SocketAddr) -> bool {
        self.lock().get(&engine).is_some_and(|until| Instant::now() < *until)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
