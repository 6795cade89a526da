//! The control socket's place in the watchdog: where it is, and what the core loop makes of a question.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;

use crate::control::{self, Asked, Listening, SocketAtWork, Wanted};
use crate::decide::{Input, Watchdog};
use crate::export::Exporter;
use crate::model::{Moment, Plan, What};

use super::refusal::Refusal;
use super::reload::Reloader;
use super::setup::InForce;

/// Questions that may wait for the core loop; the socket takes no more connections than that.
const QUESTIONS: usize = 16;

/// Where the socket is wanted.
#[derive(Clone, Debug)]
pub(super) enum SocketWish {
    /// Here; without it the watchdog does not start.
    Asked(PathBuf),
    /// Here if it can be had; the groups are watched without it, too.
    Default(PathBuf),
}

impl SocketWish {
    /// What the command line says, else `default`.
    pub(super) fn of(asked: Option<PathBuf>, default: &Path) -> SocketWish {
        asked.map_or_else(|| SocketWish::Default(default.to_owned()), SocketWish::Asked)
    }

    /// Path of the socket.
    pub(super) fn path(&self) -> &Path {
        let (SocketWish::Asked(path) | SocketWish::Default(path)) = self;
        path
    }
}

/// Takes the socket's place, before anything is done that can't be undone. `None`: it can't be had, and need not.
pub(super) fn bind(wish: &SocketWish) -> Result<Option<Listening>, Refusal> {
    match (control::bind(wish.path()), wish) {
        (Ok(listening), _) => Ok(Some(listening)),
        (Err(error), SocketWish::Default(_)) => {
            tracing::warn!("no orders are taken: {error}");
            Ok(None)
        }
        (Err(error), SocketWish::Asked(_)) if error.is_denied() => Err(Refusal::denied(error)),
        (Err(error), SocketWish::Asked(_)) => Err(Refusal::unavailable(error)),
    }
}

/// Answers on the socket; what only the core loop can answer comes out of the receiver.
pub(super) fn serve(
    listening: Option<Listening>,
    exporter: Arc<Exporter>,
    in_force: Arc<InForce>,
) -> Result<(Option<SocketAtWork>, mpsc::Receiver<Asked>), Refusal> {
    let (sender, questions) = mpsc::channel(QUESTIONS);
    let Some(listening) = listening else { return Ok((None, questions)) };
    let path = listening.path().display().to_string();
    let socket = control::serve(listening, exporter, sender, Arc::new(move || in_force.setup()))
        .map_err(|error| Refusal::io("start a thread for the control socket", &error))?;
    tracing::info!("taking orders on {path}");
    Ok((Some(socket), questions))
}

/// An answer that is given once a status shows what was asked for.
pub(super) enum Owed {
    /// The answer to an order that is being carried out.
    Order {
        /// Channel for the answer.
        answer: oneshot::Sender<Result<Plan, String>>,
        /// The answer.
        plan: Plan,
    },
    /// The answer to a changed configuration that was applied.
    Applied {
        /// Channel for the answer.
        answer: oneshot::Sender<Result<(), String>>,
        /// Event that says so, where there is something to say.
        event: Option<What>,
    },
}

/// The input of the core for a question. An order that is to be carried out leaves its answer owed: it is paid once a
/// status shows what it changed, so that a client that waits for its goals looks at no older one.
pub(super) fn take_up(
    asked: Asked,
    watchdog: &Watchdog,
    reloader: Option<&Arc<Reloader>>,
    owed: &mut Option<Owed>,
    now: Moment,
) -> Input {
    let Asked { wanted, dry_run, answer } = asked;
    if answer.is_closed() {
        // Given up already, and answered so.
        return Input::Woke;
    }
    match wanted {
        Wanted::Reload => reload(reloader.cloned(), dry_run, answer),
        Wanted::Order(request) => match watchdog.plan(&request, now) {
            Ok(plan) if !dry_run => {
                *owed = Some(Owed::Order { answer, plan });
                return Input::Asked(request);
            }
            // Whoever went away needs no answer.
            planned => drop(answer.send(planned)),
        },
    }
    Input::Woke
}

/// Takes up a changed configuration, and answers with a sentence for each change once the core has it. The loop
/// goes on meanwhile.
fn reload(reloader: Option<Arc<Reloader>>, dry_run: bool, answer: oneshot::Sender<Result<Plan, String>>) {
    let Some(reloader) = reloader else {
        drop(answer.send(Err("there is no file to read again: the demo has made its own configuration".to_owned())));
        return;
    };
    spawn_local(async move {
        let changes = reloader.reload(dry_run).await;
        // Whoever went away needs no answer.
        drop(answer.send(changes.map(|changes| Plan { steps: changes.sentences, goals: Vec::new() })));
    });
}
