//! The faults that a stage can bring about, by the names that `demo --inject` takes, and how.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::control::server::{FAILS, NEWCOMERS_HANG};
use super::crowd;
use super::engine::QUESTION;
use super::stage::Stage;

/// Upper bound for an engine's answer to the stage; then it is taken for hung.
const ANSWER: Duration = Duration::from_secs(5);

/// Files beside the NVML library that make its calls hang, or fail, while they are there.
const NVML_HANG: &str = "nvml.hang";
const NVML_ERROR: &str = "nvml.error";

macro_rules! injections {
    ($($(#[$meta:meta])* $variant:ident = $text:literal,)+) => {
        /// A fault of the stage.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Injection {
            $($(#[$meta])* $variant,)+
        }

        impl Injection {
            /// All of them.
            pub const ALL: &'static [Injection] = &[$(Injection::$variant),+];

            /// The one spelling.
            pub const fn as_str(self) -> &'static str {
                match self { $(Injection::$variant => $text),+ }
            }
        }
    };
}

injections! {
    /// A kernel of the engine touches memory that is not there: error 700 for the group.
    IllegalAddress = "illegal-address",
    /// A kernel of the engine traps: error 719 for the group.
    Trap = "trap",
    /// Like an illegal address, but every engine catches the error and lives on.
    Linger = "linger",
    /// The engine's GPU process is killed with a long kernel in flight.
    SigkillBusy = "sigkill-busy",
    /// The engine's GPU process is killed with none.
    SigkillIdle = "sigkill-idle",
    /// The engine runs out of device memory.
    DeviceOom = "device-oom",
    /// The kernel's OOM killer takes the engine's GPU process.
    HostOom = "host-oom",
    /// The engine's device memory grows indefinitely.
    Leak = "leak",
    /// A kernel of the engine never ends.
    Hang = "hang",
    /// SIGSTOP of the whole engine: it answers nothing.
    Stop = "stop",
    /// SIGSTOP of the engine's GPU process; its main process says that it is healthy.
    StopCore = "stop-core",
    /// The engine's GPU process is killed; its main process does not notice and says that it is healthy.
    DeadCore = "dead-core",
    /// The engine's kernels wait while others take every SM.
    Starve = "starve",
    /// The engine's main process is killed; its GPU process lives on without it.
    Zombie = "zombie",
    /// SIGKILL of the MPS server.
    ServerKill = "server-kill",
    /// SIGKILL of the MPS server, and none can be started any more: each ends with status 1 and says why.
    ServerCannotStart = "server-cannot-start",
    /// Servers can be started again.
    ServerStarts = "server-starts",
    /// The MPS server ends the engine's client by itself, as those of driver r615 do when device memory runs short.
    Evict = "evict",
    /// The engine's GPU process is killed with a long kernel in flight, and this server lets no client in after it.
    NewcomersHang = "newcomers-hang",
    /// SIGKILL of the control daemon.
    ControlKill = "control-kill",
    /// SIGSTOP of the control daemon: it accepts and never answers.
    ControlWedge = "control-wedge",
    /// The engine's GPU process is replaced by one that finds no control daemon.
    OutsideMps = "outside-mps",
    /// A process outside MPS computes on the same GPU.
    ForeignProcess = "foreign-process",
    /// A process outside MPS faults on the same GPU.
    ForeignFault = "foreign-fault",
    /// The engine's metrics are asked for and never come.
    MetricsHang = "metrics-hang",
    /// The engine's metrics never end.
    MetricsFlood = "metrics-flood",
    /// SIGTERM ends the engine's GPU process and closes its port, and its main process stays until it is killed.
    TermHangs = "term-hangs",
    /// All callers of the engine go away at once, and none comes for ten minutes: its gauges stay where they were.
    AbortAll = "abort-all",
    /// Users ask two engines about a CUDA error of their own, within two seconds, and their prompts are logged.
    Echo = "echo",
    /// The engine logs such prompts, 10 000 lines a second for three seconds.
    EchoFlood = "echo-flood",
    /// The GPU falls off the bus.
    Xid79 = "xid-79",
    /// Xid 95, and the driver wants the GPU reset.
    ResetNeeded = "reset-needed",
    /// The GPU was reset, or is back on the bus.
    GpuRepaired = "gpu-repaired",
    /// Every call of NVML hangs.
    NvmlHang = "nvml-hang",
    /// Every call of NVML fails, with an error that says nothing of the GPU.
    NvmlError = "nvml-error",
    /// NVML answers again.
    NvmlWell = "nvml-well",
    /// NVML answers to every call that the GPU requires a reset, and no kernel line says so.
    NvmlResetRequired = "nvml-reset-required",
    /// NVML answers to every call that the GPU is lost, and no kernel line says so.
    NvmlLost = "nvml-lost",
    /// The driver wants the GPU reset by its bus, as those from 615 on may.
    BusResetNeeded = "bus-reset-needed",
    /// The driver wants the whole system rebooted, as those from 615 on may.
    SystemRebootNeeded = "system-reboot-needed",
    /// The driver wants the IMEX domain recovered, which is nothing against the GPU.
    ImexDomain = "imex-domain",
    /// The driver wants something in a word that is not known here.
    UnknownAction = "unknown-action",
}

impl FromStr for Injection {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        super::named("fault", Injection::ALL, Injection::as_str, text)
    }
}

impl Stage {
    /// Brings a fault about. `engine`: whose, where it is an engine's; the first by default. The error: there is no
    /// engine to do it to.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the others are of the host, or of the engine itself")]
    pub fn inject(&self, fault: Injection, engine: Option<&str>) -> io::Result<()> {
        let engine = engine.unwrap_or_else(|| self.engine_names().next().unwrap_or_default());
        match fault {
            Injection::Linger => {
                for name in self.engine_names() {
                    let _ = self.order(name, "stay");
                }
                self.order(engine, "illegal-address")
            }
            Injection::SigkillBusy => {
                self.order(engine, "kernel")?;
                self.kill_core(engine)
            }
            Injection::SigkillIdle => self.kill_core(engine),
            Injection::HostOom => {
                let core = self.core(engine)?;
                self.ask_gpu(&format!(
                    "kmsg Out of memory: Killed process {core} (VLLM::EngineCor) total-vm:68157440kB, \
                     anon-rss:31457280kB, file-rss:524288kB, shmem-rss:0kB, UID:0 pgtables:65536kB oom_score_adj:0"
                ))?;
                signal(core, Signal::SIGKILL)
            }
            Injection::Stop => {
                let main = self.main_process(engine)?;
                signal(self.core(engine)?, Signal::SIGSTOP)?;
                signal(main, Signal::SIGSTOP)
            }
            Injection::StopCore => signal(self.core(engine)?, Signal::SIGSTOP),
            Injection::DeadCore => {
                self.order(engine, "unaware")?;
                self.kill_core(engine)
            }
            Injection::Zombie => {
                self.order(engine, "orphan")?;
                signal(self.main_process(engine)?, Signal::SIGKILL)
            }
            Injection::AbortAll => {
                // Where engines are plain ones their gauges would show the moment.
                self.order(engine, "gauges-of-steps")?;
                crowd::come_and_go(self.address(engine)?, self.silence())
            }
            Injection::Echo => self.echo(engine),
            other => self.inject_into_host(other, engine),
        }
    }

    /// A fault of the MPS daemon, the GPU or its driver; any other is an order that the engine carries out itself.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the others are of the engine itself")]
    fn inject_into_host(&self, fault: Injection, engine: &str) -> io::Result<()> {
        match fault {
            Injection::ServerKill => signal(first_number(&self.ask_gpu("servers")?)?, Signal::SIGKILL),
            Injection::ServerCannotStart => {
                fs::write(self.directory().join(FAILS), "operation not supported")?;
                signal(first_number(&self.ask_gpu("servers")?)?, Signal::SIGKILL)
            }
            Injection::ServerStarts => self.remove(&[FAILS]),
            Injection::Evict => self.ask_gpu(&format!("evict {}", self.core(engine)?)).map(drop),
            Injection::NewcomersHang => {
                fs::write(self.directory().join(NEWCOMERS_HANG), self.ask_gpu("servers")?)?;
                self.order(engine, "kernel")?;
                self.kill_core(engine)
            }
            Injection::ControlKill => signal(self.control_daemon()?, Signal::SIGKILL),
            Injection::ControlWedge => signal(self.control_daemon()?, Signal::SIGSTOP),
            Injection::ForeignProcess => self.start_foreign("spin"),
            Injection::ForeignFault => self.start_foreign("fault"),
            Injection::Xid79 => self.ask_gpu("lose").map(drop),
            Injection::ResetNeeded => self.ask_gpu("want-reset").map(drop),
            Injection::GpuRepaired => {
                self.nvml_answers("")?;
                self.ask_gpu("repair").map(drop)
            }
            Injection::NvmlResetRequired => self.nvml_answers("* 16"),
            Injection::NvmlLost => self.nvml_answers("* 15"),
            Injection::BusResetNeeded => self.driver_wants(6, "Bus Reset"),
            Injection::SystemRebootNeeded => self.driver_wants(7, "System Reboot"),
            Injection::ImexDomain => self.driver_wants(5, "Recover IMEX Domain"),
            Injection::UnknownAction => self.driver_wants(12, "Sing"),
            Injection::NvmlHang => fs::write(self.directory().join(NVML_HANG), ""),
            Injection::NvmlError => fs::write(self.directory().join(NVML_ERROR), ""),
            Injection::NvmlWell => self.let_nvml_answer(),
            other => self.order(engine, other.as_str()),
        }
    }

    /// The first engine that runs: one that is stopped, isolated elsewhere or quarantined is passed over.
    pub fn running_engine(&self) -> Option<&str> {
        self.engine_names().find(|name| self.runs(name))
    }

    /// Whether the engine answers the stage, and has its GPU process.
    pub fn runs(&self, engine: &str) -> bool {
        self.core(engine).is_ok()
    }

    /// The engine and another one, as far as there is one.
    fn echo(&self, engine: &str) -> io::Result<()> {
        let other = self.engine_names().find(|name| *name != engine);
        for name in [Some(engine), other].into_iter().flatten() {
            self.order(name, "log-requests")?;
            crowd::ask_about(self.address(name)?, QUESTION)?;
        }
        Ok(())
    }

    /// NVML shows it, and the kernel log says so.
    fn driver_wants(&self, action: u32, words: &str) -> io::Result<()> {
        self.nvml_answers(&format!("action {action}"))?;
        let changed = format!("154, GPU recovery action changed from 0x0 (None) to {action:#x} ({words})");
        self.ask_gpu(&format!("kmsg NVRM: Xid (PCI:0000:00:06): {changed}")).map(drop)
    }

    fn let_nvml_answer(&self) -> io::Result<()> {
        self.nvml_answers("")?;
        self.remove(&[NVML_HANG, NVML_ERROR])
    }

    /// Files that make something go wrong while they are there.
    fn remove(&self, files: &[&str]) -> io::Result<()> {
        for file in files {
            match fs::remove_file(self.directory().join(file)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn order(&self, engine: &str, fault: &str) -> io::Result<()> {
        let body = serde_json::json!({ "fault": fault, "millis": 5000 }).to_string();
        match self.http(engine, "POST", "/sim/inject", &body) {
            // It took the order, and the watchdog was quicker than its answer.
            Err(error) if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => {
                Ok(())
            }
            answer => answer.map(drop),
        }
    }

    fn core(&self, engine: &str) -> io::Result<i32> {
        first_number(&self.http(engine, "GET", "/sim/core", "")?)
    }

    fn main_process(&self, engine: &str) -> io::Result<i32> {
        first_number(&self.http(engine, "GET", "/sim/main", "")?)
    }

    fn kill_core(&self, engine: &str) -> io::Result<()> {
        signal(self.core(engine)?, Signal::SIGKILL)
    }

    /// Four GiB that compute outside MPS for ten minutes, or until the stage ends.
    fn start_foreign(&self, verb: &str) -> io::Result<()> {
        let mut command = Command::new(self.program());
        command.args(["sim", "foreign", verb, "--name", "foreign", "--memory", "4GiB", "--seconds", "600"]);
        command.args(["--us", "5000", "--gap", "5000", "--at", "0.5", "--gpu"]).arg(self.gpu_socket());
        command.env("CUDA_MPS_PIPE_DIRECTORY", "/nonexistent").env_remove("CUDA_VISIBLE_DEVICES");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        self.keep(child);
        Ok(())
    }

    fn address(&self, engine: &str) -> io::Result<SocketAddr> {
        self.engine_address(engine).ok_or_else(|| io::Error::other(format!("no engine `{engine}`")))
    }

    fn http(&self, engine: &str, verb: &str, path: &str, body: &str) -> io::Result<String> {
        let address = self.address(engine)?;
        let mut stream = TcpStream::connect_timeout(&address, ANSWER)?;
        stream.set_read_timeout(Some(ANSWER))?;
        let length = body.len();
        write!(stream, "{verb} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}\r\n\r\n{body}")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        match answer.split_once("\r\n\r\n") {
            Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.to_owned()),
            _ if answer.is_empty() => Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("{engine}: no answer"))),
            _ => Err(io::Error::other(format!("{engine}: {}", answer.lines().next().unwrap_or("no answer")))),
        }
    }
}

fn first_number(text: &str) -> io::Result<i32> {
    let number = text.split_whitespace().next().and_then(|number| number.parse().ok());
    number.filter(|number| *number > 0).ok_or_else(|| io::Error::other("there is no such process"))
}

fn signal(pid: i32, signal: Signal) -> io::Result<()> {
    Ok(kill(Pid::from_raw(pid), signal)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_found_by_its_name() {
        for fault in Injection::ALL {
            assert_eq!(fault.as_str().parse(), Ok(*fault));
        }
        assert!("earthquake".parse::<Injection>().is_err_and(|error| error.contains("xid-79")));
    }
}
