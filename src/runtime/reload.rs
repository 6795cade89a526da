//! Reads the configuration again, checks it wholly and hands what changed to the core loop. Whatever is wrong
//! with it, what runs stays as it is. One reload at a time, none on the core loop's time.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Mutex, Notify, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::config::{self, Changes, Configuration};
use crate::decide::{Policy, PolicyChange};
use crate::export::Exporter;
use crate::host::nvml::Driver;
use crate::model::{GroupLaunch, GroupName, Status, What};

use super::news::{News, TakeUp};
use super::prepare;
use super::setup::InForce;

/// For the file, the user database and the driver to answer; on a thread of their own.
const READ_BOUND: Duration = Duration::from_secs(30);
/// For the core loop to take it up; it turns each second.
const TAKE_UP_BOUND: Duration = Duration::from_secs(10);

/// Takes up changed configurations. Shared by whoever may ask for it: SIGHUP, the control socket.
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
    pub configuration: Configuration,
    pub launches: Vec<GroupLaunch>,
}

/// A configuration and what it comes to on this machine.
struct Read {
    configuration: Configuration,
    policy: Policy,
    launches: Vec<GroupLaunch>,
}

impl Reloader {
    /// Reads the file again and takes it up, unless it is to be a dry run. The error names every problem; then
    /// the old configuration stays in force, and that is told and exported.
    pub async fn reload(self: &Arc<Self>, dry_run: bool) -> Result<Changes, String> {
        let reloader = self.clone();
        // A caller that goes away half-way must not leave it half-done.
        let done = tokio::spawn(async move { reloader.try_reload(dry_run).await }).await;
        let done = done.unwrap_or_else(|error| Err(format!("the reload broke off: {error}")));
        if let (Err(why), false) = (&done, dry_run) {
            // Nobody listens any more only when the watchdog ends.
            let _ = self.news.send(News::Told(What::ReloadFailed { why: why.clone() }));
        }
        done
    }

    async fn try_reload(&self, dry_run: bool) -> Result<Changes, String> {
        let mut running = self.running.lock().await;
        let read = self.read().await?;
        let old = (&running.configuration, running.launches.as_slice());
        let changes = Changes::between(old, (&read.configuration, &read.launches));
        if !changes.refused.is_empty() {
            return Err(changes.refused.join("; "));
        }
        self.check_new(&running.launches, &read.launches).await?;
        if !dry_run {
            self.take_up(&mut running, read, &changes).await?;
        }
        Ok(changes)
    }

    async fn read(&self) -> Result<Read, String> {
        let (file, driver, seed) = (self.file.clone(), self.driver.clone(), self.seed);
        let reading = spawn_blocking(move || read(&file, &driver, seed));
        match timeout(READ_BOUND, reading).await {
            Ok(read) => read.map_err(|error| format!("the configuration could not be read: {error}"))?,
            Err(_) => Err(format!(
                "the file, the user database or NVML did not answer within {READ_BOUND:?}: look at `dmesg`, then try again"
            )),
        }
    }

    /// New groups find what they need, as at the start; what still is being stopped can't come back before it is.
    async fn check_new(&self, running: &[GroupLaunch], wanted: &[GroupLaunch]) -> Result<(), String> {
        refuse_leaving(&self.exporter.status(), running, wanted)?;
        let is_new = |launch: &&GroupLaunch| running.iter().all(|known| known.name != launch.name);
        let new: Vec<GroupLaunch> = wanted.iter().filter(is_new).cloned().collect();
        prepare::find_binaries(&new).map_err(|refusal| refusal.why)?;
        prepare::refuse_occupied(&new).await.map_err(|refusal| refusal.why)
    }

    async fn take_up(&self, running: &mut Running, read: Read, changes: &Changes) -> Result<(), String> {
        let Read { configuration, policy, launches } = read;
        let (answer, answered) = oneshot::channel();
        let take_up = TakeUp {
            change: PolicyChange { policy, rolls: changes.rolls.clone() },
            launches: launches.clone(),
            hooks: configuration.hooks.clone(),
            summary: changes.summary(),
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
        self.in_force.take_up(configuration.clone());
        *running = Running { configuration, launches };
        Ok(())
    }
}

/// Reloads at each SIGHUP, until the watchdog ends. Those that come during a reload are one more.
pub(super) async fn follow(hangup: Arc<Notify>, reloader: Arc<Reloader>) {
    loop {
        hangup.notified().await;
        tracing::info!("SIGHUP: reading {} again", reloader.file.display());
        // Both ends are told by the core loop.
        let _ = reloader.reload(false).await;
    }
}

fn read(file: &Path, driver: &Driver, seed: u64) -> Result<Read, String> {
    let configuration = config::load(file).map_err(|problems| problems.to_string())?;
    let gpus = driver.identities();
    let (policy, launches) = configuration.resolve(&gpus, seed).map_err(|problems| problems.to_string())?;
    Ok(Read { configuration, policy, launches })
}

/// A group or an engine that an earlier reload removed is in the status until it is stopped.
fn refuse_leaving(status: &Status, running: &[GroupLaunch], wanted: &[GroupLaunch]) -> Result<(), String> {
    let known = |name: &GroupName| running.iter().find(|launch| &launch.name == name);
    for group in &status.groups {
        let Some(launch) = wanted.iter().find(|launch| launch.name == group.name) else { continue };
        let Some(before) = known(&group.name) else {
            return Err(format!("{} is still being stopped: reload again once it is gone", group.name));
        };
        for engine in group.engines.iter().map(|engine| &engine.name) {
            let names = |launch: &GroupLaunch| launch.engines.iter().any(|known| &known.key.engine == engine);
            if names(launch) && !names(before) {
                return Err(format!("{}/{engine} is still being stopped: reload again once it is gone", group.name));
            }
        }
    }
    Ok(())
}

/// What only a start takes up stays what it was at the start: each reload tells of it again.
fn with_start_keys(mut read: Configuration, started: &Configuration) -> Configuration {
    read.nvml_library.clone_from(&started.nvml_library);
    read.kernel_log.clone_from(&started.kernel_log);
    read.web.clone_from(&started.web);
    read
}
