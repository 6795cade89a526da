//! What the command line and the configuration order a study of: its group, grid and files. Starts nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::cli::{KeepBaselines, StudyOptions};
use crate::config::{self, Configuration, GroupConfiguration, RunBy};
use crate::host::evidence;
use crate::study::StudyFiles;
use crate::study::results::Plan;

use super::refusal::Refusal;

/// Everything that is said before the first engine starts.
pub(super) struct StudyOrder {
    /// Configuration of the one group that is studied.
    pub configuration: Configuration,
    pub plan: Plan,
    pub files: StudyFiles,
    /// Where they are kept for `run`.
    pub baselines: Option<PathBuf>,
    /// The driver's version.
    pub driver: Option<String>,
}

impl StudyOrder {
    /// The order for a group of `configuration`.
    pub(super) fn of_group(mut configuration: Configuration, options: &StudyOptions) -> Result<StudyOrder, Refusal> {
        let group = chosen(&configuration.groups, options.group.as_deref())?;
        let baselines = match &options.baselines {
            None => Some(group.baselines.clone()),
            Some(KeepBaselines::None) => None,
            Some(KeepBaselines::File(path)) => Some(path.clone()),
        };
        if group.mps.run_by == RunBy::Others {
            let what = format!("the control daemon of `{}` is run by others, and a study starts its own", group.name);
            return Err(Refusal::usage(format!("{what}: give a group of mps.control = \"own\"")));
        }
        if let Some(theirs) = group.engines.iter().find(|engine| engine.external.is_some()) {
            let what =
                format!("{}/{} is started by others, and a study starts its engines itself", group.name, theirs.name);
            return Err(Refusal::usage(format!("{what}: give a group whose engines have a `command`")));
        }
        if let Some(most) = options.engines_swept.iter().find(|engines| **engines > group.engines.len()) {
            let there = group.engines.len();
            return Err(Refusal::usage(format!(
                "--engines-swept has {most}, and group `{}` has {there} engines",
                group.name
            )));
        }
        let files = files(options, &group)?;
        configuration.groups = vec![group];
        Ok(StudyOrder { configuration, plan: plan(options), files, baselines, driver: driver_version() })
    }

    #[cfg(feature = "demo")]
    /// The order for the simulated stage's only group: it is not run later, so its baselines are kept where it is asked
    /// for.
    pub(super) fn of_demo(configuration: Configuration, options: &StudyOptions) -> Result<StudyOrder, Refusal> {
        let nowhere = options.baselines.clone().unwrap_or(KeepBaselines::None);
        let options = StudyOptions { baselines: Some(nowhere), ..options.clone() };
        Ok(StudyOrder { driver: None, ..StudyOrder::of_group(configuration, &options)? })
    }
}

/// The group of that name; without a name, the only one.
fn chosen(groups: &[GroupConfiguration], name: Option<&str>) -> Result<GroupConfiguration, Refusal> {
    let names: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
    let cure = |name: &str| match config::nearest(name, names.iter().copied()) {
        Some(known) => format!("did you mean `{known}`?"),
        None => format!("there are {}", names.join(", ")),
    };
    match (name, groups) {
        (None, [only]) => Ok(only.clone()),
        (None, _) => Err(Refusal::usage(format!("name one of the groups with --group: {}", names.join(", ")))),
        (Some(name), _) => {
            let found = groups.iter().find(|group| group.name.as_str() == name).cloned();
            found.ok_or_else(|| Refusal::configuration(format!("there is no group `{name}`; {}", cure(name))))
        }
    }
}

fn files(options: &StudyOptions, group: &GroupConfiguration) -> Result<StudyFiles, Refusal> {
    let directory = options.out.clone().unwrap_or_else(|| PathBuf::from(format!("study-{}", group.name)));
    StudyFiles::in_directory(&directory)
        .map_err(|error| Refusal::io(&format!("write into `{}` (see --out)", directory.display()), &error))
}

fn plan(options: &StudyOptions) -> Plan {
    let or = |given: &[u32], real: &[u32], demo: &[u32]| match (given, options.demo) {
        ([], false) => real.to_vec(),
        ([], true) => demo.to_vec(),
        (given, _) => given.to_vec(),
    };
    // A load that is named twice is one.
    let once = |mut values: Vec<u32>| {
        let mut seen = BTreeSet::new();
        values.retain(|value| seen.insert(*value));
        values
    };
    let pick = |real: f64, demo: f64| if options.demo { demo } else { real };
    Plan {
        prompts: once(or(&options.prompts, &[128, 1024, 4096], &[16, 1024])),
        outputs: once(or(&options.outputs, &[1, 128], &[1, 32])),
        concurrencies: once(or(&options.concurrency, &[1, 8], &[4])),
        seconds: options.seconds.unwrap_or(pick(5.0, 0.5)),
        warm_up: options.warm_up.unwrap_or(pick(1.0, 0.5)),
        longest: options.longest.unwrap_or(pick(60.0, 10.0)),
        repeats: options.repeats.unwrap_or(3),
        rate: options.rate,
        engines_swept: options.engines_swept.clone(),
        percentages: options.percentages.clone(),
    }
}

/// The driver's version as the kernel module gives it: the first word that is all digits and dots.
fn driver_version() -> Option<String> {
    let text = evidence::whole(Path::new("/proc/driver/nvidia/version"), 4096).ok()?;
    let is_version = |word: &&str| word.contains('.') && word.chars().all(|c| c.is_ascii_digit() || c == '.');
    text.split_whitespace().find(is_version).map(str::to_owned)
}
