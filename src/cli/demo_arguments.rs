//! The command line of `mpswarden demo`: what is simulated, and which faults are injected. Touches nothing.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::arguments::{LogOptions, listen_address, telemetry_path};
use crate::config::{DEFAULT_LISTEN, nearest, units};

/// What `demo --inject` can do to the simulated group.
pub const INJECTIONS: [&str; 40] = [
    "illegal-address",
    "trap",
    "linger",
    "sigkill-busy",
    "sigkill-idle",
    "device-oom",
    "host-oom",
    "leak",
    "hang",
    "stop",
    "stop-core",
    "dead-core",
    "starve",
    "zombie",
    "server-kill",
    "server-cannot-start",
    "server-starts",
    "evict",
    "newcomers-hang",
    "control-kill",
    "control-wedge",
    "outside-mps",
    "foreign-process",
    "foreign-fault",
    "term-hangs",
    "abort-all",
    "echo",
    "echo-flood",
    "xid-79",
    "reset-needed",
    "gpu-repaired",
    "nvml-hang",
    "nvml-error",
    "nvml-well",
    "nvml-reset-required",
    "nvml-lost",
    "bus-reset-needed",
    "system-reboot-needed",
    "imex-domain",
    "unknown-action",
];

/// Time of the demo's first fault, if none is asked for, and from each to the next.
const FIRST_FAULT: Duration = Duration::from_secs(15);
const BETWEEN_FAULTS: Duration = Duration::from_secs(60);

/// Options of `demo`.
#[derive(Clone, Debug, PartialEq, Args)]
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
    /// A fault, perhaps of one engine, and its time after the start; may be given several times.
    /// Without it: an illegal address after 15 s and every 60 s.
    #[arg(long = "inject", value_name = "FAULT[:ENGINE]@TIME")]
    pub injections: Vec<Injection>,
    /// Address that HTTP listens on; may be given several times.
    #[arg(long = "web.listen-address", value_name = "ADDRESS", value_parser = listen_address,
          default_values_t = [DEFAULT_LISTEN])]
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
    /// Options of the log.
    #[command(flatten)]
    pub log: LogOptions,
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
    /// One of [`INJECTIONS`].
    pub fault: String,
    /// Name of the engine; `None`: the demo chooses.
    pub engine: Option<String>,
    /// Time after the demo's start.
    pub at: Duration,
}

impl DemoOptions {
    /// The injections by time: what was asked for, else an illegal address after 15 s and every 60 s.
    pub fn schedule(&self) -> Vec<Injection> {
        let mut schedule = self.injections.clone();
        let mut at = FIRST_FAULT;
        while self.injections.is_empty() && at < self.length {
            schedule.push(Injection { fault: "illegal-address".to_owned(), engine: None, at });
            at += BETWEEN_FAULTS;
        }
        schedule.sort_by_key(|injection| injection.at);
        schedule
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
        if !INJECTIONS.contains(&fault) {
            return Err(match nearest(fault, INJECTIONS) {
                Some(known) => format!("no such fault; did you mean {known}?"),
                None => format!("no such fault; there are {}", INJECTIONS.join(", ")),
            });
        }
        if engine.as_ref().is_some_and(String::is_empty) {
            return Err("name the engine after the colon, or leave both out".to_owned());
        }
        Ok(Injection { fault: fault.to_owned(), engine, at: length(at)? })
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
        assert_eq!(options.listen, [DEFAULT_LISTEN]);
        assert_eq!(options.telemetry_path, "/metrics");
        assert_eq!((options.log.level, options.log.format), (tracing::Level::INFO, LogFormat::Text));
    }

    #[test]
    fn without_injections_an_illegal_address_comes_after_15_s_and_every_60_s() {
        let times = |line| demo(line).schedule().iter().map(|injection| injection.at.as_secs()).collect::<Vec<_>>();
        assert_eq!(times("mpswarden demo"), [15]);
        assert_eq!(times("mpswarden demo --for 140s"), [15, 75, 135]);
        assert!(times("mpswarden demo --for 10s").is_empty());
        assert_eq!(times("mpswarden demo --inject trap@9s --inject server-kill@2s"), [2, 9]);
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
        assert_eq!(injection, Injection { fault: "trap".to_owned(), engine: Some("engine-1".to_owned()), at });
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
