//! Reads GPUs and follows their Xid events, each GPU on threads of its own that are not joined: a driver that hangs
//! costs the looks that wait for it their time, and nothing else.

use std::io;
use std::mem;
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use super::reports::Reports;
use crate::host::nvml::{Driver, NvmlError};
use crate::model::{Blindness, GpuReading, GpuUuid, Observation, Report, Source, SourceScope, XidVia};

/// Pause between attempts to follow events after a failure: a GPU that was reset needs a new event set.
const RETRY: Duration = Duration::from_secs(10);
/// The library is open again with the next reading of some GPU.
const REOPENED: Duration = Duration::from_secs(1);

/// Why a GPU could not be read, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// The GPU is lost: that is a fact about the GPU.
    Lost(String),
    /// It needs a reset: so is that.
    ResetNeeded(String),
    /// The library is being opened anew: followers of events begin again.
    LetGo,
    /// Nobody can say.
    Blind(String),
}

impl Unread {
    /// The fact about the GPU, if it is one.
    fn observation(&self, gpu: &GpuUuid) -> Option<Observation> {
        let gpu = gpu.clone();
        match self {
            Unread::Lost(why) => Some(Observation::GpuLost { gpu, why: why.clone() }),
            Unread::ResetNeeded(why) => Some(Observation::GpuResetNeeded { gpu, why: why.clone() }),
            Unread::LetGo | Unread::Blind(_) => None,
        }
    }

    /// The reason in words.
    fn why(self) -> String {
        match self {
            Unread::Lost(why) | Unread::ResetNeeded(why) | Unread::Blind(why) => why,
            Unread::LetGo => "NVML is opened anew".to_owned(),
        }
    }
}

impl From<NvmlError> for Unread {
    fn from(error: NvmlError) -> Self {
        match error {
            NvmlError::Lost { why, .. } => Unread::Lost(why),
            NvmlError::ResetNeeded { why, .. } => Unread::ResetNeeded(why),
            NvmlError::LetGo => Unread::LetGo,
            error @ (NvmlError::Library { .. }
            | NvmlError::Driver { .. }
            | NvmlError::Hangs { .. }
            | NvmlError::NotListed { .. }
            | NvmlError::Gpu { .. }) => Unread::Blind(error.to_string()),
        }
    }
}

/// Where readings of GPUs come from. Every call may block indefinitely.
pub trait Gpus: Send + Sync + 'static {
    /// Reads one GPU, or says why it can't.
    fn read(&self, gpu: &GpuUuid) -> Result<GpuReading, Unread>;

    /// Calls `seen` with the number of each Xid, and with `None` now and then, until it breaks
    /// (`Ok`) or the source fails (`Err`).
    fn follow_xids(&self, gpu: &GpuUuid, seen: &mut dyn FnMut(Option<u32>) -> ControlFlow<()>) -> Result<(), Unread>;

    /// Lets go of the driver until the next reading, within so much time. Whether nobody uses it any more.
    fn close(&self, within: Duration) -> bool;
}

impl Gpus for Driver {
    fn read(&self, gpu: &GpuUuid) -> Result<GpuReading, Unread> {
        Driver::read(self, gpu).map_err(Unread::from)
    }

    fn follow_xids(&self, gpu: &GpuUuid, seen: &mut dyn FnMut(Option<u32>) -> ControlFlow<()>) -> Result<(), Unread> {
        Driver::follow_xids(self, gpu, seen).map_err(Unread::from)
    }

    fn close(&self, within: Duration) -> bool {
        self.let_go(within)
    }
}

type Reading = Result<GpuReading, Unread>;

/// Who waits for the next reading of a GPU. One reading answers all who asked before it began.
type Askers = Arc<Mutex<Vec<oneshot::Sender<Reading>>>>;

/// A thread that reads one GPU when asked. It ends with this handle, once the driver lets it.
pub(super) struct GpuThread {
    wake: SyncSender<()>,
    askers: Askers,
}

impl GpuThread {
    pub(super) fn start(driver: Arc<dyn Gpus>, gpu: GpuUuid) -> io::Result<Self> {
        // One wake-up waits at most, however long the driver hangs.
        let (wake, woken) = sync_channel(1);
        let askers = Askers::default();
        let asked = askers.clone();
        thread::Builder::new().name("nvml-read".into()).spawn(move || serve(&*driver, &gpu, &woken, &asked))?;
        Ok(GpuThread { wake, askers })
    }

    /// Asks for a reading that begins from now on.
    pub(super) fn read(&self) -> oneshot::Receiver<Reading> {
        let (asker, answer) = oneshot::channel();
        let mut askers = lock(&self.askers);
        // Those whose deadline passed while the driver hung.
        askers.retain(|asker| !asker.is_closed());
        askers.push(asker);
        // Full: the thread will wake and find this asker too.
        let _ = self.wake.try_send(());
        answer
    }
}

fn serve(driver: &dyn Gpus, gpu: &GpuUuid, woken: &Receiver<()>, askers: &Askers) {
    while woken.recv().is_ok() {
        let mut asked = mem::take(&mut *lock(askers));
        asked.retain(|asker| !asker.is_closed());
        if asked.is_empty() {
            continue;
        }
        let reading = driver.read(gpu);
        for asker in asked {
            // One that gave up meanwhile has had its outcome.
            let _ = asker.send(reading.clone());
        }
    }
}

/// A list of senders is whole after a panic, too.
fn lock(askers: &Askers) -> MutexGuard<'_, Vec<oneshot::Sender<Reading>>> {
    askers.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) async fn look(gpu: GpuUuid, answer: oneshot::Receiver<Reading>, reports: Reports) -> Result<(), Blindness> {
    match answer.await.map_err(|_| "the thread that reads NVML has ended".to_owned())? {
        Ok(reading) => {
            reports.observed(Observation::Gpu { gpu, reading });
            Ok(())
        }
        Err(unread) => {
            if let Some(fact) = unread.observation(&gpu) {
                reports.observed(fact);
            }
            Err(unread.why().into())
        }
    }
}

/// Follows the Xid events of a GPU for as long as it is held.
#[derive(Debug)]
pub struct XidFollower {
    _held: Arc<()>,
}

/// Follows the Xid events of one GPU on a thread that ends with the follower, or the core loop. They come as
/// `Observation::Xid`; where they can't be followed, one `Blind` of NVML as a whole says why.
pub fn follow_xids(driver: Arc<dyn Gpus>, gpu: GpuUuid, reports: UnboundedSender<Report>) -> io::Result<XidFollower> {
    let (held, reports) = (Arc::new(()), Reports(reports));
    let wanted = Arc::downgrade(&held);
    thread::Builder::new().name("nvml-xid".into()).spawn(move || {
        let over = || reports.closed() || wanted.strong_count() == 0;
        keep_following(&*driver, &gpu, &reports, RETRY, over);
    })?;
    Ok(XidFollower { _held: held })
}

fn keep_following(driver: &dyn Gpus, gpu: &GpuUuid, reports: &Reports, retry: Duration, over: impl Fn() -> bool) {
    let mut told = Unread::LetGo;
    while !over() {
        let followed = driver.follow_xids(gpu, &mut |xid| {
            if let Some(xid) = xid {
                reports.observed(Observation::Xid { gpu: Some(gpu.clone()), xid, pid: None, via: XidVia::Nvml });
            }
            if over() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        match followed {
            Ok(()) => {}
            Err(Unread::LetGo) => thread::sleep(retry.min(REOPENED)),
            Err(unread) => {
                if unread != told {
                    match unread.observation(gpu) {
                        Some(fact) => reports.observed(fact),
                        None => {
                            reports.blind(SourceScope::whole(Source::Nvml), Blindness::silent(unread.clone().why()))
                        }
                    }
                    told = unread;
                }
                thread::sleep(retry);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::mpsc::unbounded_channel;

    use super::*;

    /// Fails twice with the same words, then reports an Xid.
    struct Flaky(AtomicU32);

    impl Gpus for Flaky {
        fn read(&self, _: &GpuUuid) -> Reading {
            Err(Unread::Blind("not read here".into()))
        }

        fn follow_xids(&self, _: &GpuUuid, seen: &mut dyn FnMut(Option<u32>) -> ControlFlow<()>) -> Result<(), Unread> {
            if self.0.fetch_add(1, Ordering::SeqCst) < 2 {
                return Err(Unread::Blind("no events".into()));
            }
            assert!(seen(None).is_continue());
            while seen(Some(31)).is_continue() {}
            Ok(())
        }

        fn close(&self, _: Duration) -> bool {
            true
        }
    }

    #[test]
    fn events_that_fail_are_followed_again_and_the_reason_is_told_once() {
        let (sender, mut reports) = unbounded_channel();
        let follower = thread::spawn(move || {
            let reports = Reports(sender);
            keep_following(&Flaky(AtomicU32::new(0)), &"GPU-1".into(), &reports, Duration::ZERO, || reports.closed());
        });
        let first = reports.blocking_recv().unwrap();
        assert!(
            matches!(&first, Report::Observed(Observation::Blind { scope, .. }) if scope.source == Source::Nvml),
            "{first:?}"
        );
        let second = reports.blocking_recv().unwrap();
        assert!(matches!(second, Report::Observed(Observation::Xid { xid: 31, via: XidVia::Nvml, .. })), "{second:?}");
        drop(reports);
        follower.join().unwrap();
    }

    #[test]
    fn a_follower_that_is_dropped_ends_its_thread() {
        let (sender, mut reports) = unbounded_channel();
        let follower = follow_xids(Arc::new(Flaky(AtomicU32::new(2))), "GPU-1".into(), sender).unwrap();
        assert!(reports.blocking_recv().is_some());
        drop(follower);
        // The thread has the only sender: once it is gone, nothing comes any more.
        while reports.blocking_recv().is_some() {}
    }
}
