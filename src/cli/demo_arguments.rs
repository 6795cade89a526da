//! The command line of `mpswarden demo`: what is simulated, and which faults are injected. Touches nothing.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::arguments::{LogFormat, level, listen_address, telemetry_path};
use super::demo_faults::{self, KNOWN_FAULTS, KnownFault};
use crate::config::{nearest, units};

/// Time of the demo's first fault, if none is asked for, and from each to the next.
const FIRST_FAULT: Duration = Duration::from_secs(15);
const BETWEEN_FAULTS: Duration = Duration::from_secs(60);

/// The fault that the demo injects if none is asked for, and how often: more than the search for the culprit takes, less
/// than the culprit's own budget.
const USUAL_FAULT: &str = "illegal-address";
const USUAL_FAULTS: u32 = 5;

/// What a longer demo injects after these, in turn. None is searched for a culprit, and a group that served for
/// `stable_after`, 10 minutes, has its budget back: so a demo of a day still serves at its end.
const LATER_FAULTS: [&str; 4] = ["server-kill", "sigkill-idle", "control-kill", "device-oom"];
const BETWEEN_LATER_FAULTS: Duration = Duration::from_secs(15 * 60);

/// Options of `demo`.
#[derive(Clone, Debug, PartialEq, Args)]
#[command(after_help = demo_faults::help())]
pub struct DemoOptions {
    /// How many engines share the GPU.
    #[arg(long, value_name = "N", default_value = "3", value_parser = engines)]
    pub engines: usize,
    /// What the engines are like, down to what makes them hard to see: their environment is overwritten, gauges of an
    /// idle one stand still, and SGLang's health takes a second [default: mixed, with words and metrics alone].
    #[arg(long, value_name = "KIND", value_enum)]
    pub engines_like: Option<EnginesLike>,
    /// Which GPU and driver NVML speaks of.
    #[arg(long, value_name = "GPU", value_enum, default_value_t = GpuKind::H200)]
    pub gpu_like: GpuKind,
    /// Which driver's MPS daemon is played: r450, r470, r535, r580 or r615 [default: r580].
    #[arg(long, value_name = "DRIVER", value_enum)]
    pub driver_like: Option<DriverLike>,
    /// How long it lasts.
    #[arg(long = "for", value_name = "DURATION", default_value = "60s", value_parser = length)]
    pub length: Duration,
    /// A fault (see below), perhaps of one engine, and its time after the start; may be given several times.
    /// Without it: an illegal address after 15 s and every 60 s, five in all, into the first engine that runs; then every
    /// 15 minutes another fault.
    #[arg(long = "inject", value_name = "FAULT[:ENGINE]@TIME")]
    pub injections: Vec<Injection>,
    /// What the watchdog may do about faults.
    #[arg(long, value_name = "MODE", value_enum, default_value_t = DemoMode::Enforce)]
    pub mode: DemoMode,
    /// Print the configuration that the demo runs with, in place of playing it.
    #[arg(long)]
    pub print_config: bool,
    /// Address that HTTP listens on; may be given several times [default: 127.0.0.1:10677, or the next port that is
    /// free].
    #[arg(long = "web.listen-address", value_name = "ADDRESS", value_parser = listen_address)]
    pub listen: Vec<SocketAddr>,
    /// TLS, passwords and headers, in the format of Prometheus' exporter-toolkit.
    #[arg(long = "web.config.file", value_name = "FILE")]
    pub web_config_file: Option<PathBuf>,
    /// Where the metrics are.
    #[arg(long = "web.telemetry-path", value_name = "PATH", default_value = "/metrics", value_parser = telemetry_path)]
    pub telemetry_path: String,
    /// Where randomness comes from: the same number, the same story.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// The least level that is logged beside the story: error, warn, info, debug or trace [default: no event is logged,
    /// and of all else warnings].
    #[arg(long = "log.level", value_name = "LEVEL", value_parser = level)]
    pub log_level: Option<tracing::Level>,
    /// How a log line looks.
    #[arg(long = "log.format", value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// What the demo's watchdog may do about faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DemoMode {
    /// Faults are acted on.
    Enforce,
    /// Faults are only reported, with what would be done.
    Observe,
}

/// Whose MPS daemon the demo plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DriverLike {
    /// Driver 450: no client has a name in the log.
    R450,
    /// Driver 470: the same.
    R470,
    /// Driver 535: the same, and servers that can't start say so as `Legacy Server`.
    R535,
    /// Driver 580.
    R580,
    /// Driver 615.
    R615,
}

/// What the demo's engines are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EnginesLike {
    /// vLLM 0.25.
    Vllm,
    /// SGLang 0.5.
    Sglang,
    /// Two like vLLM, the third like SGLang, and so on.
    Mixed,
}

/// Which GPU and driver the demo's NVML speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GpuKind {
    /// An H200 with driver 580.
    H200,
    /// A GB10, which has no figure of its memory.
    Gb10,
    /// A driver before 510: no list of MPS clients, no recovery action.
    #[value(name = "pre-510")]
    Pre510,
    /// A vGPU: no lists of processes, no events.
    Vgpu,
    /// A driver 615.
    R615,
    /// A container in which NVML lists no processes.
    Container,
    /// A container in which NVML lists the host's pids.
    HostPids,
}

/// A fault that the demo injects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injection {
    /// One of [`KNOWN_FAULTS`].
    pub fault: KnownFault,
    /// Name of the engine; `None`: the demo chooses.
    pub engine: Option<String>,
    /// Time after the demo's start.
    pub at: Duration,
}

impl DemoOptions {
    /// The injections by time: what was asked for, else the usual ones.
    pub fn schedule(&self) -> Vec<Injection> {
        let mut schedule = if self.injections.is_empty() { self.usual() } else { self.injections.clone() };
        schedule.sort_by_key(|injection| injection.at);
        schedule
    }

    /// What is injected if nothing is asked for: an illegal address some times, then other faults in turn.
    fn usual(&self) -> Vec<Injection> {
        let first = (0..USUAL_FAULTS).map(|number| (USUAL_FAULT, FIRST_FAULT + BETWEEN_FAULTS * number));
        let last = FIRST_FAULT + BETWEEN_FAULTS * (USUAL_FAULTS - 1);
        let times = (1..).map(|number| last + BETWEEN_LATER_FAULTS * number);
        let all = first.chain(LATER_FAULTS.into_iter().cycle().zip(times));
        let in_time = all.take_while(|(_, at)| *at < self.length);
        in_time.filter_map(|(name, at)| Some(Injection { fault: KnownFault::named(name)?, engine: None, at })).collect()
    }

    /// Why it can't be played, with the cure: a fault whose time is not before its end.
    pub fn refusal(&self) -> Option<String> {
        let late = self.injections.iter().filter(|injection| injection.at >= self.length).max_by_key(|late| late.at)?;
        Some(format!(
            "--inject {late} comes after the end of the demo, which lasts {}: inject it sooner, or give --for {}",
            units::write_duration(self.length),
            units::write_duration(late.seen_at())
        ))
    }

    /// Faults that are injected too late to be seen before the end.
    pub fn unseen(&self) -> Vec<Injection> {
        self.schedule().into_iter().filter(|injection| injection.seen_at() > self.length).collect()
    }
}

impl Injection {
    /// Time after the demo's start at which it is seen, at the latest; to the whole second.
    pub fn seen_at(&self) -> Duration {
        let at = self.at + self.fault.seen_within().unwrap_or(Duration::from_secs(1));
        Duration::from_secs(at.as_secs() + u64::from(at.subsec_nanos() > 0))
    }
}

impl fmt::Display for Injection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let engine = self.engine.as_ref().map(|engine| format!(":{engine}")).unwrap_or_default();
        write!(f, "{}{engine}@{}", self.fault.name, units::write_duration(self.at))
    }
}

impl FromStr for Injection {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (what, at) = text.rsplit_once('@').ok_or("FAULT[:ENGINE]@TIME, as in trap:engine-1@15s")?;
        let (fault, engine) = match what.split_once(':') {
            Some((fault, engine)) => (fault, Some(engine.to_owned())),
            None => (what, None),
        };
        let names = || KNOWN_FAULTS.iter().map(|known| known.name);
        let Some(fault) = KnownFault::named(fault) else {
            return Err(match nearest(fault, names()) {
                Some(known) => format!("no such fault; did you mean {known}?"),
                None => format!("no such fault; there are {}", names().collect::<Vec<_>>().join(", ")),
            });
        };
        if engine.as_ref().is_some_and(String::is_empty) {
            return Err("name the engine after the colon, or leave both out".to_owned());
        }
        Ok(Injection { fault, engine, at: length(at)? })
    }
}

fn length(text: &str) -> Result<Duration, String> {
    units::duration(text).ok_or_else(|| units::DURATION_HINT.to_owned())
}

fn engines(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| (1..=16).contains(count)).ok_or_else(|| "1 to 16".to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::wildcard_enum_match_arm)]
mod tests {
    use std::ffi::OsString;

    use super::super::arguments::{Arguments, Command, LogFormat};
    use super::super::exit::ExitStatus;
    use super::*;

    fn demo(line: &str) -> DemoOptions {
        let argv: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        match Arguments::read(&argv).map(|arguments| arguments.command) {
            Ok(Command::Demo(options)) => options,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_the_demo_does_not_know_ends_with_64_and_its_help_with_0() {
        let read = |line: &str| Arguments::read(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert_eq!(read("mpswarden demo --engines 0").unwrap_err(), ExitStatus::Usage);
        assert_eq!(read("mpswarden demo --help").unwrap_err(), ExitStatus::Success);
    }

    #[test]
    fn the_demo_has_the_promised_defaults() {
        let options = demo("mpswarden demo");
        assert_eq!((options.engines, options.length), (3, Duration::from_secs(60)));
        assert_eq!((options.listen, options.mode), (Vec::new(), DemoMode::Enforce));
        assert_eq!(options.telemetry_path, "/metrics");
        assert_eq!((options.log_level, options.log_format), (None, LogFormat::Text));
    }

    #[test]
    fn without_injections_an_illegal_address_comes_after_15_s_and_every_60_s() {
        let times = |line| demo(line).schedule().iter().map(|injection| injection.at.as_secs()).collect::<Vec<_>>();
        assert_eq!(times("mpswarden demo"), [15]);
        assert_eq!(times("mpswarden demo --for 140s"), [15, 75, 135]);
        assert!(times("mpswarden demo --for 10s").is_empty());
        assert_eq!(times("mpswarden demo --for 1h"), [15, 75, 135, 195, 255, 1155, 2055, 2955]);
        assert_eq!(times("mpswarden demo --inject trap@9s --inject server-kill@2s"), [2, 9]);
    }

    #[test]
    fn a_demo_of_a_day_has_no_more_faults_than_its_budgets_bear() {
        let schedule = demo("mpswarden demo --for 24h").schedule();
        assert_eq!(schedule.len(), 5 + 95);
        let searched = schedule.iter().filter(|injection| injection.fault.name == USUAL_FAULT).count();
        assert_eq!(searched, 5);
        assert!(LATER_FAULTS.iter().all(|name| KnownFault::named(name).is_some()));
    }

    #[test]
    fn what_comes_after_the_end_is_refused_with_the_cure() {
        let refusal = demo("mpswarden demo --inject trap@10s --inject hang:qwen-a@70s").refusal().unwrap();
        assert_eq!(
            refusal,
            "--inject hang:qwen-a@70s comes after the end of the demo, which lasts 1m: inject it sooner, or give --for 90s"
        );
        assert_eq!(demo("mpswarden demo --inject hang@50s").refusal(), None);
    }

    #[test]
    fn what_can_not_be_seen_before_the_end_is_known() {
        let unseen = |line| demo(line).unseen().iter().map(Injection::to_string).collect::<Vec<_>>();
        let none: [&str; 0] = [];
        assert_eq!(unseen("mpswarden demo --inject hang@50s --inject trap@50s"), ["hang@50s"]);
        assert_eq!(unseen("mpswarden demo --inject hang@15s --inject leak@15s --inject starve@15s"), none);
        assert_eq!(unseen("mpswarden demo"), none);
    }

    #[test]
    fn engines_are_like_real_ones_where_that_is_asked_for() {
        assert_eq!(demo("mpswarden demo").engines_like, None);
        assert_eq!(demo("mpswarden demo --engines-like sglang").engines_like, Some(EnginesLike::Sglang));
    }

    #[test]
    fn an_injection_names_a_fault_an_engine_and_a_time() {
        let injection: Injection = "trap:engine-1@2500ms".parse().unwrap();
        let at = Duration::from_millis(2500);
        let fault = KnownFault::named("trap").unwrap();
        assert_eq!(injection, Injection { fault, engine: Some("engine-1".to_owned()), at });
        assert_eq!(injection.to_string(), "trap:engine-1@2500ms");
        for (wrong, cure) in [
            ("trap", "FAULT[:ENGINE]@TIME"),
            ("trapp@1s", "did you mean trap?"),
            ("gremlin@1s", "there are illegal-address"),
            ("trap:@1s", "name the engine"),
            ("trap@soon", "a whole number"),
        ] {
            let told = wrong.parse::<Injection>().unwrap_err();
            assert!(told.contains(cure), "{wrong}: {told}");
        }
    }
}
