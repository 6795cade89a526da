//! Load on one engine: so many requests in flight at any time, each followed by the next as soon as it ends. On a
//! thread of its own, so that one engine's answers never wait for another's to be read.

use std::cell::RefCell;
use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{sleep, timeout};

use super::client::{Caller, Target};
use super::request::Lengths;
use super::results::Measured;
use super::sse::{Came, Event};
use super::tally::{Request, tally};

/// Upper bound, after the end of the load, for requests to end by themselves; then they are cut off.
const DRAIN: Duration = Duration::from_secs(5);
/// Pause after a request that failed.
const PAUSE: Duration = Duration::from_millis(50);
/// Number of failures in a row after which a sender gives up.
const FAILURES: u32 = 5;

/// What load there is.
#[derive(Clone, Debug)]
pub(super) struct LoadRun {
    pub engine: String,
    pub target: Target,
    pub lengths: Lengths,
    /// Requests in flight.
    pub concurrency: u32,
    /// Time before what counts.
    pub warm_up: Duration,
    /// Time that counts.
    pub counts: Duration,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(super) struct Loaded {
    pub measured: Measured,
    /// The first failure there was.
    pub failure: Option<String>,
}

impl LoadRun {
    fn span(&self) -> Range<Duration> {
        self.warm_up..self.warm_up + self.counts
    }

    /// Runs until it is over, or until the other end of `alive` is dropped.
    pub(super) async fn run(self, alive: watch::Receiver<()>) -> Result<Loaded, String> {
        let running = tokio::task::spawn_blocking(move || self.on_this_thread(alive));
        let ended = running.await.map_err(|error| format!("the load generator failed: {error}"))?;
        ended.map_err(|error| format!("no load can be made: {error}"))
    }

    fn on_this_thread(self, mut alive: watch::Receiver<()>) -> io::Result<Loaded> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let requests: Rc<RefCell<Vec<Request>>> = Rc::default();
        let load = Rc::new(self);
        LocalSet::new().block_on(&runtime, async {
            let (mut senders, began) = (JoinSet::new(), Instant::now());
            for _ in 0..load.concurrency {
                senders.spawn_local(send(load.clone(), began, requests.clone()));
            }
            let most = load.span().end + DRAIN;
            let all = timeout(most, async { while senders.join_next().await.is_some() {} });
            tokio::select! {
                _ = all => {}
                _ = alive.changed() => {}
            }
            senders.shutdown().await;
        });
        let requests = requests.borrow();
        let failure = requests.iter().find_map(|request| request.failed.clone());
        Ok(Loaded { measured: tally(&load.engine, &requests, load.lengths.prompt, &load.span()), failure })
    }
}

/// One request after the other until the end. Whatever is known of one stays, also when it is cut off.
async fn send(load: Rc<LoadRun>, began: Instant, requests: Rc<RefCell<Vec<Request>>>) {
    let mut caller = Caller::of(&load.target);
    let mut failures = 0;
    while began.elapsed() < load.span().end && failures < FAILURES {
        let place = requests.borrow().len();
        requests.borrow_mut().push(Request { sent: began.elapsed(), ..Request::default() });
        let came = |event: Event, at| {
            let request = &mut requests.borrow_mut()[place];
            match event.came {
                Came::Token => request.chunks.push(at),
                Came::End => request.end = Some(at),
                Came::Nothing => {}
            }
        };
        let ended = caller.stream(load.lengths, began, came).await;
        let failed = {
            let request = &mut requests.borrow_mut()[place];
            request.ended = Some(began.elapsed());
            match ended {
                Ok(usage) => request.counted(usage),
                Err(why) => request.failed = Some(why),
            }
            request.failed.is_some()
        };
        failures = if failed { failures + 1 } else { 0 };
        if failed {
            sleep(PAUSE).await;
        }
    }
}
