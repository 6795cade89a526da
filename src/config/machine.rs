//! What a configuration names and this machine lacks: programs, users, files, directories, addresses. Looks, and changes
//! nothing.

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{AccessFlags, User, access};

use super::configuration::{Configuration, EngineConfiguration, RunBy};
use super::problem::{Places, Problem};
use crate::files::{self, Holds, Links, NoProgram};

/// An environment file that is searched for a PATH, in bytes.
const LARGEST_FILE: u64 = 1 << 20;

/// What `run` and `reload` refuse a file for: a mistake that must not wait until a person should have been called, or
/// until an engine is restarted.
pub(super) fn refused(configuration: &Configuration) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (hook, command) in &configuration.hooks {
        let Some(what) = command.first().and_then(|program| cannot_run(program, &path_of_ours())) else { continue };
        problems.push(configuration.places.problem(&format!("hooks.{hook}"), what, PROGRAM_HINT));
    }
    for (path, engine) in engines(configuration) {
        problems.extend(user(&configuration.places, &path, engine));
        problems.extend(environment_file(&configuration.places, &path, engine));
    }
    problems
}

/// What fails only later, when it is needed, as warnings.
pub(super) fn lacking(configuration: &Configuration) -> Vec<Problem> {
    let places = &configuration.places;
    let mut warnings: Vec<Problem> = directories(configuration);
    warnings.extend(daemons_of_others(configuration));
    warnings.extend(gates_of_others(configuration));
    warnings.extend(kernel_log(configuration));
    warnings.extend(addresses(configuration));
    let groups = configuration.groups.iter().enumerate();
    let mut binaries: Vec<(String, &Path)> =
        groups.map(|(index, group)| (format!("group[{index}].mps.binary"), group.mps.binary.as_path())).collect();
    if !configuration.discover.pipe_directories.is_empty() {
        binaries.push(("discover.binary".to_owned(), &configuration.discover.binary));
    }
    for (key, binary) in binaries {
        let hint = "it comes with NVIDIA's driver: install that, or name its path";
        let what = cannot_run(&binary.to_string_lossy(), &path_of_ours());
        warnings.extend(what.map(|what| places.warning(&key, what, hint)));
    }
    for (path, engine) in engines(configuration) {
        let program = engine.command.first().filter(|program| !program.is_empty());
        let what = program.and_then(|program| cannot_run(program, &path_of(engine)));
        warnings.extend(what.map(|what| places.warning(&format!("{path}.command"), what, PROGRAM_HINT)));
        warnings.extend(working_directory(places, &path, engine));
    }
    warnings
}

/// Every engine with the path of its table in the file.
fn engines(configuration: &Configuration) -> impl Iterator<Item = (String, &EngineConfiguration)> {
    configuration.groups.iter().enumerate().flat_map(|(group_index, group)| {
        let numbered = group.engines.iter().enumerate();
        numbered.map(move |(index, engine)| (format!("group[{group_index}].engine[{index}]"), engine))
    })
}

const PROGRAM_HINT: &str =
    "install it, give its full path, or chmod +x: the PATH of a service is not that of your shell";

/// Why a program, a path or a name to be found on `path`, can't be started; `None`: it can.
fn cannot_run(program: &str, path: &OsStr) -> Option<String> {
    let may_run = |at: &Path| at.is_file() && access(at, AccessFlags::X_OK).is_ok();
    Some(match files::find_program(Path::new(program), path, may_run).err()? {
        NoProgram::NotExecutable => format!("the program {program:?} is there, and may not be executed"),
        NoProgram::NotFound if program.contains('/') => format!("the program {program:?} was not found"),
        NoProgram::NotFound => format!("the program {program:?} was not found on PATH"),
    })
}

fn path_of_ours() -> OsString {
    std::env::var_os("PATH").unwrap_or_default()
}

/// The PATH that an engine is started with: its `environment` comes before its file, and that before ours.
fn path_of(engine: &EngineConfiguration) -> OsString {
    let own = engine.environment.get("PATH").cloned();
    let of_file = || {
        let text = files::read(engine.environment_file.as_deref()?, Links::Followed, LARGEST_FILE).ok()?;
        let text = String::from_utf8(text).ok()?;
        let value = text.lines().rev().find_map(|line| line.trim_start().strip_prefix("PATH="))?;
        Some(value.trim().trim_matches(['"', '\'']).to_owned())
    };
    own.or_else(of_file).map_or_else(path_of_ours, OsString::from)
}

fn user(places: &Places, path: &str, engine: &EngineConfiguration) -> Option<Problem> {
    let user = engine.user.as_ref()?;
    let what = match User::from_name(user) {
        Ok(Some(_)) => return None,
        Ok(None) => format!("there is no user {user:?}"),
        Err(error) => format!("the user {user:?} can't be looked up: {error}"),
    };
    let hint = "create it, or leave `user` out for mpswarden's own";
    Some(places.problem(&format!("{path}.user"), what, hint))
}

fn environment_file(places: &Places, path: &str, engine: &EngineConfiguration) -> Option<Problem> {
    let file = engine.environment_file.as_ref()?;
    let error = files::open(file, Links::Followed).err()?;
    let what = format!("{} can't be read: {error}", file.display());
    Some(places.problem(
        &format!("{path}.environment_file"),
        what,
        "a file of lines NAME=value that mpswarden may read",
    ))
}

fn working_directory(places: &Places, path: &str, engine: &EngineConfiguration) -> Option<Problem> {
    let directory = engine.working_directory.as_ref()?;
    let what = match directory.metadata() {
        Ok(found) if found.is_dir() => return None,
        Ok(_) => format!("{} is no directory", directory.display()),
        Err(error) => format!("the directory {} can't be used: {error}", directory.display()),
    };
    let hint = "make it, or leave `working_directory` out for mpswarden's own";
    Some(places.warning(&format!("{path}.working_directory"), what, hint))
}

/// Directories that mpswarden makes where they are missing.
fn directories(configuration: &Configuration) -> Vec<Problem> {
    let groups = configuration.groups.iter().enumerate().filter(|(_, group)| group.mps.run_by == RunBy::Us);
    let of_groups = groups.flat_map(|(index, group)| {
        let path = |key: &str| format!("group[{index}].mps.{key}");
        [
            (path("pipe_directory"), "pipe_directory", &group.mps.pipe_directory, Holds::Sockets),
            (path("log_directory"), "log_directory", &group.mps.log_directory, Holds::Files),
        ]
    });
    let state = ("state_directory".to_owned(), "state_directory", &configuration.state_directory, Holds::Files);
    let of = |(path, key, directory, holds): (String, &'static str, &PathBuf, Holds)| {
        let written = configuration.places.at.contains_key(&path);
        let what = match files::check_directory(key, directory, holds) {
            Err(untrusted) => Some((untrusted.to_string(), "or name another directory")),
            Ok(()) => cannot_be_made(key, directory, written),
        };
        what.map(|(what, hint)| configuration.places.warning(&path, what, hint))
    };
    std::iter::once(state).chain(of_groups).filter_map(of).collect()
}

/// Control daemons that others run and that are not there now.
fn daemons_of_others(configuration: &Configuration) -> Vec<Problem> {
    let groups = configuration.groups.iter().enumerate().filter(|(_, group)| group.mps.run_by == RunBy::Others);
    let missing = groups.filter_map(|(index, group)| {
        let socket = group.mps.pipe_directory.join("control");
        let error = socket.symlink_metadata().err()?;
        let what = format!("there is no control daemon at {} now: {error}", socket.display());
        let hint = "it is waited for; or name the CUDA_MPS_PIPE_DIRECTORY of the daemon that is to be watched";
        Some(configuration.places.warning(&format!("group[{index}].mps.pipe_directory"), what, hint))
    });
    missing.collect()
}

/// Gates for which nothing can be written in the pipe directory of others.
fn gates_of_others(configuration: &Configuration) -> Vec<Problem> {
    let groups = configuration.groups.iter().enumerate();
    let gated = groups.filter(|(_, group)| group.mps.gate && group.mps.run_by == RunBy::Others);
    let shut = gated.filter_map(|(index, group)| {
        let directory = &group.mps.pipe_directory;
        let error = access(directory, AccessFlags::W_OK).err().filter(|error| *error != Errno::ENOENT)?;
        let what = format!("the gate's socket can't be made in {}: {error}", directory.display());
        let hint = "mount the directory so that it can be written, or leave `gate` out";
        Some(configuration.places.warning(&format!("group[{index}].mps.gate"), what, hint))
    });
    shut.collect()
}

/// Why a directory could not be made, and the cure; `None`: it could, or is there.
fn cannot_be_made(key: &str, directory: &Path, written: bool) -> Option<(String, &'static str)> {
    let there = directory.ancestors().find(|above| above.metadata().is_ok())?;
    let (shown, at) = (directory.display(), there.display());
    if !there.is_dir() {
        return Some((format!("{key} {shown} can't be made: {at} is no directory"), "name another directory"));
    }
    if access(there, AccessFlags::W_OK) == Err(Errno::EROFS) {
        return Some((format!("{key} {shown} can't be written: {at} is read-only"), "name another directory"));
    }
    let nothing = written && there == Path::new("/") && directory.components().count() > 2;
    let what = || format!("{key} {shown}: no part of it is there, and it would be made from the root of the disk");
    nothing.then(|| (what(), "make it, or look for a typing error"))
}

/// One that is not there yet is waited for.
fn kernel_log(configuration: &Configuration) -> Option<Problem> {
    let path = &configuration.kernel_log;
    let error = path.metadata().err().filter(|error| error.kind() == ErrorKind::NotFound)?;
    let what =
        format!("kernel_log {} can't be read: {error}; no Xid and no OOM kill is seen until it is", path.display());
    Some(configuration.places.warning("kernel_log", what, "name the device, or a file that syslog writes"))
}

/// Addresses that are none of this machine's. Whether a port is taken is not asked: perhaps by the mpswarden that runs.
fn addresses(configuration: &Configuration) -> Vec<Problem> {
    let foreign = configuration.web.listen_addresses.iter().filter(|address| {
        let bound = TcpListener::bind((address.ip(), 0));
        bound.is_err_and(|error| error.kind() == ErrorKind::AddrNotAvailable)
    });
    let warning = |address| {
        let what = format!("{address} is no address of this machine");
        configuration.places.warning("web.listen_addresses", what, "`ip address` shows those that are")
    };
    foreign.map(warning).collect()
}
