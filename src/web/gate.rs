//! `Gate`: the policy that holds now. It reads its file again when that changed, and keeps the old
//! policy where the new one is broken.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::header::HeaderValue;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::passwords::{Admission, Desk};
use super::policy::{Loaded, Policy};
use super::problem::Problem;
use super::stamp::Stamp;

/// Shortest time between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Upper bound for a look that a request waits for; then the policy counts that there is: a file system may hang.
const LOOK_PATIENCE: Duration = Duration::from_millis(500);

/// Lets connections and requests in.
pub struct Gate {
    path: Option<PathBuf>,
    desk: Desk,
    state: Mutex<State>,
}

struct State {
    policy: Arc<Policy>,
    stamps: Vec<Stamp>,
    looked: Instant,
    looking: bool,
}

impl Gate {
    /// Open to everyone without a file, else as the file says. A file that is wrong is refused with its line.
    pub fn new(path: Option<&Path>) -> Result<Gate, Problem> {
        let (stamps, policy) = match path {
            Some(path) => {
                let Loaded { stamps, policy } = Loaded::from(path);
                (stamps, policy?)
            }
            None => (Vec::new(), Policy::default()),
        };
        let no_randomness =
            || Problem { place: "getrandom".to_owned(), what: "the system gives no randomness".to_owned() };
        let desk = Desk::new().ok_or_else(no_randomness)?;
        let state = State { policy: Arc::new(policy), stamps, looked: Instant::now(), looking: false };
        Ok(Gate { path: path.map(Path::to_owned), desk, state: Mutex::new(state) })
    }

    /// How its URLs begin: `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.state().policy.tls.is_some() { "https" } else { "http" }
    }

    /// The policy for a connection or a request, after a look at the files where one is due.
    pub async fn policy(self: &Arc<Self>) -> Arc<Policy> {
        if let Some(path) = &self.path
            && self.takes_the_look()
        {
            let (gate, path) = (Arc::clone(self), path.clone());
            // Late is as good as never: the next request sees what the look brought.
            let _ = timeout(LOOK_PATIENCE, spawn_blocking(move || gate.look(&path))).await;
        }
        Arc::clone(&self.state().policy)
    }

    /// Whether a request with this `Authorization` may be answered.
    pub async fn admit(&self, policy: &Policy, authorization: Option<&HeaderValue>) -> Admission {
        self.desk.admit(&policy.users, authorization).await
    }

    fn takes_the_look(&self) -> bool {
        let mut state = self.state();
        let takes = !state.looking && state.looked.elapsed() >= LOOK_EVERY;
        state.looking |= takes;
        takes
    }

    fn look(&self, path: &Path) {
        let before = self.state().stamps.clone();
        let now: Vec<Stamp> = before.iter().map(Stamp::again).collect();
        let loaded = (now != before).then(|| Loaded::from(path));
        let mut state = self.state();
        if let Some(loaded) = loaded {
            state.take_up(loaded, now, path);
        }
        state.looked = Instant::now();
        state.looking = false;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes up what was read, or says once why not: it is read again only when a file changes again.
    fn take_up(&mut self, loaded: Loaded, watched: Vec<Stamp>, path: &Path) {
        let place = path.display();
        // A file that can't be read names no others: those of before, as they are now, are still watched.
        let names_files = loaded.policy.is_ok() || loaded.stamps.len() > 1;
        self.stamps = if names_files { loaded.stamps } else { watched };
        match loaded.policy.map(|policy| (self.policy.locks.given_up_by(policy.locks), policy)) {
            Ok((None, policy)) => {
                self.policy = Arc::new(policy);
                tracing::info!("{place} is applied");
            }
            // A file that is cut short while it is written must not open the door.
            Ok((Some(lock), _)) => {
                tracing::error!("{place} would give up {lock}: not applied; restart mpswarden if that is meant");
            }
            Err(problem) => tracing::error!("{place} is not applied, the old one holds: {problem}"),
        }
    }
}
