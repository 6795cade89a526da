//! Finds an engine that others run, and watches its main process. Nothing is started, signalled or recorded: it is not
//! the next run's to end either.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::shared::{Shared, failed};
use crate::host::clock;
use crate::host::owners::Owners;
use crate::host::pidfd::Pidfd;
use crate::host::supervisor::{Plight, Supervisor};
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
    match found {
        Some(found) => watch(shared, instance, found, None),
        None => failed(format!("it is not known where `{member}` runs")),
    }
}

/// Watches the processes that were found as this incarnation. `supervisor`: who can say how it ended.
pub(super) fn watch(
    shared: &Arc<Shared>,
    instance: &InstanceId,
    found: Found,
    supervisor: Option<Supervisor>,
) -> Outcome {
    let (member, Found { main, bounds }) = (instance.member(), found);
    if let Some(other) = shared.trees.is_anothers(&member, main) {
        let why =
            format!("process {main} is engine `{other}` already: two engines of the configuration name one process");
        return failed(format!("engine `{member}`: {why}"));
    }
    match Pidfd::open_exact(main) {
        Ok(Some(held)) if !held.is_gone() => {
            let held = Arc::new(held);
            shared.trees.found(&member, held.clone(), bounds.clone());
            tokio::spawn(report_end(shared.clone(), instance.clone(), held, (bounds, supervisor)));
            Outcome::Started { process: main }
        }
        Ok(_) => failed(format!("process {main} of engine `{member}` is gone")),
        Err(error) => failed(format!("process {main} of engine `{member}` can't be watched: {error}")),
    }
}

async fn report_end(
    shared: Arc<Shared>,
    instance: InstanceId,
    held: Arc<Pidfd>,
    (bounds, supervisor): (Bounds, Option<Supervisor>),
) {
    held.gone().await;
    shared.trees.main_ended(&instance.member());
    let (owners, deadline) = (Owners::default(), clock::now().after(SETTLES));
    let (mut exit, mut removed) = (held.exit(), owners.is_removed(&bounds));
    let removable = matches!(bounds, Bounds::Cgroup(_));
    let settled = |exit: Option<Exit>, removed: bool| exit.is_some_and(|exit| was_asked(exit) || removed || !removable);
    while !settled(exit, removed) && clock::now() < deadline {
        sleep(PAUSE).await;
        (exit, removed) = (held.exit(), owners.is_removed(&bounds));
    }
    let process = held.id;
    let mut plight = None;
    if let Some(supervisor) = &supervisor {
        plight = supervisor.plight().await.ok();
        exit = match exit {
            None => supervisor.exit(process.pid).await,
            known => known,
        };
    }
    let in_order = match plight {
        Some(plight) => was_stopped(exit, &plight),
        None => left_in_order(exit, removed),
    };
    shared.observed(match in_order {
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

/// Whether those who run a unit or a container stopped it: it does not run on, and ended as one that was asked to, or was
/// taken away altogether.
fn was_stopped(exit: Option<Exit>, plight: &Plight) -> bool {
    let asked = exit.is_none_or(was_asked);
    match plight {
        // A time to stop that is over ends in KILL.
        Plight::Ends(_) => asked || exit == Some(Exit::Signal(KILLED)),
        Plight::Down(_) => asked,
        Plight::Unknown(_) => true,
        Plight::Runs { .. } | Plight::Starts(_) | Plight::Failed(_) => false,
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

    #[test]
    fn the_stop_of_a_unit_is_told_from_its_crash_by_what_became_of_it() {
        let down = Plight::Down("unit a is inactive".into());
        let starts = Plight::Starts("auto-restart".into());
        let failed = Plight::Failed("exit-code".into());
        assert!(was_stopped(Some(Exit::Status(0)), &down) && was_stopped(Some(Exit::Signal(15)), &down));
        assert!(was_stopped(Some(Exit::Signal(9)), &Plight::Ends("stop-sigkill".into())));
        assert!(!was_stopped(Some(Exit::Signal(9)), &down), "KILL without a stop");
        for (exit, plight) in [(Exit::Status(0), &starts), (Exit::Signal(15), &starts), (Exit::Status(1), &failed)] {
            assert!(!was_stopped(Some(exit), plight), "{exit} {plight:?}");
        }
        assert!(was_stopped(Some(Exit::Status(137)), &Plight::Unknown("no container".into())));
    }
}
