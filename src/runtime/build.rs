//! Puts the parts together: followers of files, sources on threads of their own, HTTP, the loop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::spawn_local;

use crate::act::Executor;
use crate::config::Configuration;
use crate::decide::Watchdog;
use crate::export::http::{self, Server};
use crate::export::web::Gate;
use crate::export::{BuildInfo, Exporter};
use crate::host::follow::{self, Start};
use crate::host::leftovers::Lock;
use crate::host::{clock, reaper};
use crate::model::Request;
use crate::model::{EngineKey, GroupLaunch, Moment, Observation, Report};
use crate::observe::{Observers, engines, gpus, kernel_log, mps};
use crate::operator::ControlSocket;

use super::control::{self, SocketWish};
use super::core_loop::{CoreLoop, Heartbeat, Story};
use super::hands::Lent;
use super::prepare::Prepared;
use super::refusal::Refusal;

/// The loop counts as alive while it turned within this time; it turns each second.
const ALIVE_WITHIN: Duration = Duration::from_secs(10);

/// What the loop is built for, beside the configuration.
pub(super) struct Wishes {
    pub listen: Vec<SocketAddr>,
    pub telemetry_path: String,
    pub web_config_file: Option<PathBuf>,
    pub control_socket: SocketWish,
    pub requests: UnboundedReceiver<Request>,
    pub story: Option<Story>,
}

/// A loop that is ready to run, and what must live as long.
pub(super) struct Built {
    pub core: CoreLoop,
    pub server: Server,
    pub _control: Option<ControlSocket>,
    pub _lock: Lock,
}

/// Builds everything; starts no process. Runs within the runtime.
pub(super) fn build(
    configuration: &Configuration,
    prepared: Prepared,
    wishes: Wishes,
    gate: Gate,
) -> Result<Built, Refusal> {
    let Prepared { policy, launches, gpus: identities, driver, memory, owner, lock } = prepared;
    let (sender, reports) = unbounded_channel();
    let executor = Executor::new(launches.clone(), owner, sender.clone()).map_err(Refusal::unavailable)?;
    if let Some(why) = executor.without_cgroups() {
        tracing::info!("engines run without cgroups of their own, by session: {why}");
    }
    let driver: Arc<dyn gpus::Gpus> = Arc::new(driver);
    let lent = std::rc::Rc::new(Lent::by(&executor, &launches));
    let observers = Observers::new(driver.clone(), &launches, lent, sender.clone())
        .map_err(|error| Refusal::io("start a thread for NVML", &error))?;
    for gpu in policy.gpus.iter().map(|gpu| &gpu.uuid) {
        gpus::follow_xids(driver.clone(), gpu.clone(), sender.clone())
            .map_err(|error| Refusal::io("start a thread for NVML's events", &error))?;
    }
    kernel_log::follow(&configuration.kernel_log, &identities, sender.clone());
    follow_outputs(&launches, &sender);
    spawn_local(async {
        if let Err(error) = reaper::reap_orphans().await {
            tracing::error!("engines' orphans are not reaped: {error}");
        }
    });
    let watchdog = Watchdog::new(policy, memory);
    let exporter = Arc::new(exporter(&watchdog, &launches));
    let heartbeat = Arc::new(Heartbeat::default());
    let server = listen(&wishes, gate, exporter.clone(), heartbeat.clone())?;
    let (control, questions) = control::open(&wishes.control_socket, exporter.clone())?;
    let Wishes { requests, story, .. } = wishes;
    let core = CoreLoop { watchdog, executor, observers, exporter, heartbeat, reports, requests, questions, story };
    Ok(Built { core, server, _control: control, _lock: lock })
}

fn exporter(watchdog: &Watchdog, launches: &[GroupLaunch]) -> Exporter {
    let build = BuildInfo {
        version: env!("CARGO_PKG_VERSION"),
        revision: env!("MPSWARDEN_REVISION"),
        rustc: env!("MPSWARDEN_RUSTC"),
    };
    let engines = launches.iter().flat_map(|launch| &launch.engines);
    let endpoints = engines.map(|engine| (engine.key.clone(), engine.url.clone())).collect();
    Exporter::new(build, || clock::wall_of(Moment::ZERO), &watchdog.status(clock::now())).with_endpoints(endpoints)
}

fn listen(wishes: &Wishes, gate: Gate, exporter: Arc<Exporter>, heartbeat: Arc<Heartbeat>) -> Result<Server, Refusal> {
    let alive = Arc::new(move || heartbeat.age() <= ALIVE_WITHIN);
    http::serve_behind(gate, &wishes.listen, &wishes.telemetry_path, exporter, alive, Arc::new(clock::now))
        .map_err(|error| Refusal::io("serve HTTP", &error))
}

/// Follows the outputs of every daemon and engine from now on; what earlier runs wrote is of no interest.
fn follow_outputs(launches: &[GroupLaunch], reports: &UnboundedSender<Report>) {
    for launch in launches {
        let group = launch.name.clone();
        follow_output(launch.control.log_directory.join("daemon.log"), reports.clone(), move |line, read_at| {
            mps::log_line(&group, line, read_at)
        });
        for engine in &launch.engines {
            let key: EngineKey = engine.key.clone();
            let path = launch.control.log_directory.join(format!("{}.log", key.engine));
            follow_output(path, reports.clone(), move |line, _| engines::output_line(&key, line));
        }
    }
}

/// One file, one task. Without it the daemon's answers, the pidfds and NVML still tell; it is said once.
fn follow_output(
    path: PathBuf,
    reports: UnboundedSender<Report>,
    mut observe: impl FnMut(&str, Moment) -> Option<Observation> + 'static,
) {
    spawn_local(async move {
        let on_line = |line: &str, read_at: Moment| {
            if let Some(observation) = observe(line, read_at) {
                // The receiver is gone only when the watchdog ends.
                let _ = reports.send(Report::Observed(observation));
            }
        };
        let error = follow::follow(&path, Start::End, follow::DEFAULT_LIMIT, on_line).await;
        tracing::error!("{} is not followed any more: {error}", path.display());
    });
}
