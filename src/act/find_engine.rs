//! Finds an engine that others run, and watches its main process. Nothing is started, signalled or recorded: it is not
//! the next run's to end either.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::shared::{Shared, failed};
use crate::host::clock;
use crate::host::owners::Owners;
use crate::host::pidfd::Pidfd;
use crate::model::{Bounds, Exit, Found, InstanceId, Observation, Outcome, Owner};

/// Upper bound for those who run an engine to reap it and to remove what held it together, after its main process ended.
const SETTLES: Duration = Duration::from_secs(2);
/// Pause between two looks for that.
const PAUSE: Duration = Duration::from_millis(20);
/// How a process ends that was asked to: HUP, INT, TERM.
const ASKED: [i32; 3] = [1, 2, 15];
/// How one ends that did not end in its time.
const KILLED: i32 = 9;
/// What a shell and container runtimes add to a signal's number.
const BY_SIGNAL: i32 = 128;

pub(super) fn find(shared: &Arc<Shared>, instance: &InstanceId) -> Outcome {
    let member = instance.member();
    let found = match shared.engine(&member) {
        Ok((_, engine)) => engine.found,
        Err(outcome) => return outcome,
    };
    let Some(Found { main, bounds }) = found else { return failed(format!("it is not known where `{member}` runs")) };
    match Pidfd::open_exact(main) {
        Ok(Some(held)) if !held.is_gone() => {
            let held = Arc::new(held);
            shared.trees.found(&member, held.clone(), bounds.clone());
            tokio::spawn(report_end(shared.clone(), instance.clone(), held, bounds));
            Outcome::Started { process: main }
        }
        Ok(_) => failed(format!("process {main} of engine `{member}` is gone")),
        Err(error) => failed(format!("process {main} of engine `{member}` can't be watched: {error}")),
    }
}

async fn report_end(shared: Arc<Shared>, instance: InstanceId, held: Arc<Pidfd>, bounds: Bounds) {
    held.gone().await;
    let (owners, deadline) = (Owners::default(), clock::now().after(SETTLES));
    let (mut exit, mut removed) = (held.exit(), owners.is_removed(&bounds));
    let removable = matches!(bounds, Bounds::Cgroup(_));
    let settled = |exit: Option<Exit>, removed: bool| exit.is_some_and(|exit| was_asked(exit) || removed || !removable);
    while !settled(exit, removed) && clock::now() < deadline {
        sleep(PAUSE).await;
        (exit, removed) = (held.exit(), owners.is_removed(&bounds));
    }
    let process = held.id;
    shared.observed(match left_in_order(exit, removed) {
        true => Observation::Removed { instance, process, exit: exit.unwrap_or(Exit::Unknown) },
        false => Observation::Ended { owner: Owner::Engine(instance), process, exit: exit.unwrap_or(Exit::Unknown) },
    });
}

/// Whether an end was none of its own. Where the kernel does not say how it ended nothing is held against it.
fn left_in_order(exit: Option<Exit>, removed: bool) -> bool {
    match exit {
        None | Some(Exit::Unknown) => true,
        Some(exit) if was_asked(exit) => true,
        // Who does not end in its time is killed, and its cgroup is removed.
        Some(Exit::Signal(KILLED)) => removed,
        Some(Exit::Status(status)) => removed && status == BY_SIGNAL + KILLED,
        Some(Exit::Signal(_)) => false,
    }
}

fn was_asked(exit: Exit) -> bool {
    match exit {
        Exit::Status(0) => true,
        Exit::Status(status) => ASKED.contains(&(status - BY_SIGNAL)),
        Exit::Signal(signal) => ASKED.contains(&signal),
        Exit::Unknown => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_is_told_from_a_crash() {
        for exit in [Exit::Status(0), Exit::Signal(15), Exit::Status(143), Exit::Status(130)] {
            assert!(left_in_order(Some(exit), false), "{exit}");
        }
        for exit in [Exit::Signal(9), Exit::Status(137)] {
            assert!(left_in_order(Some(exit), true), "{exit} with its cgroup removed");
            assert!(!left_in_order(Some(exit), false), "{exit} of which the cgroup is left");
        }
        for exit in [Exit::Status(1), Exit::Signal(11), Exit::Signal(6), Exit::Status(139)] {
            assert!(!left_in_order(Some(exit), true), "{exit}");
        }
        assert!(left_in_order(None, false), "nobody knows how it ended");
    }
}
