//! The command line of `mpswarden study`: what is studied and over which grid. Touches nothing.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use clap::builder::RangedU64ValueParser;

/// Options of `study`.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct StudyOptions {
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
            Command::Study(options) => Ok(options),
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
        ] {
            assert_eq!(study(&format!("mpswarden study {rest}")).unwrap_err(), ExitStatus::Usage, "{rest}");
        }
    }
}
