//! Follows engines' outputs on a thread of its own: an engine that prints without end delays nothing but itself, least
//! of all the line with which a server reports a fatal error.

use std::collections::BTreeMap;
use std::io;
use std::mem::ManuallyDrop;
use std::path::PathBuf;
use std::thread;

use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{AbortHandle, LocalSet, spawn_local};

use crate::host::engines::may_say;
use crate::host::follow::{self, Mark, Start};
use crate::host::pieces::Piece;
use crate::model::{Member, Report};
use crate::observe::output::EngineOutput;

/// The outputs that are followed. The thread ends with it.
pub(super) struct Outputs {
    orders: UnboundedSender<FollowOrder>,
}

enum FollowOrder {
    Follow(Member, PathBuf, Mark),
    Leave(Member),
}

impl Outputs {
    /// Starts the thread.
    pub(super) fn start(reports: UnboundedSender<Report>) -> io::Result<Self> {
        // Where no thread can be had it is leaked: dropped on another runtime's thread it would panic.
        let runtime = ManuallyDrop::new(Builder::new_current_thread().enable_all().build()?);
        let (orders, received) = unbounded_channel();
        thread::Builder::new()
            .name("outputs".to_owned())
            .spawn(move || LocalSet::new().block_on(&ManuallyDrop::into_inner(runtime), obey(received, reports)))?;
        Ok(Outputs { orders })
    }

    /// Follows what is written to the file from now on, also before the thread comes to it.
    pub(super) fn follow(&self, engine: Member, path: PathBuf) {
        let mark = Mark::now(&path);
        // The thread ends only when this does.
        let _ = self.orders.send(FollowOrder::Follow(engine, path, mark));
    }

    /// Nobody is interested in this engine any more.
    pub(super) fn leave(&self, engine: Member) {
        let _ = self.orders.send(FollowOrder::Leave(engine));
    }
}

async fn obey(mut orders: UnboundedReceiver<FollowOrder>, reports: UnboundedSender<Report>) {
    let mut followed: BTreeMap<Member, Followed> = BTreeMap::new();
    while let Some(order) = orders.recv().await {
        match order {
            FollowOrder::Follow(engine, path, mark) => {
                followed.insert(engine.clone(), output(engine, path, mark, reports.clone()));
            }
            FollowOrder::Leave(engine) => drop(followed.remove(&engine)),
        }
    }
}

/// One followed file; ends with its handle.
struct Followed(AbortHandle);

impl Drop for Followed {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One file, one task. Without it pidfds, NVML and the daemon still tell; it is said once.
fn output(engine: Member, path: PathBuf, mark: Mark, reports: UnboundedSender<Report>) -> Followed {
    let task = spawn_local(async move {
        let mut output = EngineOutput::of(engine);
        let on_piece = |piece: &Piece<'_>| {
            if let Some(observation) = output.observe(piece) {
                // The receiver is gone only when the watchdog ends.
                let _ = reports.send(Report::Observed(observation));
            }
        };
        let start = Start::Since(mark);
        let error = follow::follow_pieces(&path, start, follow::DEFAULT_LIMIT, may_say, on_piece).await;
        tracing::error!("{} is not followed any more: {error}", path.display());
    });
    Followed(task.abort_handle())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write;
    use std::path::Path;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::model::{Observation, Saying};

    fn engine(name: &str) -> Member {
        Member::new(&"g".into(), &name.into())
    }

    fn append(path: &Path, text: &str) {
        OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    async fn said(reports: &mut UnboundedReceiver<Report>) -> (Member, Saying, u64) {
        match timeout(Duration::from_secs(20), reports.recv()).await.unwrap() {
            Some(Report::Observed(Observation::Said { engine, saying, place })) => (engine, saying, place.byte),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn what_engines_print_from_now_on_is_reported_until_nobody_is_interested() {
        let directory = tempfile::tempdir().unwrap();
        let [a, b, c] = ["a", "b", "c"].map(|name| directory.path().join(format!("{name}.log")));
        append(&a, "CUDA error: out of memory\n");
        let (send, mut reports) = unbounded_channel();
        let outputs = Outputs::start(send).unwrap();
        outputs.follow(engine("a"), a.clone());
        outputs.follow(engine("b"), b.clone());
        append(&a, "RuntimeError: CUDA error: unspecified launch failure\n");
        assert_eq!(said(&mut reports).await, (engine("a"), Saying::Error(719), 26));
        append(&b, "CUDA error: an illegal memory access was encountered");
        assert_eq!(said(&mut reports).await, (engine("b"), Saying::Error(700), 0));
        outputs.leave(engine("a"));
        outputs.follow(engine("c"), c.clone());
        append(&c, "CUDA error: out of memory\n");
        assert_eq!(said(&mut reports).await, (engine("c"), Saying::Error(2), 0));
        // Orders are obeyed one after the other: a is no longer followed.
        append(&a, "CUDA error: out of memory\n");
        append(&c, "CUDA error: misaligned address\n");
        assert_eq!(said(&mut reports).await, (engine("c"), Saying::Error(716), 26));
        drop(outputs);
        assert!(timeout(Duration::from_secs(20), reports.recv()).await.unwrap().is_none(), "the thread ended");
    }
}
