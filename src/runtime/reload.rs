//! Reads the configuration again, checks it wholly and hands what changed to the core loop. Whatever is wrong
//! with it, what runs stays as it is. One reload at a time, none on the core loop's time.

use std::cell::LazyCell;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Mutex, Notify, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use crate::config::{self, Changes, Configuration, FoundDaemon, Resolved};
use crate::decide::PolicyChange;
use crate::export::Exporter;
use crate::host::clock;
use crate::host::nvml::Driver;
use crate::model::{DomainId, EngineKey, GpuIdentity, GroupLaunch, GroupName, Status, What};

use super::daemons::Daemons;
use super::news::{News, TakeUp};
use super::prepare;
use super::setup::InForce;
use super::trust;

/// Upper bound for the file, the user database and the driver to answer; on a thread of their own.
const READ_BOUND: Duration = Duration::from_secs(30);
/// Upper bound for the driver to say which GPUs there are.
const IDENTITIES_BOUND: Duration = Duration::from_secs(15);
/// Pause between two looks for GPUs that NVML has not shown, and for control daemons of others.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Upper bound for the core loop to apply it; it turns each second.
const TAKE_UP_BOUND: Duration = Duration::from_secs(10);

/// Applies changed configurations. Shared by all that may ask for it: SIGHUP, the control socket.
pub(super) struct Reloader {
    pub file: PathBuf,
    pub driver: Driver,
    pub seed: u64,
    pub exporter: Arc<Exporter>,
    pub news: UnboundedSender<News>,
    /// What others are shown of it.
    pub in_force: Arc<InForce>,
    /// What is in force; held while a reload is under way.
    pub running: Mutex<Running>,
}

/// What is in force.
pub(super) struct Running {
    /// What the file says.
    pub file: Configuration,
    /// Daemons of others that were found beside it.
    pub daemons: Daemons,
    /// The file with them.
    pub configuration: Configuration,
    pub launches: Vec<GroupLaunch>,
    /// The GPUs that groups use.
    pub gpus: Vec<GpuIdentity>,
}

impl Running {
    /// What the start put in force; nothing was found beside it yet.
    pub(super) fn begun_with(file: &Configuration, launches: &[GroupLaunch], gpus: Vec<GpuIdentity>) -> Running {
        let (configuration, daemons) = (file.clone(), Daemons::default());
        Running { file: file.clone(), daemons, configuration, launches: launches.to_vec(), gpus }
    }

    /// The launches in force; a group whose GPU was never there may have another one, as if it had always had it.
    fn where_gpus_are_wanted(&self, wanted: &[GroupLaunch]) -> Vec<GroupLaunch> {
        let absent = |launch: &GroupLaunch| self.gpus.iter().any(|gpu| gpu.absent && launch.gpus.contains(&gpu.uuid));
        let gpu_of = |name: &GroupName| {
            wanted.iter().find(|launch| launch.domain == DomainId::main(name)).map(|launch| &launch.gpus)
        };
        let mut launches = self.launches.clone();
        for launch in launches.iter_mut().filter(|launch| absent(launch)) {
            launch.gpus = gpu_of(&launch.domain.group).unwrap_or(&launch.gpus).clone();
        }
        launches
    }
}

/// A configuration and what it comes to on this machine.
struct Read {
    file: Configuration,
    daemons: Daemons,
    configuration: Configuration,
    resolved: Resolved,
}

impl Reloader {
    /// Reads the file again and applies it, unless it is to be a dry run. The error names every problem; then the old
    /// configuration stays in force, and that is logged and exported.
    pub(super) async fn reload(self: &Arc<Self>, dry_run: bool) -> Result<Changes, String> {
        let reloader = self.clone();
        // A caller that goes away half-way must not leave it half-done.
        let done = tokio::spawn(async move { reloader.try_reload(dry_run).await }).await;
        let done = done.unwrap_or_else(|error| Err(format!("the reload broke off: {error}")));
        if let (Err(why), false) = (&done, dry_run) {
            // Nobody listens any more only when the watchdog ends.
            let _ = self.news.send(News::Event(What::ReloadFailed { why: why.clone() }));
        }
        done
    }

    async fn try_reload(&self, dry_run: bool) -> Result<Changes, String> {
        let mut running = self.running.lock().await;
        let read = self.read(&running).await?;
        let launches = running.where_gpus_are_wanted(&read.resolved.launches);
        refuse_unknown_gpus(&launches, &read.resolved)?;
        let old = (&running.configuration, launches.as_slice());
        let changes = Changes::between(old, (&read.configuration, &read.resolved.launches));
        if !changes.refused.is_empty() {
            return Err(changes.refused.join("; "));
        }
        self.check_new(&running.launches, &read.resolved).await?;
        if !dry_run {
            let event = What::Reloaded { detail: changes.summary() };
            self.take_up(&mut running, read, changes.rolls.clone(), Some(event)).await?;
        }
        Ok(changes)
    }

    /// Looks again for GPUs that NVML has not shown so far, and for control daemons of others; groups on one that is
    /// there now get it. Nothing where every GPU is known and no daemon came or went.
    pub(super) async fn look_again(&self) -> Result<(), String> {
        let mut running = self.running.lock().await;
        let missed = running.gpus.iter().filter(|gpu| gpu.absent).count();
        let looks = missed > 0 || !running.file.discover.pipe_directories.is_empty();
        // Who let go of the driver looks for nothing until a group is started.
        if !looks || !self.driver.is_open() {
            return Ok(());
        }
        let (file, before) = (running.file.clone(), running.daemons.clone());
        let (driver, known, seed) = (self.driver.clone(), running.gpus.clone(), self.seed);
        let looking = spawn_blocking(move || look(file, before, &driver, known, seed, missed > 0));
        let (daemons, read) = match timeout(READ_BOUND, looking).await {
            Ok(looked) => looked.map_err(|error| format!("what is there could not be looked for: {error}"))??,
            Err(_) => return Err(format!("/proc, a directory or NVML did not answer within {READ_BOUND:?}")),
        };
        let came_or_went = daemons.list() != running.daemons.list();
        let Some(read) = read else {
            running.daemons = daemons;
            return Ok(());
        };
        let found = read.resolved.policy.gpus.iter().filter(|gpu| gpu.absent).count() < missed;
        if found {
            tracing::info!("NVML shows a GPU that it had not shown: its groups are supervised now");
        }
        if came_or_went {
            refuse_leaving(&self.exporter.status(), &running.launches, &read.resolved.launches)?;
            tracing::info!("control daemons of others: {}", in_words(&read.daemons));
        }
        if found || came_or_went {
            self.take_up(&mut running, read, BTreeSet::new(), None).await?;
        }
        Ok(())
    }

    async fn read(&self, running: &Running) -> Result<Read, String> {
        let (file, driver, seed) = (self.file.clone(), self.driver.clone(), self.seed);
        let (known, daemons) = (running.gpus.clone(), running.daemons.clone());
        let reading = spawn_blocking(move || {
            let configuration = config::load(&file).map_err(|problems| problems.to_string())?;
            let there = LazyCell::new(|| driver.identities_within(IDENTITIES_BOUND));
            let mut daemons = daemons;
            daemons.look(&configuration, &there, clock::now());
            resolve(configuration, daemons, known_and(known, there.clone()), seed)
        });
        match timeout(READ_BOUND, reading).await {
            Ok(read) => read.map_err(|error| format!("the configuration could not be read: {error}"))?,
            Err(_) => Err(format!(
                "the file, the user database or NVML did not answer within {READ_BOUND:?}: look at `dmesg`, then try again"
            )),
        }
    }

    /// New groups find what they need, as at the start; what still is being stopped can't come back before it is.
    async fn check_new(&self, running: &[GroupLaunch], wanted: &Resolved) -> Result<(), String> {
        refuse_leaving(&self.exporter.status(), running, &wanted.launches)?;
        let is_new = |domain: &DomainId| running.iter().all(|known| known.domain != *domain);
        let new: Vec<GroupLaunch> = wanted.launches.iter().filter(|launch| is_new(&launch.domain)).cloned().collect();
        trust::refuse_directories(&new).map_err(|refusal| refusal.why)?;
        let mut blocked = prepare::without_binaries(&new);
        blocked.extend(prepare::occupied(&new));
        blocked.into_values().next().map_or(Ok(()), Err)
    }

    async fn take_up(
        &self,
        running: &mut Running,
        read: Read,
        rolls: BTreeSet<EngineKey>,
        event: Option<What>,
    ) -> Result<(), String> {
        let Read { file, daemons, configuration, resolved: Resolved { policy, launches, .. } } = read;
        let gpus = policy.gpus.clone();
        let (answer, answered) = oneshot::channel();
        let take_up = TakeUp {
            change: PolicyChange { policy, rolls },
            launches: launches.clone(),
            hooks: configuration.hooks.clone(),
            found: configuration.discover.engine.clone(),
            event,
            answer,
        };
        // A loop that has ended answers by dropping the question.
        let _ = self.news.send(News::TakeUp(Box::new(take_up)));
        match timeout(TAKE_UP_BOUND, answered).await {
            Ok(Ok(taken)) => taken?,
            Ok(Err(_)) => return Err("mpswarden is stopping".to_owned()),
            Err(_) => return Err(format!("the core loop did not take it up within {TAKE_UP_BOUND:?}: try again")),
        }
        let configuration = with_start_keys(configuration, &running.configuration);
        configuration.warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
        self.in_force.take_up(configuration.clone());
        let file = with_start_keys(file, &running.file);
        *running = Running { file, daemons, configuration, launches, gpus };
        Ok(())
    }
}

/// Reloads at each SIGHUP, until the watchdog ends. Those that come during a reload are one more.
pub(super) async fn follow(hangup: Arc<Notify>, reloader: Arc<Reloader>) {
    loop {
        hangup.notified().await;
        tracing::info!("SIGHUP: reading {} again", reloader.file.display());
        // Both ends are reported by the core loop.
        let _ = reloader.reload(false).await;
    }
}

/// Looks for absent GPUs and for daemons of others at once and then now and then, until the watchdog ends.
pub(super) async fn look_for_others(reloader: Arc<Reloader>) {
    let mut said = None;
    loop {
        let failed = reloader.look_again().await.err();
        if let Some(why) = failed.as_ref().filter(|_| said != failed) {
            tracing::warn!("GPUs that NVML did not show, and control daemons of others, are not looked after: {why}");
        }
        said = failed;
        sleep(LOOK_AGAIN).await;
    }
}

/// The daemons that are there now; and what the configuration then comes to, where a daemon came or went, or where a GPU
/// is looked for.
fn look(
    file: Configuration,
    before: Daemons,
    driver: &Driver,
    known: Vec<GpuIdentity>,
    seed: u64,
    for_gpus: bool,
) -> Result<(Daemons, Option<Read>), String> {
    let there = LazyCell::new(|| driver.identities_within(IDENTITIES_BOUND));
    let mut daemons = before.clone();
    daemons.look(&file, &there, clock::now());
    if daemons.list() == before.list() && !for_gpus {
        return Ok((daemons, None));
    }
    let read = resolve(file, daemons, known_and(known, there.clone()), seed)?;
    Ok((read.daemons.clone(), Some(read)))
}

/// A configuration with these daemons, on these GPUs.
fn resolve(file: Configuration, mut daemons: Daemons, gpus: Vec<GpuIdentity>, seed: u64) -> Result<Read, String> {
    let configuration = daemons.added_to(&file);
    let resolved = configuration.resolve_for_those_there(&gpus, seed).map_err(|problems| problems.to_string())?;
    Ok(Read { file, daemons, configuration, resolved })
}

/// The daemons, for the log.
fn in_words(daemons: &Daemons) -> String {
    let daemon = |daemon: &FoundDaemon| format!("{} at {}", daemon.name, daemon.pipe_directory.display());
    let list: Vec<String> = daemons.list().iter().map(daemon).collect();
    if list.is_empty() { "none is there".to_owned() } else { list.join(", ") }
}

/// GPUs that were identified once stay what they were: one that is lost now is no other one, and the indexes of the
/// others may have moved by it.
fn known_and(known: Vec<GpuIdentity>, there: Vec<GpuIdentity>) -> Vec<GpuIdentity> {
    let mut gpus: Vec<GpuIdentity> = known.into_iter().filter(|gpu| !gpu.absent).collect();
    let news = |gpu: &GpuIdentity| gpus.iter().all(|known| known.uuid != gpu.uuid);
    let new: Vec<GpuIdentity> = there.into_iter().filter(news).collect();
    gpus.extend(new);
    gpus
}

/// A group that names a GPU anew names one that is there.
fn refuse_unknown_gpus(running: &[GroupLaunch], wanted: &Resolved) -> Result<(), String> {
    let gpu_of = |launches: &[GroupLaunch], name: &GroupName| {
        launches.iter().find(|launch| launch.domain == DomainId::main(name)).map(|launch| launch.gpus.clone())
    };
    let anew = |name: &GroupName| gpu_of(running, name) != gpu_of(&wanted.launches, name);
    let unknown = wanted.absent.iter().find(|(name, _)| anew(name));
    unknown.map_or(Ok(()), |(_, problems)| Err(problems.to_string()))
}

/// A group or an engine that an earlier reload removed is in the status until it is stopped.
fn refuse_leaving(status: &Status, running: &[GroupLaunch], wanted: &[GroupLaunch]) -> Result<(), String> {
    let known = |name: &GroupName| running.iter().find(|launch| launch.domain == DomainId::main(name));
    for group in &status.groups {
        let Some(launch) = wanted.iter().find(|launch| launch.domain == DomainId::main(&group.name)) else { continue };
        let Some(before) = known(&group.name) else {
            return Err(format!("{} is still being stopped: reload again once it is gone", group.name));
        };
        for engine in group.engines.iter().map(|engine| &engine.name) {
            let names = |launch: &GroupLaunch| launch.engines.iter().any(|known| &known.member.engine == engine);
            if names(launch) && !names(before) {
                return Err(format!("{}/{engine} is still being stopped: reload again once it is gone", group.name));
            }
        }
    }
    Ok(())
}

/// What only a start applies stays what it was at the start: each reload reports it again.
fn with_start_keys(mut read: Configuration, started: &Configuration) -> Configuration {
    read.nvml_library.clone_from(&started.nvml_library);
    read.kernel_log.clone_from(&started.kernel_log);
    read.web.clone_from(&started.web);
    read
}
