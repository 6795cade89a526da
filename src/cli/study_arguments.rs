//! The command line of `mpswarden study`: what is studied and over which grid. Touches nothing.

use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::RangedU64ValueParser;
use clap::{Args, Subcommand};

/// Options of `study`.
#[derive(Clone, Debug, PartialEq, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct StudyOptions {
    /// What is done with studies that were made.
    #[command(subcommand)]
    pub command: Option<StudyCommand>,
    /// The configuration.
    #[arg(long, value_name = "FILE", required_unless_present = "demo", conflicts_with = "demo")]
    pub config: Option<PathBuf>,
    /// The group whose engines are studied; may be left out where there is only one. No watchdog may serve it.
    #[arg(long, value_name = "NAME", conflicts_with = "demo")]
    pub group: Option<String>,
    /// Study simulated engines on a simulated GPU.
    #[arg(long, hide = cfg!(not(feature = "demo")))]
    pub demo: bool,
    /// How many engines share the simulated GPU.
    #[arg(long, value_name = "N", hide = cfg!(not(feature = "demo")), requires = "demo", conflicts_with = "config", value_parser = RangedU64ValueParser::<usize>::new().range(1..=16))]
    pub engines: Option<usize>,
    /// Prompt lengths in tokens [default: 128,1024,4096; with --demo: 16,1024].
    #[arg(long, value_name = "N,N,...", value_delimiter = ',', value_parser = RangedU64ValueParser::<u32>::new().range(1..=1 << 20))]
    pub prompts: Vec<u32>,
    /// Output lengths in tokens; 1: prefill only [default: 1,128; with --demo: 1,32].
    #[arg(long, value_name = "N,N,...", value_delimiter = ',', value_parser = RangedU64ValueParser::<u32>::new().range(1..=16384))]
    pub outputs: Vec<u32>,
    /// Requests in flight to each engine that has work [default: 1,8; with --demo: 4].
    #[arg(long, value_name = "N,N,...", value_delimiter = ',', value_parser = RangedU64ValueParser::<u32>::new().range(1..=1024))]
    pub concurrency: Vec<u32>,
    /// Requests a second to each engine, at random times, in place of requests that follow each other: --concurrency then
    /// bounds those in flight.
    #[arg(long, value_name = "N", value_parser = rate)]
    pub rate: Option<f64>,
    /// Numbers of engines that are tried together, the first of the group each time [default: all of them].
    #[arg(long, value_name = "N,N,...", value_delimiter = ',', value_parser = RangedU64ValueParser::<usize>::new().range(1..=48))]
    pub engines_swept: Vec<usize>,
    /// Active thread percentages that all engines are tried with [default: those of the configuration].
    #[arg(long, value_name = "P,P,...", value_delimiter = ',', value_parser = percentage)]
    pub percentages: Vec<f64>,
    /// Seconds of each run that count, at least [default: 5; with --demo: 0.5].
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub seconds: Option<f64>,
    /// Seconds of load before them, at least [default: 1; with --demo: 0.5].
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub warm_up: Option<f64>,
    /// Upper bound of the seconds until a run's rate is steady, and of those that count, each [default: 60; with --demo: 10].
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub longest: Option<f64>,
    /// Runs of each arrangement in each cell [default: 3].
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<u32>::new().range(3..=100))]
    pub repeats: Option<u32>,
    /// Where study.html, study.json and baselines.json go [default: study-GROUP].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Where the baselines are kept for `run`, or `none` [default: where `run` looks for them; with --demo: none].
    #[arg(long, value_name = "PATH|none")]
    pub baselines: Option<KeepBaselines>,
}

/// What can be done with studies that were made.
#[derive(Clone, Debug, PartialEq, Subcommand)]
pub enum StudyCommand {
    /// Show several studies beside each other: models, GPUs or settings, at the loads that they have in common.
    Compare(CompareOptions),
}

/// Options of `study compare`.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct CompareOptions {
    /// Studies: a study.json or the directory that has it, with a name of its own where that of its model won't do.
    #[arg(required = true, value_name = "[NAME=]STUDY", num_args = 1..=MOST_STUDIES)]
    pub studies: Vec<NamedStudy>,
    /// Write the comparison as a page to this file, too.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Print it as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Most studies of a comparison: more lines can't be told apart.
const MOST_STUDIES: usize = 24;

/// A study of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedStudy {
    /// Name that it was given.
    pub name: Option<String>,
    /// Path of its file or of the directory that has it.
    pub path: PathBuf,
}

impl FromStr for NamedStudy {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            // A path may have the sign, too.
            Some((name, path)) if !name.contains('/') && !path.is_empty() && !name.is_empty() => {
                Ok(NamedStudy { name: Some(name.to_owned()), path: path.into() })
            }
            _ if text.is_empty() => Err("a path, or a name, = and a path"),
            _ => Ok(NamedStudy { name: None, path: text.into() }),
        }
    }
}

/// Where baselines are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeepBaselines {
    /// Keep no baselines.
    None,
    /// Keep the baselines in this file.
    File(PathBuf),
}

impl FromStr for KeepBaselines {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(if text == "none" { KeepBaselines::None } else { KeepBaselines::File(text.into()) })
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (0.01..=100_000.0).contains(number));
    number.ok_or_else(|| "a number of requests a second from 0.01 to 100000".to_owned())
}

fn percentage(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| *number > 0.0 && *number <= 100.0);
    number.ok_or_else(|| "a percentage over 0, up to 100".to_owned())
}

fn seconds(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (0.1..=3600.0).contains(number));
    number.ok_or_else(|| "a number of seconds from 0.1 to 3600".to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::wildcard_enum_match_arm)]
mod tests {
    use super::super::arguments::{Arguments, Command};
    use super::super::exit::ExitStatus;
    use super::*;

    fn study(line: &str) -> Result<StudyOptions, ExitStatus> {
        let argv: Vec<_> = line.split(' ').map(std::ffi::OsString::from).collect();
        match Arguments::read(&argv)?.command {
            Command::Study(options) => Ok(*options),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_grid_is_written_with_commas() {
        let line = "mpswarden study --config f --group g --prompts 16,64 --outputs 1 --concurrency 2,4 --seconds 2.5";
        let options = study(line).unwrap();
        assert_eq!((options.prompts, options.outputs, options.concurrency), (vec![16, 64], vec![1], vec![2, 4]));
        assert_eq!((options.seconds, options.repeats, options.demo), (Some(2.5), None, false));
    }

    #[test]
    fn studies_are_compared_by_their_paths_and_names() {
        let Some(StudyCommand::Compare(options)) =
            study("mpswarden study compare a 3B=b/study.json ./x=y --json").unwrap().command
        else {
            panic!("no comparison")
        };
        let told: Vec<_> =
            options.studies.iter().map(|one| (one.name.as_deref(), one.path.to_str().unwrap())).collect();
        assert_eq!(told, [(None, "a"), (Some("3B"), "b/study.json"), (None, "./x=y")]);
        assert!(options.json && options.html.is_none());
    }

    #[test]
    fn baselines_are_kept_in_a_file_or_not_at_all() {
        let kept = |word: &str| study(&format!("mpswarden study --demo --baselines {word}")).unwrap().baselines;
        assert_eq!(kept("none"), Some(KeepBaselines::None));
        assert_eq!(kept("/b.json"), Some(KeepBaselines::File("/b.json".into())));
    }

    #[test]
    fn wrong_lines_end_with_64() {
        for rest in [
            "",
            "--demo --config f",
            "--config f --engines 2",
            "--demo --engines 0",
            "--demo --prompts 0",
            "--demo --outputs 1,x",
            "--demo --seconds 0",
            "--demo --seconds nan",
            "--demo --repeats 0",
            "compare",
            "--demo compare a",
            "compare a --prompts 1",
        ] {
            assert_eq!(study(&format!("mpswarden study {rest}")).unwrap_err(), ExitStatus::Usage, "{rest}");
        }
    }
}
