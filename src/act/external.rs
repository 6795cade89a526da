//! Configured engines that others run: finds them and watches them, and has them ended and started through those who run
//! them. Never spawns one; signals a process of the configured user alone, and only where nobody else is to be asked.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::find_engine::watch;
use super::shared::{Shared, failed, refused};
use crate::host::bounded;
use crate::host::child::account_of;
use crate::host::clock;
use crate::host::external::{Externals, NotFound, supervisor_of};
use crate::host::hold::Hold;
use crate::host::pidfd::Signalled;
use crate::host::supervisor::{self, SupervisorError};
use crate::model::{
    DomainId, EngineLaunch, EngineName, External, Found, HeldReason, InstanceId, Member, Moment, Outcome, ProcessId,
    RestartBy,
};

/// Pause between two looks for an engine that was asked for.
const PAUSE: Duration = Duration::from_millis(200);
/// Upper bound for an engine to appear, or to be seen coming, once it was asked for.
const APPEARS: Duration = Duration::from_secs(10);
/// Part of the time to the deadline that is kept for the answer.
const FOR_THE_ANSWER: Duration = Duration::from_millis(500);

/// What an end is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// One engine is ended. One that has ended by itself is left to its supervisor, which may start it already.
    One,
    /// All of its group are: its supervisor must not start it before all are gone.
    Whole,
}

/// An engine with where it is and through whom it is restarted.
pub(super) struct Theirs {
    pub launch: EngineLaunch,
    pub external: External,
}

/// The engine, if it is a configured one that others run.
pub(super) fn of(shared: &Shared, key: &Member) -> Option<Theirs> {
    let (_, launch) = shared.engine(key).ok()?;
    let external = launch.external.clone()?;
    Some(Theirs { launch, external })
}

/// Finds it and watches it. Touches nothing.
pub(super) async fn find(shared: &Arc<Shared>, instance: &InstanceId, theirs: &Theirs) -> Outcome {
    match locate(theirs).await {
        Ok(found) => watch(shared, instance, found, supervisor_of(&theirs.external.at)),
        Err(why) => not_found(why),
    }
}

/// Has it started, unless its supervisor is about to, and waits until it is there.
pub(super) async fn start(shared: &Arc<Shared>, instance: &InstanceId, theirs: &Theirs, deadline: Moment) -> Outcome {
    let member = instance.member();
    let given_up = shared.ask_for(&member);
    let until = deadline.before(FOR_THE_ANSWER);
    let mut asked: Option<Moment> = None;
    loop {
        let found = locate(theirs).await;
        if given_up.load(Ordering::Relaxed) {
            return failed(format!("engine `{member}` was to end before it was started"));
        }
        let why = match found {
            Ok(found) => return watch(shared, instance, found, supervisor_of(&theirs.external.at)),
            Err(NotFound::Starts(why)) if asked.is_none() => return not_found(NotFound::Starts(why)),
            Err(NotFound::Absent(_)) if asked.is_none() => {
                if let Err(error) = order_start(theirs, until).await {
                    return not_done(&member, "start", error);
                }
                asked = Some(clock::now());
                continue;
            }
            Err(NotFound::Starts(why)) => why,
            Err(NotFound::Absent(why)) if asked.is_some_and(|at| clock::now().since(at) < APPEARS) => why,
            Err(NotFound::Absent(why)) => return failed(format!("engine `{member}` was asked for: {why}")),
            Err(other) => return not_found(other),
        };
        if clock::now() >= until {
            return failed(format!("engine `{member}` was asked for, and is not there in time: {why}"));
        }
        sleep(PAUSE).await;
    }
}

/// Has these engines ended, all at the same time. Those of their processes that lived.
pub(super) async fn end_all(
    shared: &Arc<Shared>,
    domain: &DomainId,
    engines: &[EngineName],
    deadline: Moment,
) -> Result<BTreeSet<ProcessId>, Outcome> {
    let mut ends = JoinSet::new();
    for engine in engines {
        let (shared, member) = (shared.clone(), domain.member(engine));
        ends.spawn(async move {
            let theirs = of(&shared, &member).ok_or_else(|| failed(format!("no engine `{member}`")))?;
            end(&shared, &member, &theirs, (Duration::ZERO, Scope::Whole), deadline).await
        });
    }
    let (mut lived, mut refused) = (BTreeSet::new(), None);
    while let Some(ended) = ends.join_next().await {
        match ended {
            Ok(Ok(processes)) => lived.extend(processes),
            Ok(Err(outcome)) => refused = Some(outcome),
            Err(error) => refused = Some(failed(format!("the end of an engine of `{domain}` broke off: {error}"))),
        }
    }
    refused.map_or(Ok(lived), Err)
}

/// Has one ended: in order, and by KILL after `grace`. Those of its processes that lived before. Whether they are gone is
/// asked afterwards.
pub(super) async fn end(
    shared: &Shared,
    member: &Member,
    theirs: &Theirs,
    (grace, scope): (Duration, Scope),
    deadline: Moment,
) -> Result<BTreeSet<ProcessId>, Outcome> {
    let living = living(shared, member)?;
    let ids: BTreeSet<ProcessId> = living.iter().map(|held| held.id).collect();
    if living.is_empty() && scope == Scope::One {
        return Ok(ids);
    }
    let until = deadline.before(FOR_THE_ANSWER);
    let ended = match &theirs.external.restart_by {
        RestartBy::Nobody => Err(SupervisorError::Failed("restart_by is \"nobody\"".to_owned())),
        RestartBy::Signal => return by_signal(shared, member, theirs, grace, until).await,
        RestartBy::Supervisor => match supervisor_of(&theirs.external.at) {
            Some(supervisor) => supervisor.stop(grace).await,
            None => Err(SupervisorError::Failed(format!("{} has no supervisor", theirs.external.at))),
        },
        RestartBy::Commands { stop, .. } => run(stop, until).await,
    };
    match ended {
        Ok(()) => Ok(ids),
        // What is gone needs nobody to end it.
        Err(_) if self::living(shared, member)?.is_empty() => Ok(ids),
        Err(error) => Err(not_done(member, "stop", error)),
    }
}

/// TERM to its main process, then KILL to all that is left of it, again and again until a look finds none.
async fn by_signal(
    shared: &Shared,
    member: &Member,
    theirs: &Theirs,
    grace: Duration,
    until: Moment,
) -> Result<BTreeSet<ProcessId>, Outcome> {
    let uid = uid_of(theirs)?;
    let uid = uid.ok_or_else(|| failed(format!("engine `{member}` has no `user`: nothing of it is signalled")))?;
    let main = shared.trees.main(member);
    let mut signalled = BTreeSet::new();
    for held in living(shared, member)?.iter().filter(|held| Some(held.id) == main && !grace.is_zero()) {
        send(held, uid, Signal::SIGTERM, member)?;
        let _ = timeout(grace.min(until.since(clock::now())), held.gone()).await;
        signalled.insert(held.id);
    }
    let mut killed = BTreeSet::new();
    loop {
        let missed: Vec<Hold> = living(shared, member)?.into_iter().filter(|held| !killed.contains(&held.id)).collect();
        if missed.is_empty() || clock::now() >= until {
            signalled.extend(killed);
            return Ok(signalled);
        }
        for held in &missed {
            send(held, uid, Signal::SIGKILL, member)?;
            killed.insert(held.id);
        }
        tokio::task::yield_now().await;
    }
}

fn send(held: &Hold, uid: u32, signal: Signal, member: &Member) -> Result<Signalled, Outcome> {
    held.signal_of_user(uid, signal)
        .map_err(|error| refused(&error, format!("process {} of engine `{member}`: {error}", held.id)))
}

fn living(shared: &Shared, member: &Member) -> Result<Vec<Hold>, Outcome> {
    let living = shared.trees.living(&member.domain, std::slice::from_ref(&member.engine));
    living.map_err(|error| refused(&error, format!("can't look at the processes of `{member}`: {error}")))
}

async fn locate(theirs: &Theirs) -> Result<Found, NotFound> {
    let uid = match uid_of(theirs) {
        Ok(uid) => uid,
        Err(_) => {
            let user = theirs.launch.user.as_deref().unwrap_or_default();
            return Err(NotFound::Refused(format!("there is no user `{user}` on this machine")));
        }
    };
    Externals::default().find(&theirs.external.at, uid).await
}

/// The uid of its user; `None`: none is configured.
fn uid_of(theirs: &Theirs) -> Result<Option<u32>, Outcome> {
    let Some(user) = &theirs.launch.user else { return Ok(None) };
    match account_of(user) {
        Ok(Some(account)) => Ok(Some(account.uid.as_raw())),
        Ok(None) => Err(failed(format!("there is no user `{user}` on this machine"))),
        Err(error) => Err(refused(&error, format!("user `{user}` can't be looked up: {error}"))),
    }
}

async fn order_start(theirs: &Theirs, until: Moment) -> Result<(), SupervisorError> {
    match &theirs.external.restart_by {
        RestartBy::Supervisor => match supervisor_of(&theirs.external.at) {
            Some(supervisor) => supervisor.start().await,
            None => Err(SupervisorError::Failed(format!("{} has no supervisor", theirs.external.at))),
        },
        RestartBy::Commands { start, .. } => run(start, until).await,
        RestartBy::Nobody | RestartBy::Signal => {
            Err(SupervisorError::Failed("only its supervisor starts it".to_owned()))
        }
    }
}

/// Runs a command of the configuration, which must succeed before `until`.
pub(super) async fn run(command: &[String], until: Moment) -> Result<(), SupervisorError> {
    let bound = sleep(until.since(clock::now()));
    match bounded::run(command, supervisor::environment(), "", bound).await {
        Ok(ran) if ran.succeeded() => Ok(()),
        Ok(ran) => Err(SupervisorError::Failed(format!("`{}`: {}", command.join(" "), ran.why()))),
        Err(error) if error.is_ours() => Err(SupervisorError::NotAsked(error.to_string())),
        Err(error) => Err(SupervisorError::Failed(error.to_string())),
    }
}

fn not_found(why: NotFound) -> Outcome {
    match why {
        NotFound::Starts(why) => Outcome::Waits { reason: HeldReason::EnginesNotOurs, why },
        NotFound::Absent(why) | NotFound::Refused(why) => failed(why),
        NotFound::NotAsked(why) => Outcome::NotAsked { why },
    }
}

pub(super) fn not_done(of: &impl std::fmt::Display, what: &str, error: SupervisorError) -> Outcome {
    let why = format!("can't have `{of}` {what}: {error}");
    match error {
        SupervisorError::NotAsked(_) => Outcome::NotAsked { why },
        SupervisorError::Failed(_) => failed(why),
    }
}
