//! Starts an engine in a session, and a cgroup where they can be had, of its own; reports its end.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};

use super::environment::{self, Variables};
use super::shared::{Shared, Watch, failed, refused};
use crate::files::{self, Links};
use crate::host::cgroup::Cgroup;
use crate::host::child::{self, Launch, Output};
use crate::host::room;
use crate::host::trees::START_VARIABLE;
use crate::model::{EngineLaunch, GroupLaunch, InstanceId, Member, Observation, Outcome, Owner, ProbeState};

/// Room below which the file system of the logs counts as full.
const LITTLE_ROOM: u64 = 1 << 20;

/// The largest environment file.
const LARGEST_FILE: u64 = 1 << 20;
/// Upper bound for reading a file: its engine's user may have put anything there, and a file system may hang.
const FILE_BOUND: Duration = Duration::from_secs(5);

/// Which engine, and how.
#[derive(Clone, Debug)]
pub(super) struct Start {
    pub instance: InstanceId,
    pub outside: bool,
}

/// The file that its environment is read from before it starts, if there is one.
pub(super) fn environment_file(shared: &Shared, key: &Member) -> Option<PathBuf> {
    shared.engine(key).ok()?.1.environment_file
}

/// What the file says, or why that is not known. Never on the thread of the core.
pub(super) async fn read_environment(file: &Path) -> Result<Variables, String> {
    let text = files::read_text(file, Links::Followed, LARGEST_FILE, FILE_BOUND).await;
    let text = text.map_err(|error| {
        format!("can't read environment_file `{}`: {error}; it must hold KEY=value lines", file.display())
    })?;
    environment::parse_file(file, &text)
}

/// Started when it returns. What comes beside the outcome is to be watched after the outcome was reported.
pub(super) fn start(shared: &Shared, start: &Start, file: Result<Variables, String>) -> (Outcome, Option<Watch>) {
    match try_start(shared, start, file) {
        Ok(watch) => (Outcome::Started { process: watch.child.id() }, Some(watch)),
        Err(outcome) => (outcome, None),
    }
}

fn try_start(shared: &Shared, start: &Start, file: Result<Variables, String>) -> Result<Watch, Outcome> {
    let Start { instance, outside } = start;
    let key = &instance.member();
    let (group, engine) = shared.engine(key)?;
    refuse_a_twin(shared, key)?;
    let launch = file.and_then(|file| launch_of(shared, &group, &engine, file));
    let mut launch = launch.map_err(|why| failed(format!("engine `{key}`: {why}")))?;
    if *outside {
        environment::leave_mps(&mut launch.environment, &group, &engine);
    }
    let word = birth_word().map_err(|error| failed(format!("engine `{key}`: no random numbers: {error}")))?;
    launch.environment.insert(START_VARIABLE.into(), word.clone().into());
    tell_of_no_room(&group);
    let cgroup = enter_cgroup(shared, &engine);
    launch.cgroup = cgroup.as_ref().map(|cgroup| cgroup.path().to_owned());
    let child = child::start(&launch).map_err(|error| {
        // It is empty: nothing ran in it.
        let _ = cgroup.as_ref().map(Cgroup::remove);
        let why = format!("engine `{key}`: {error}");
        if error.is_ours() { Outcome::NotAsked { why } } else { failed(why) }
    })?;
    let owner = Owner::Engine(instance.clone());
    let held = child.pidfd();
    shared.trees.began(key, held.clone(), cgroup, word);
    shared.note(owner.clone(), &held, launch.cgroup);
    Ok(Watch { child, owner })
}

/// Drawn for each start, so that no process can call itself an engine's that did not read it there.
fn birth_word() -> Result<String, ring::error::Unspecified> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// No incarnation starts before its predecessor is gone: asked again here, just before acting.
fn refuse_a_twin(shared: &Shared, key: &Member) -> Result<(), Outcome> {
    let living = shared.trees.living(&key.domain, std::slice::from_ref(&key.engine));
    let living = living.map_err(|error| refused(&error, format!("can't look at the processes of `{key}`: {error}")))?;
    match living.first() {
        Some(held) => Err(failed(format!("engine `{key}`: process {} of the last incarnation still lives", held.id))),
        None => Ok(()),
    }
}

fn launch_of(shared: &Shared, group: &GroupLaunch, engine: &EngineLaunch, file: Variables) -> Result<Launch, String> {
    let (program, arguments) = engine.command.split_first().ok_or("its command is empty")?;
    // An unknown user is reported by the start itself.
    let user = engine.user.as_deref().and_then(|name| child::account_of(name).ok().flatten());
    let own = std::env::vars_os().collect();
    let mut environment = environment::of_engine(own, user.as_ref(), file, group, engine, &shared.owner);
    if engine.probe {
        let place = &shared.probe;
        let loaded = place.ready_for(user.as_ref()).and_then(|()| environment::load_probe(&mut environment, place));
        tell_probe(shared, &engine.member, loaded.err());
    }
    Ok(Launch {
        program: program.into(),
        arguments: arguments.iter().map(Into::into).collect(),
        environment,
        directory: engine.working_directory.clone(),
        user: engine.user.clone(),
        output: Output::Append(log_of(group, engine)),
        cgroup: None,
    })
}

/// Reported before the start: what its processes say of it comes later. Without the probe the engine serves as well.
fn tell_probe(shared: &Shared, engine: &Member, why: Option<String>) {
    if let Some(why) = &why {
        tracing::warn!("engine `{engine}` runs without the kernel probe: {why}");
    }
    let state = if why.is_none() { ProbeState::Waiting } else { ProbeState::Unavailable };
    shared.observed(Observation::Probe { engine: engine.clone(), state, why });
}

fn log_of(group: &GroupLaunch, engine: &EngineLaunch) -> PathBuf {
    group.outputs.join(format!("{}.log", engine.member.engine))
}

/// An engine that can't write its output may end for it, and its own words of that have no place to go either.
fn tell_of_no_room(group: &GroupLaunch) {
    let directory = &group.outputs;
    if let Some(left) = room::left(directory).filter(|left| *left < LITTLE_ROOM) {
        let (directory, left) = (directory.display(), left >> 10);
        tracing::warn!(
            "the file system of {directory} is full ({left} KiB are left): what engines and the daemon write \
             is lost, and some end for it; make room there"
        );
    }
}

/// A cgroup for it, if one can be had: without, it works by sessions.
fn enter_cgroup(shared: &Shared, engine: &EngineLaunch) -> Option<Cgroup> {
    let name = format!("{}.{}", engine.member.domain.directory_name(), engine.member.engine);
    let unlimited = |why: &str| tracing::warn!("engine `{}` runs without its memory_max: {why}", engine.member);
    let made = match &shared.cgroups {
        Ok(cgroups) => cgroups.create(&name, engine.memory_max),
        Err(why) => {
            // That there are no cgroups was said at the start; that a limit is not in force is said of each.
            engine.memory_max.inspect(|_| unlimited(why));
            return None;
        }
    };
    match made {
        Ok((cgroup, why)) => {
            why.iter().for_each(|why| unlimited(why));
            Some(cgroup)
        }
        Err(error) => {
            let limit = if engine.memory_max.is_some() { ", and so without its memory_max" } else { "" };
            tracing::warn!("engine `{}` runs without a cgroup{limit}: {error}", engine.member);
            None
        }
    }
}
