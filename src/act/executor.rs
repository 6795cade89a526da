//! Takes orders and answers each with one outcome by its deadline. Decides nothing: it carries out.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::time::timeout;

use super::engine::Start;
use super::environment::Variables;
use super::launches::Launches;
use super::shared::{OwnerMark, PrepareError, Shared, engines_of, make_directories};
use super::{control_daemon, control_of_others, engine, external, find_control, find_engine};
use super::{gone, kill, save, server, stop, terminate};
use crate::host::cgroup::Cgroups;
use crate::host::clock;
use crate::host::probe_place::ProbePlace;
use crate::host::trees::Trees;
use crate::model::{Action, ActionId, DomainId, GroupLaunch, Moment, Outcome, Report, SentAction};

/// Time beyond its deadline before a verb is cut off: one that answers at its deadline with what it found gets it.
const SLACK: Duration = Duration::from_millis(500);

/// Carries out orders.
#[derive(Debug)]
pub struct Executor {
    shared: Arc<Shared>,
}

impl Executor {
    /// An executor for these groups. Makes their directories; starts nothing.
    pub fn new(
        launches: Vec<GroupLaunch>,
        owner: OwnerMark,
        reports: UnboundedSender<Report>,
    ) -> Result<Executor, PrepareError> {
        Self::with_cgroups(launches, owner, reports, Cgroups::find())
    }

    /// The same, with or without cgroups as asked for.
    pub(super) fn with_cgroups(
        launches: Vec<GroupLaunch>,
        owner: OwnerMark,
        reports: UnboundedSender<Report>,
        cgroups: Result<Cgroups, String>,
    ) -> Result<Executor, PrepareError> {
        Ok(Executor { shared: Arc::new(Shared::new(launches, owner, reports, cgroups)?) })
    }

    /// Carries out everything but `Look`, `Fence` and `LetGoOfDriver`, which are for `observe`. Saves, and starts of engines without a file to
    /// be read, are done when it returns, all else goes on by itself; it must be called within the runtime.
    #[expect(clippy::wildcard_enum_match_arm, reason = "what is not at once is spawned")]
    pub fn carry_out(&mut self, ordered: SentAction) {
        let SentAction { id, deadline, action } = ordered;
        let shared = self.shared.clone();
        match action {
            Action::Save { memory } => shared.finish(id, save::save(&shared.owner, &memory)),
            // Those who run it are asked, which takes its time.
            Action::StartEngine { ref instance, .. } | Action::FindEngine { ref instance }
                if external::of(&shared, &instance.member()).is_some() =>
            {
                self.spawn(id, deadline, action);
            }
            Action::StartEngine { instance, outside } => {
                let start = Start { instance, outside };
                match engine::environment_file(&shared, &start.instance.member()) {
                    None => start_engine(&shared, id, &start, Ok(Vec::new())),
                    Some(file) => start_with_file(&shared, id, start, file),
                }
            }
            Action::FindEngine { instance } => shared.finish(id, find_engine::find(&shared, &instance)),
            Action::WatchServer { domain, server } => {
                let (outcome, watch) = server::watch(&shared, &domain, server);
                shared.finish(id, outcome);
                if let Some(watch) = watch {
                    tokio::spawn(watch);
                }
            }
            Action::Look(_) | Action::Fence { .. } | Action::LetGoOfDriver => {
                shared.finish(id, Outcome::Failed { why: "what concerns readings is carried out by observe".into() });
            }
            action => self.spawn(id, deadline, action),
        }
    }

    /// Makes the directories of these groups; starts nothing.
    pub fn prepare(&self, launches: &[GroupLaunch]) -> Result<(), PrepareError> {
        launches.iter().try_for_each(make_directories)
    }

    /// Takes up changed launches, prepared before: each counts from the next start on. Groups and engines
    /// that are not named stay, for their stop.
    pub fn take_up(&self, launches: &[GroupLaunch]) {
        self.shared.launches.take_up(launches);
        self.shared.trees.expect(engines_of(launches));
    }

    /// Forgets groups and engines that are not named and of which nothing lives.
    pub fn keep(&self, launches: &[GroupLaunch]) {
        let mut running = self.shared.running();
        running.attached.retain(|domain, _| launches.iter().any(|launch| launch.domain == *domain));
        let runs = |domain: &DomainId| running.daemons.get(domain).is_some_and(|held| !held.is_gone());
        self.shared.launches.retain(|domain| runs(domain) || launches.iter().any(|launch| launch.domain == *domain));
        self.shared.trees.keep(&engines_of(launches).collect());
    }

    /// Sets how many processes of an engine are held by a descriptor each, where there are enough of them.
    pub fn hold_at_most(&self, count: usize) {
        self.shared.trees.hold_at_most(count);
    }

    /// The groups' command workers, for others that ask their daemons.
    pub fn launches(&self) -> Launches {
        self.shared.launches.clone()
    }

    /// The processes of all engines, for those that look at them.
    pub fn trees(&self) -> Trees {
        self.shared.trees.clone()
    }

    /// Where the kernel probes of all engines call.
    pub fn probe_place(&self) -> ProbePlace {
        self.shared.probe.clone()
    }

    /// Why engines run without cgroups; `None`: they have them.
    pub fn without_cgroups(&self) -> Option<&str> {
        self.shared.cgroups.as_ref().err().map(String::as_str)
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "only a kill or a stop makes other actions obsolete")]
    fn spawn(&self, id: ActionId, deadline: Moment, action: Action) {
        let shared = self.shared.clone();
        match &action {
            Action::KillEngines { domain, engines, .. } => shared.give_up(domain, engines),
            Action::StopEngine { engine, .. } => shared.give_up(&engine.domain, std::slice::from_ref(&engine.engine)),
            _ => {}
        }
        tokio::spawn(async move {
            let cut_off = deadline.after(if answers_at_deadline(&action) { SLACK } else { Duration::ZERO });
            let outcome = by(cut_off, verb(&shared, action, deadline)).await;
            shared.finish(id, outcome);
        });
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        self.shared.trees.remove_cgroups();
        if let Ok(cgroups) = &self.shared.cgroups {
            cgroups.remove();
        }
    }
}

fn start_engine(shared: &Arc<Shared>, id: ActionId, start: &Start, file: Result<Variables, String>) {
    let (outcome, watch) = engine::start(shared, start, file);
    shared.finish(id, outcome);
    // Only now, so that no end comes before its start.
    if let Some(watch) = watch {
        watch.spawn(shared);
    }
}

/// Reads the file first, which may take its time: an engine that is to end meanwhile is not started any more.
fn start_with_file(shared: &Arc<Shared>, id: ActionId, start: Start, file: PathBuf) {
    let shared = shared.clone();
    shared.begin(&start.instance.member(), id);
    tokio::spawn(async move {
        let file = engine::read_environment(&file).await;
        // Otherwise it was given up, and answered.
        if shared.is_begun(&start.instance.member(), id) {
            start_engine(&shared, id, &start, file);
        }
    });
}

/// Those that tell at the deadline what is still there.
fn answers_at_deadline(action: &Action) -> bool {
    matches!(action, Action::AwaitGone { .. } | Action::StopEngine { .. } | Action::KillEngines { .. })
}

async fn by(deadline: Moment, outcome: impl Future<Output = Outcome>) -> Outcome {
    timeout(deadline.since(clock::now()), outcome).await.unwrap_or(Outcome::TimedOut)
}

async fn verb(shared: &Arc<Shared>, action: Action, deadline: Moment) -> Outcome {
    match action {
        Action::StartControl { domain } if shared.has_a_control_of_others(&domain) => {
            control_of_others::start(shared, &domain, deadline).await
        }
        Action::StartControl { domain } => control_daemon::start(shared, &domain).await,
        Action::FindControl { domain } => find_control::find(shared, &domain).await,
        Action::StopControl { domain, grace, .. } if shared.has_a_control_of_others(&domain) => {
            control_of_others::stop(shared, &domain, grace, deadline).await
        }
        Action::StopControl { domain, grace, server } => control_daemon::stop(shared, &domain, grace, server).await,
        Action::StartServer { domain } => server::start(shared, &domain).await,
        Action::KillEngines { domain, engines, strays } => {
            kill::kill_engines(shared, &domain, &engines, &strays, deadline).await
        }
        Action::AwaitGone { domain, engines, processes } => {
            gone::await_gone(shared, &domain, &engines, &processes, deadline).await
        }
        Action::TerminateClients { engine, server, clients } => {
            terminate::terminate(shared, &engine, server, &clients).await
        }
        Action::StopEngine { engine, grace } => stop::stop(shared, &engine, grace, deadline).await,
        Action::FindEngine { instance } => match external::of(shared, &instance.member()) {
            Some(theirs) => external::find(shared, &instance, &theirs).await,
            None => find_engine::find(shared, &instance),
        },
        Action::StartEngine { instance, .. } => match external::of(shared, &instance.member()) {
            Some(theirs) => external::start(shared, &instance, &theirs, deadline).await,
            None => Outcome::Failed { why: "it is others' no more: it is started elsewhere".into() },
        },
        Action::Look(_)
        | Action::Fence { .. }
        | Action::Save { .. }
        | Action::WatchServer { .. }
        | Action::LetGoOfDriver => Outcome::Failed { why: "carried out elsewhere".into() },
    }
}
