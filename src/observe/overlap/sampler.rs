//! The core's way to the thread that listens to the kernel probes. Starts it once an engine is to be probed; never
//! waits for it.

use std::collections::BTreeMap;
use std::future::ready;
use std::io;
use std::mem::ManuallyDrop;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::{LocalSet, spawn_local};

use super::listen::listen;
use super::probes::{Probes, Shared};
use super::window;
use crate::host::pidfd::Pidfd;
use crate::host::probe_place::ProbePlace;
use crate::model::{Blindness, GroupName, Member, Observation, OverlapWindow, Report};
use crate::observe::look::Answer;
use crate::observe::reports::Reports;

/// A process of an engine, held.
pub type Owner = (Member, Arc<Pidfd>);

/// Whose the process of a pid is. `None`: no engine's.
pub type Owners = Arc<dyn Fn(u32) -> io::Result<Option<Owner>> + Send + Sync>;

/// A group's windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long each is.
    pub window: Duration,
    /// Time from one window to the next, on average.
    pub period: Duration,
}

/// One window that is wanted.
pub(super) struct WantedWindow {
    pub group: GroupName,
    pub timing: Timing,
    /// Upper bound for all of it.
    pub bound: Duration,
    /// Channel for the answer; `None`: there is nothing to report, and nothing is wrong.
    pub answer: oneshot::Sender<Result<Option<OverlapWindow>, String>>,
}

/// Asks the probes of all groups.
pub struct Sampler {
    place: ProbePlace,
    owners: Owners,
    reports: UnboundedSender<Report>,
    timings: BTreeMap<GroupName, Timing>,
    /// Channel to the thread; `None`: no engine was to be probed yet.
    thread: Option<UnboundedSender<WantedWindow>>,
}

impl Sampler {
    /// A sampler for probes that call at this place and belong to an engine by `owners`. Starts nothing.
    pub fn new(place: ProbePlace, owners: Owners, reports: UnboundedSender<Report>) -> Self {
        Sampler { place, owners, reports, timings: BTreeMap::new(), thread: None }
    }

    /// The windows of the groups that have them; there are no others from now on. Fails only
    /// where no thread can be started.
    pub fn take_up(&mut self, timings: BTreeMap<GroupName, Timing>) -> io::Result<()> {
        if self.thread.is_none() && !timings.is_empty() {
            self.thread = Some(self.start()?);
        }
        self.timings = timings;
        Ok(())
    }

    fn start(&self) -> io::Result<UnboundedSender<WantedWindow>> {
        // Where no thread can be had it is leaked: dropped on another runtime's thread it would panic.
        let runtime = ManuallyDrop::new(Builder::new_current_thread().enable_all().build()?);
        let (sender, wanted) = unbounded_channel();
        let (place, owners, reports) = (self.place.clone(), self.owners.clone(), Reports(self.reports.clone()));
        thread::Builder::new()
            .name("probes".into())
            .spawn(move || serve(&ManuallyDrop::into_inner(runtime), place, owners, reports, wanted))?;
        Ok(sender)
    }

    /// One window of a group, reported as an observation if every probe of it answers.
    pub(in crate::observe) fn look(
        &self,
        group: GroupName,
        bound: Duration,
        reports: Reports,
    ) -> Answer<Result<(), Blindness>> {
        let (Some(timing), Some(thread)) = (self.timings.get(&group), &self.thread) else {
            return Box::pin(ready(Err(Blindness::not_asked(format!("no engine of {group} has a kernel probe")))));
        };
        let (answer, answered) = oneshot::channel();
        // A thread that has ended drops the answer.
        let _ = thread.send(WantedWindow { group: group.clone(), timing: *timing, bound, answer });
        Box::pin(async move {
            let window = answered.await.map_err(|_| "the thread of the kernel probes has ended".to_owned())??;
            if let Some(window) = window {
                reports.observed(Observation::Overlap { group, window });
            }
            Ok(())
        })
    }
}

/// Serves windows until the sampler is dropped.
fn serve(
    runtime: &Runtime,
    place: ProbePlace,
    owners: Owners,
    reports: Reports,
    mut wanted: UnboundedReceiver<WantedWindow>,
) {
    let probes: Shared = Rc::new(Probes::new(reports).into());
    LocalSet::new().block_on(runtime, async {
        spawn_local(listen(place, owners, probes.clone()));
        while let Some(WantedWindow { group, timing, bound, answer }) = wanted.recv().await {
            let probes = probes.clone();
            spawn_local(async move {
                // Whoever gave up asking has had its outcome.
                let _ = answer.send(window::take(&probes, &group, timing, bound).await);
            });
        }
    });
}
