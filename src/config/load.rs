//! Loads a configuration file and checks what it names on this machine.
//! Reads, and changes nothing.

use std::path::Path;

use super::baselines::read_baselines;
use super::configuration::Configuration;
use super::keys::{parse, read_whole};
use super::machine;
use super::problem::{Problem, Problems, Weight};
use crate::files::{self, Links};

/// The largest file that is read: one that never ends must not fill the memory.
const LARGEST: u64 = 1 << 20;

/// A file as `check` sees it.
#[derive(Debug)]
pub struct Examined {
    /// The configuration as far as it could be read.
    pub configuration: Configuration,
    /// Mistakes and warnings, in the file's order.
    pub problems: Vec<Problem>,
}

impl Examined {
    /// Adds warnings, in their places. Of what is a mistake already nothing more is said.
    pub fn warn(&mut self, warnings: impl IntoIterator<Item = Problem>) {
        let mistaken = |place| self.problems.iter().any(|one| one.place == place && one.weight != Weight::Warning);
        let warnings = warnings.into_iter().map(|warning| Problem { weight: Weight::Warning, ..warning });
        let new: Vec<Problem> = warnings.filter(|warning| !mistaken(warning.place)).collect();
        self.problems.extend(new);
        self.problems.sort_by_key(|problem| problem.place);
        self.problems.dedup();
    }

    /// Whether the file is wrong, and not only doubted.
    pub fn is_mistaken(&self) -> bool {
        self.problems.iter().any(|problem| problem.weight != Weight::Warning)
    }
}

/// Everything that is wrong with the file in `path`, and everything that would fail later on this machine. The error: it
/// can't be read at all.
pub fn examine(path: &Path) -> Result<Examined, Problems> {
    let (configuration, problems) = read_whole(&read(path)?, path);
    let mut examined = Examined { configuration, problems };
    let mut refused = machine::refused(&examined.configuration);
    baselines(&mut examined.configuration, &mut refused);
    examined.warn(refused.into_iter().map(Problem::for_check));
    examined.warn(machine::lacking(&examined.configuration));
    examined.warn(examined.configuration.doubts());
    Ok(examined)
}

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
    let mut problems = machine::refused(&configuration);
    baselines(&mut configuration, &mut problems);
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
