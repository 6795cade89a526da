//! Loads a configuration file and checks what it names on this machine: users and environment files.
//! Reads, and changes nothing.

use std::path::Path;

use nix::unistd::{AccessFlags, User, access};

use super::baselines::read_baselines;
use super::configuration::{Configuration, EngineConfiguration};
use super::keys::parse;
use super::problem::{Places, Problem, Problems};
use crate::files::{self, Links};

/// The largest file that is read: one that never ends must not fill the memory.
const LARGEST: u64 = 1 << 20;

/// The configuration in `path`, or everything that is wrong with it.
pub fn load(path: &Path) -> Result<Configuration, Problems> {
    checked(path, baselines)
}

/// The same for a study, which writes the baselines and reads none: the file that is named may not be there yet.
pub fn load_for_study(path: &Path) -> Result<Configuration, Problems> {
    checked(path, |_, _| ())
}

fn checked(
    path: &Path,
    baselines: impl FnOnce(&mut Configuration, &mut Vec<Problem>),
) -> Result<Configuration, Problems> {
    let text = read(path)?;
    let mut configuration = parse(&text, path)?;
    let mut problems = Vec::new();
    hooks(&configuration, &mut problems);
    baselines(&mut configuration, &mut problems);
    for (group_index, group) in configuration.groups.iter().enumerate() {
        for (index, engine) in group.engines.iter().enumerate() {
            let path = format!("group[{group_index}].engine[{index}]");
            user(&configuration.places, &path, engine, &mut problems);
            environment_file(&configuration.places, &path, engine, &mut problems);
        }
    }
    Problems::or(path, problems, configuration)
}

fn read(path: &Path) -> Result<String, Problems> {
    let unreadable =
        |error| Problems::of_file(path, format!("can't be read: {error}"), "name a file that this user may read");
    let bytes = match files::read(path, Links::Followed, LARGEST) {
        Ok(bytes) => bytes,
        // It would block or never end, also at a reload.
        Err(error) if error.kind() == std::io::ErrorKind::Other => {
            return Err(Problems::of_file(path, format!("can't be read: {error}"), "name a TOML file"));
        }
        Err(error) => return Err(unreadable(error)),
    };
    String::from_utf8(bytes).map_err(|error| {
        let upto = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = upto.iter().filter(|byte| **byte == b'\n').count() + 1;
        Problems::of_file(path, format!("line {line} is not UTF-8"), "save the file as UTF-8")
    })
}

/// Reads the baselines that studies measured. A file that is missing where the configuration names none was never
/// written.
fn baselines(configuration: &mut Configuration, problems: &mut Vec<Problem>) {
    for (index, group) in configuration.groups.iter_mut().enumerate() {
        let file = &group.baselines;
        let usual = Configuration::default_baselines(&configuration.state_directory, group.name.as_str());
        let what = match read_baselines(file) {
            Ok(Some(found)) => {
                group.overlap.baselines.extend(found);
                continue;
            }
            Ok(None) if *file == usual => continue,
            Ok(None) => "is not there, or not for this user to see".to_owned(),
            Err(why) => why,
        };
        let (path, what) = (format!("group[{index}].overlap.baselines"), format!("{} {what}", file.display()));
        problems.push(configuration.places.problem(&path, what, "a file that `mpswarden study` wrote"));
    }
}

/// A typo in a command must not wait to be found until a person should have been called.
fn hooks(configuration: &Configuration, problems: &mut Vec<Problem>) {
    for (hook, command) in &configuration.hooks {
        let Some(program) = command.first().filter(|program| !can_be_run(program)) else { continue };
        let what = format!("the program {program:?} of {hook} was not found, or may not be executed");
        let hint = "install it, give its full path, or chmod +x";
        problems.push(configuration.places.problem(&format!("hooks.{hook}"), what, hint));
    }
}

fn can_be_run(program: &str) -> bool {
    let fine = |path: &Path| path.is_file() && access(path, AccessFlags::X_OK).is_ok();
    match program.contains('/') {
        true => fine(Path::new(program)),
        false => {
            std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|at| fine(&at.join(program))))
        }
    }
}

fn user(places: &Places, path: &str, engine: &EngineConfiguration, problems: &mut Vec<Problem>) {
    let Some(user) = &engine.user else { return };
    let what = match User::from_name(user) {
        Ok(Some(_)) => return,
        Ok(None) => format!("there is no user {user:?}"),
        Err(error) => format!("the user {user:?} can't be looked up: {error}"),
    };
    let hint = "create it, or leave `user` out for mpswarden's own";
    problems.push(places.problem(&format!("{path}.user"), what, hint));
}

fn environment_file(places: &Places, path: &str, engine: &EngineConfiguration, problems: &mut Vec<Problem>) {
    let Some(file) = &engine.environment_file else { return };
    let what = match files::open(file, Links::Followed) {
        Ok(_) => return,
        Err(error) => format!("{} can't be read: {error}", file.display()),
    };
    let hint = "KEY=value lines, readable by mpswarden";
    problems.push(places.problem(&format!("{path}.environment_file"), what, hint));
}
