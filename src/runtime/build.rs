//! Puts the parts together: followers of files, sources on threads of their own, HTTP, the loop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Mutex, Notify, watch};
use tokio::task::spawn_local;

use crate::act::{Executor, OwnerMark};
use crate::config::Configuration;
use crate::control::SocketAtWork;
use crate::decide::{Policy, Watchdog};
use crate::export::http;
use crate::export::{BuildInfo, Exporter};
use crate::host::incident_store::IncidentStore;
use crate::host::leftovers::Lock;
use crate::host::owners::Owners;
use crate::host::{clock, reaper};
use crate::model::{GroupLaunch, Moment, Report, Request, Status};
use crate::observe::{Observers, gpus, kernel_log};
use crate::web::{Gate, Listeners, Server};

use super::audience::Audience;
use super::control::{self, SocketWish};
use super::core_loop::{CoreLoop, Heartbeat};
use super::discovery::Discovery;
use super::doors::{self, Doors};
use super::followers::Followers;
use super::gates::Gates;
use super::historian;
use super::hooks::Callers;
use super::incident_keeper::{self, Keeper};
use super::look_io::LookOverExecutor;
use super::others_turn::OthersTurn;
use super::prepare::Prepared;
use super::probes;
use super::refusal::Refusal;
use super::reload::{self, Reloader, Running};
use super::setup::InForce;

/// The loop counts as alive while it turned within this time; it turns each second.
const ALIVE_WITHIN: Duration = Duration::from_secs(10);

/// What the loop is built for, beside the configuration.
pub(super) struct Wishes {
    pub listen: Vec<SocketAddr>,
    pub telemetry_path: String,
    pub web_config_file: Option<PathBuf>,
    pub control_socket: SocketWish,
    pub requests: UnboundedReceiver<Request>,
    /// Who follows it in the place of the log.
    pub audience: Option<Arc<dyn Audience>>,
    /// The file to be read again, where there is one.
    pub file: Option<PathBuf>,
    /// Asks for that.
    pub hangup: Arc<Notify>,
    /// How long whoever runs the engines is waited for where they have to restart all of them.
    pub exit_for_restart: Option<Duration>,
}

/// A loop that is ready to run, and what must live as long.
pub(super) struct Built {
    pub core: CoreLoop,
    pub server: Server,
    pub _control: Option<SocketAtWork>,
    pub hooks: Arc<Callers>,
    pub keeper: Arc<Keeper>,
    pub _lock: Lock,
}

/// Builds everything; starts no process. Runs within the runtime.
pub(super) fn build(
    configuration: &Configuration,
    prepared: Prepared,
    wishes: Wishes,
    gate: Gate,
    doors: Doors,
) -> Result<Built, Refusal> {
    let Prepared { policy, launches, gpus: identities, driver, memory, owner, lock, open_files } = prepared;
    let (sender, reports) = unbounded_channel();
    let executor = executor(&launches, owner, open_files.held, &sender)?;
    let gpus: Arc<dyn gpus::Gpus> = Arc::new(driver.clone());
    let observers = observers(&executor, gpus.clone(), &launches, &policy, &sender)?;
    kernel_log::follow(&configuration.kernel_log, &identities, sender.clone());
    let mut followers = Followers::new(gpus, sender);
    followers.take_up(&launches).map_err(|error| Refusal::io("start a thread for NVML's events", &error))?;
    reap_orphans();
    let (news_sender, news) = unbounded_channel();
    let hooks = Callers::start(configuration.hooks.clone(), &configuration.state_directory, news_sender.clone())
        .map_err(|error| Refusal::io("start a thread for hooks", &error))?;
    let (hooks, seed, discovery) = (Arc::new(hooks), policy.seed, discovery(configuration, &policy, &launches));
    let watchdog = Watchdog::new(policy.clone(), memory);
    let (status, statuses) = watch::channel(Arc::new(watchdog.status(clock::now())));
    let gates = Gates::open(&launches, &policy, statuses.clone(), discovery.owners());
    let exporter = exporter(statuses)?;
    let keeper = keeper(configuration, &exporter)?;
    let heartbeat = Arc::new(Heartbeat::default());
    let had = doors::tell(&doors.http, &exporter, &news_sender);
    let service = http::Service {
        gate,
        telemetry_path: wishes.telemetry_path.clone(),
        exporter: exporter.clone(),
        liveness: alive(heartbeat.clone()),
        clock: Arc::new(clock::now),
        connections: open_files.connections,
        had,
    };
    let server = listen(doors.http, service)?;
    let in_force = Arc::new(InForce::new(configuration.clone(), wishes.file.clone()));
    let (control, questions) = control::serve(doors.control, exporter.clone(), in_force.clone())?;
    let Wishes { requests, audience, file, hangup, exit_for_restart, .. } = wishes;
    let reloader = file.map(|file| {
        let running = Mutex::new(Running::begun_with(configuration, &launches, policy.gpus));
        Arc::new(Reloader { file, driver, seed, exporter: exporter.clone(), news: news_sender, in_force, running })
    });
    reloader.iter().for_each(|reloader| follow_changes(&hangup, reloader));
    let core = CoreLoop {
        watchdog,
        executor,
        observers,
        followers,
        exporter,
        status,
        hooks: hooks.clone(),
        keeper: keeper.clone(),
        gates,
        heartbeat,
        reports,
        requests,
        questions,
        news,
        reloader,
        audience,
        launches,
        discovery,
        others_turn: OthersTurn::with(exit_for_restart),
    };
    Ok(Built { core, server, _control: control, hooks, keeper, _lock: lock })
}

fn executor(
    launches: &[GroupLaunch],
    owner: OwnerMark,
    held: usize,
    sender: &UnboundedSender<Report>,
) -> Result<Executor, Refusal> {
    let executor = Executor::new(launches.to_vec(), owner, sender.clone()).map_err(Refusal::unavailable)?;
    executor.hold_at_most(held);
    if let Some(why) = executor.without_cgroups() {
        tracing::info!("engines run without cgroups of their own, by session: {why}");
    }
    Ok(executor)
}

fn observers(
    executor: &Executor,
    gpus: Arc<dyn gpus::Gpus>,
    launches: &[GroupLaunch],
    policy: &Policy,
    sender: &UnboundedSender<Report>,
) -> Result<Observers, Refusal> {
    let io = std::rc::Rc::new(LookOverExecutor::by(executor));
    let sampler = probes::sampler(executor, sender.clone());
    let mut observers = Observers::new(gpus, launches, io, sampler, sender.clone())
        .map_err(|error| Refusal::io("start a thread for NVML", &error))?;
    observers
        .sample(probes::timings(policy))
        .map_err(|error| Refusal::io("start a thread for the kernel probes", &error))?;
    Ok(observers)
}

/// What is found of others; what they call themselves is kept.
fn discovery(configuration: &Configuration, policy: &Policy, launches: &[GroupLaunch]) -> Discovery {
    let owners = Owners::default().kept_in(&configuration.state_directory.join("called.json"));
    Discovery::new(policy, launches, &configuration.discover.engine, owners)
}

fn keeper(configuration: &Configuration, exporter: &Arc<Exporter>) -> Result<Arc<Keeper>, Refusal> {
    let store = IncidentStore::of(&configuration.state_directory);
    let keeper = incident_keeper::start(store, exporter).map(Arc::new);
    keeper.map_err(|error| Refusal::io("start a thread for incidents", &error))
}

/// Applies a changed configuration, and GPUs and control daemons of others that come, as long as the loop runs.
fn follow_changes(hangup: &Arc<Notify>, reloader: &Arc<Reloader>) {
    spawn_local(reload::follow(hangup.clone(), reloader.clone()));
    spawn_local(reload::look_for_others(reloader.clone()));
}

/// Reaps what engines leave behind, as long as the loop runs.
fn reap_orphans() {
    spawn_local(async {
        if let Err(error) = reaper::reap_orphans().await {
            tracing::error!("engines' orphans are not reaped: {error}");
        }
    });
}

/// The exporter, and the thread that keeps its history.
fn exporter(statuses: watch::Receiver<Arc<Status>>) -> Result<Arc<Exporter>, Refusal> {
    let build = BuildInfo {
        version: env!("CARGO_PKG_VERSION"),
        revision: env!("MPSWARDEN_REVISION"),
        rustc: env!("MPSWARDEN_RUSTC"),
    };
    let exporter = Arc::new(Exporter::new(build, || clock::wall_of(Moment::ZERO), statuses.clone()));
    historian::follow(exporter.clone(), statuses)
        .map_err(|error| Refusal::io("start a thread for the history", &error))?;
    Ok(exporter)
}

fn alive(heartbeat: Arc<Heartbeat>) -> Arc<dyn Fn() -> bool + Send + Sync> {
    Arc::new(move || heartbeat.age() <= ALIVE_WITHIN)
}

fn listen(listeners: Listeners, service: http::Service) -> Result<Server, Refusal> {
    let exporter = service.exporter.clone();
    let server = http::serve_on(listeners, service).map_err(|error| Refusal::io("start a thread for HTTP", &error))?;
    server.local_addresses.iter().for_each(|address| exporter.set_http(&address.to_string(), None));
    Ok(server)
}
