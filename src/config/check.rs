//! What is wrong between keys that are each right: used twice, too long together, in the wrong order. Pure.

use std::collections::BTreeMap;

use super::configuration::{Configuration, EngineConfiguration, GroupConfiguration, RunBy};
use super::problem::{Places, Problem};
use super::resolve::{apart_log_directory, apart_pipe_directory};
use super::values::{SOCKET_PATH, authority, host_of};
use crate::decide::policy::{IsolationMode, UnknownClients};
use crate::model::RestartBy;

/// Inverse of the largest part of the time that may be sampled.
const MOST_SAMPLED: u32 = 20;

/// Logs of MPS in a group's log directory: what the daemon prints, and what it writes there itself.
const MPS_LOGS: [&str; 3] = ["daemon", "control", "server"];

/// Everything that contradicts itself.
pub(super) fn contradictions(configuration: &Configuration) -> Vec<Problem> {
    let mut problems = Vec::new();
    names(configuration, &mut problems);
    directories(configuration, &mut problems);
    addresses(configuration, &mut problems);
    injections(configuration, &mut problems);
    for (index, group) in configuration.groups.iter().enumerate() {
        let path = format!("group[{index}]");
        socket_path(&configuration.places, &path, group, &mut problems);
        backoff(&configuration.places, &path, group, &mut problems);
        windows(&configuration.places, &path, group, &mut problems);
        users(&configuration.places, &path, group, &mut problems);
        attached(&configuration.places, &path, group, &mut problems);
        several_gpus(&configuration.places, &path, group, &mut problems);
        with_engines_of_others(&configuration.places, &path, group, &mut problems);
    }
    externals(configuration, &mut problems);
    problems
}

/// The first user of a thing, so that the second can be reported.
struct Once<'a> {
    places: &'a Places,
    seen: BTreeMap<String, String>,
    problems: &'a mut Vec<Problem>,
}

impl<'a> Once<'a> {
    fn new(places: &'a Places, problems: &'a mut Vec<Problem>) -> Self {
        Once { places, seen: BTreeMap::new(), problems }
    }

    /// `thing`, of that `kind`, stands at `path`; an empty one was refused before.
    fn claim(&mut self, kind: &str, thing: &str, path: String, hint: &str) {
        if thing.is_empty() {
            return;
        }
        match self.seen.get(thing) {
            None => drop(self.seen.insert(thing.to_owned(), path)),
            Some(first) => {
                let first = match self.places.nearest(first) {
                    Some(place) => format!("on line {}", place.line),
                    None => "by a default".to_owned(),
                };
                let what = format!("{kind} {thing} is used twice, first {first}");
                self.problems.push(self.places.problem(&path, what, hint));
            }
        }
    }
}

fn names(configuration: &Configuration, problems: &mut Vec<Problem>) {
    let places = &configuration.places;
    let mut groups = Once::new(places, problems);
    for (index, group) in configuration.groups.iter().enumerate() {
        groups.claim("group name", group.name.as_str(), format!("group[{index}].name"), "name each group once");
    }
    for (group_index, group) in configuration.groups.iter().enumerate() {
        let mut engines = Once::new(places, problems);
        for (index, engine) in group.engines.iter().enumerate() {
            let path = format!("group[{group_index}].engine[{index}].name");
            engines.claim("engine name", engine.name.as_str(), path, "name each engine of a group once");
        }
    }
    for (path, engine) in engines(configuration) {
        let name = engine.name.as_str();
        if MPS_LOGS.contains(&name) {
            let what = format!("an engine can't be named {name:?}");
            let hint = format!("its output would share {name}.log with the control daemon");
            problems.push(places.problem(&format!("{path}.name"), what, &hint));
        }
    }
}

fn directories(configuration: &Configuration, problems: &mut Vec<Problem>) {
    let mut directories = Once::new(&configuration.places, problems);
    let hint = "each group has a pipe directory and a log directory of its own";
    for (index, group) in configuration.groups.iter().enumerate() {
        // The defaults hold the group's name: where that is missing or used twice, that alone is reported.
        let nameless = group.name.as_str().is_empty();
        let twin = nameless || configuration.groups[..index].iter().any(|other| other.name == group.name);
        let mps = &group.mps;
        for (key, directory) in [("pipe_directory", &mps.pipe_directory), ("log_directory", &mps.log_directory)] {
            let path = format!("group[{index}].mps.{key}");
            if !twin || configuration.places.at.contains_key(&path) {
                directories.claim("directory", &directory.display().to_string(), path.clone(), hint);
                let mut earlier = configuration.groups[..index].iter().map(|other| &other.mps);
                let twice = earlier.any(|other| [&other.pipe_directory, &other.log_directory].contains(&directory));
                if twice || mps.run_by == RunBy::Others {
                    continue;
                }
                // That of the group's second side.
                let apart = if key == "pipe_directory" { apart_pipe_directory } else { apart_log_directory };
                directories.claim("directory", &apart(directory).display().to_string(), path, hint);
            }
        }
    }
}

fn addresses(configuration: &Configuration, problems: &mut Vec<Problem>) {
    let mut addresses = Once::new(&configuration.places, problems);
    let hint = "each engine and mpswarden itself have a port of their own";
    for address in configuration.web.listen_addresses.iter().filter(|address| address.port() != 0) {
        let path = "web.listen_addresses".to_owned();
        addresses.claim("address", &canonical(&address.ip().to_string(), address.port()), path, hint);
    }
    for (path, engine) in engines(configuration) {
        let address = match host_of(&engine.url).and_then(authority) {
            Some((host, port)) => canonical(host, port),
            None => engine.url.clone(),
        };
        addresses.claim("address", &address, format!("{path}.url"), hint);
    }
}

/// The names of this very machine are one: engines of a group run where its GPU is.
fn canonical(host: &str, port: u16) -> String {
    match host.trim_matches(['[', ']']).to_ascii_lowercase().as_str() {
        "localhost" | "::1" | "0.0.0.0" | "::" => format!("127.0.0.1:{port}"),
        host => format!("{host}:{port}"),
    }
}

fn engines(configuration: &Configuration) -> impl Iterator<Item = (String, &EngineConfiguration)> {
    configuration.groups.iter().enumerate().flat_map(|(group_index, group)| {
        let numbered = group.engines.iter().enumerate();
        numbered.map(move |(index, engine)| (format!("group[{group_index}].engine[{index}]"), engine))
    })
}

fn socket_path(places: &Places, path: &str, group: &GroupConfiguration, problems: &mut Vec<Problem>) {
    // That of the second side is the longer one.
    let directory = match group.mps.run_by {
        RunBy::Us => apart_pipe_directory(&group.mps.pipe_directory),
        RunBy::Others => group.mps.pipe_directory.clone(),
    };
    let socket = directory.join("control");
    let length = socket.as_os_str().len();
    if length > SOCKET_PATH {
        let what = format!("the socket {} has {length} bytes, {SOCKET_PATH} at most", socket.display());
        problems.push(places.problem(&format!("{path}.mps.pipe_directory"), what, "choose a shorter pipe_directory"));
    }
}

fn backoff(places: &Places, path: &str, group: &GroupConfiguration, problems: &mut Vec<Problem>) {
    let backoff = &group.recovery.backoff;
    if backoff.most < backoff.first.max(backoff.next) {
        let what = "the back-off's `most` is less than its `first` or `next`".to_owned();
        problems.push(places.problem(&format!("{path}.recovery.backoff.most"), what, "raise `most`"));
    }
}

/// Windows are a sample: they must not come one after the other.
fn windows(places: &Places, path: &str, group: &GroupConfiguration, problems: &mut Vec<Problem>) {
    let overlap = &group.overlap;
    if overlap.period < MOST_SAMPLED * overlap.window {
        let what = format!("the kernel probe's `period` is less than {MOST_SAMPLED} of its windows");
        problems.push(places.problem(&format!("{path}.overlap.period"), what, "raise `period`, or shorten `window`"));
    }
}

/// CUDA loads one injection library into a process.
fn injections(configuration: &Configuration, problems: &mut Vec<Problem>) {
    for (path, engine) in engines(configuration) {
        if engine.probe && engine.environment.contains_key("CUDA_INJECTION64_PATH") {
            let what = "`overlap = \"probe\"` and a CUDA_INJECTION64_PATH exclude each other".to_owned();
            let hint = "take the variable out, or set overlap = \"off\": CUDA loads one of them";
            problems.push(configuration.places.problem(&format!("{path}.overlap"), what, hint));
        }
    }
}

/// What is not done under a control daemon that others run.
fn attached(places: &Places, path: &str, group: &GroupConfiguration, problems: &mut Vec<Problem>) {
    if group.mps.run_by == RunBy::Us {
        return;
    }
    let name = &group.name;
    if group.isolation.mode == IsolationMode::Enforce {
        let what = format!(
            "isolation.mode of {name} is \"enforce\", and its control daemon is others': a second one beside it is not \
             started"
        );
        problems.push(places.problem(&format!("{path}.isolation.mode"), what, "set \"off\" or \"observe\""));
    }
    if group.unknown_clients == UnknownClients::KillOnFault {
        let what = format!(
            "unknown_clients of {name} is \"kill_on_fault\", and its control daemon is others': its clients may be theirs"
        );
        problems.push(places.problem(&format!("{path}.policy.unknown_clients"), what, "set \"report\""));
    }
}

/// What is not done where others run an engine of the group.
fn with_engines_of_others(places: &Places, path: &str, group: &GroupConfiguration, problems: &mut Vec<Problem>) {
    let Some(theirs) = group.engines.iter().find(|engine| engine.external.is_some()) else { return };
    let (name, engine) = (&group.name, &theirs.name);
    if group.isolation.mode == IsolationMode::Enforce && group.mps.run_by == RunBy::Us {
        let what = format!(
            "isolation.mode of {name} is \"enforce\", and {engine} is others' to start: it can't be started on a second server"
        );
        problems.push(places.problem(&format!("{path}.isolation.mode"), what, "set \"off\" or \"observe\""));
    }
    if group.unknown_clients == UnknownClients::KillOnFault && group.mps.run_by == RunBy::Us {
        let what = format!(
            "unknown_clients of {name} is \"kill_on_fault\", and {engine} is others' to start: before it is found its client \
             is an unknown one"
        );
        problems.push(places.problem(&format!("{path}.policy.unknown_clients"), what, "set \"report\""));
    }
}

/// Two engines that are the same processes.
fn externals(configuration: &Configuration, problems: &mut Vec<Problem>) {
    let mut places = Once::new(&configuration.places, problems);
    for (path, engine) in engines(configuration) {
        if let Some(external) = &engine.external {
            let path = format!("{path}.external.{}", external.at.key());
            places.claim("the engine of", &external.at.to_string(), path, "each engine has processes of its own");
        }
    }
}

/// What is not done where one server has several GPUs.
fn several_gpus(places: &Places, path: &str, group: &GroupConfiguration, problems: &mut Vec<Problem>) {
    if group.gpus.len() < 2 {
        return;
    }
    let name = &group.name;
    if group.isolation.mode != IsolationMode::Off {
        let what = format!(
            "isolation.mode of {name} is not \"off\", and the group is over several GPUs: whom a second server would part is \
             not known there"
        );
        let hint = "leave it out, or write a group for each GPU: two control daemons are two fault domains";
        problems.push(places.problem(&format!("{path}.isolation.mode"), what, hint));
    }
    let acts = |engine: &EngineConfiguration| {
        engine.external.as_ref().is_some_and(|external| external.restart_by != RestartBy::Nobody)
    };
    for (index, engine) in group.engines.iter().enumerate().filter(|(_, engine)| acts(engine)) {
        let what = format!("engine {} is others' to run, and its group is over several GPUs", engine.name);
        let hint =
            "set restart_by = \"nobody\": whom a fault hits there is ended in part, which is not done through others";
        problems.push(places.problem(&format!("{path}.engine[{index}].restart_by"), what, hint));
    }
    for (index, engine) in group.engines.iter().enumerate().filter(|(_, engine)| engine.probe) {
        let what =
            format!("engine {} has the kernel probe, which sees one GPU, and its group is over several", engine.name);
        problems.push(places.problem(&format!("{path}.engine[{index}].overlap"), what, "set overlap = \"off\""));
    }
}

/// One server serves one uid: clients of another wait indefinitely.
fn users(places: &Places, path: &str, group: &GroupConfiguration, problems: &mut Vec<Problem>) {
    // Of an engine that others run it is known only where it is written.
    let known = |engine: &&EngineConfiguration| engine.external.is_none() || engine.user.is_some();
    let Some(first) = group.engines.iter().find(known) else { return };
    let others = group.engines.iter().enumerate().filter(|(_, engine)| known(engine) && engine.user != first.user);
    for (index, engine) in others {
        let name = |user: &Option<String>| user.clone().unwrap_or_else(|| "the watchdog's own user".to_owned());
        let what =
            format!("engine {} runs as {}, {} as {}", engine.name, name(&engine.user), first.name, name(&first.user));
        let hint = "an MPS server serves one user: give all engines of a group the same `user`";
        problems.push(places.problem(&format!("{path}.engine[{index}].user"), what, hint));
    }
}
