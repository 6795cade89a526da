//! `terminate_client`: takes clients off the server so that their end harms no sibling. One at a time, each bounded: it
//! can hang indefinitely, and several at once harm siblings (measured). A client that a signal stopped is continued
//! first: it must take part, and until it does all its siblings stand still (docs/h200.md).

use std::time::Duration;

use nix::sys::signal::Signal;

use super::external;
use super::shared::{Shared, failed};
use crate::host::control::CommandOutcome;
use crate::model::{Member, Outcome};

/// Upper bound for `terminate_client`: it answers within 10 ms or so, or never.
const LIMIT: Duration = Duration::from_secs(2);

pub(super) async fn terminate(shared: &Shared, engine: &Member, server: u32, clients: &[u32]) -> Outcome {
    let mut trouble = Vec::new();
    wake(shared, engine);
    for client in clients {
        let outcome = shared.command(&engine.domain, &format!("terminate_client {server} {client}"), LIMIT).await;
        if let Some(why) = trouble_of(&outcome) {
            trouble.push(format!("client {client}: {why}"));
        }
    }
    if trouble.is_empty() { Outcome::Done } else { failed(format!("terminate_client: {}", trouble.join("; "))) }
}

/// Sends SIGCONT, which has no effect on a running process. Those of others are left as they are.
fn wake(shared: &Shared, engine: &Member) {
    if external::of(shared, engine).is_some() {
        return;
    }
    for process in shared.trees.known(&engine.domain, std::slice::from_ref(&engine.engine)) {
        // One that is gone needs no waking.
        let _ = process.signal(Signal::SIGCONT);
    }
}

/// `0` is done, and so is a client that the server no longer has.
fn trouble_of(outcome: &CommandOutcome) -> Option<String> {
    match outcome {
        CommandOutcome::Answered(text) if text.trim() == "0" || text.contains("not found") => None,
        CommandOutcome::Answered(text) => Some(format!("answered `{}`", text.trim())),
        CommandOutcome::Refused => Some("the control daemon serves others".into()),
        CommandOutcome::Unreachable(why) | CommandOutcome::NotAsked(why) => Some(why.clone()),
        CommandOutcome::Timeout => Some(format!("no answer within {} s", LIMIT.as_secs())),
    }
}
