//! The load's own process: sends the requests, each engine's on a thread of its own, so that one engine's answers never
//! wait for another's to be read, and decides when what counts begins and ends.

use std::io::{self, BufRead, Write};
use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{sleep, timeout};

use super::course::Course;
use super::pace::{self, Pace};
use super::process::Step;
use super::window::{Rules, Seen};
use super::{LoadOrder, Loaded, Worker};
use crate::study::client::Caller;
use crate::study::request::Lengths;
use crate::study::sse::{Came, Event, Usage};
use crate::study::tally::{Request, tally};

/// Upper bound, after the end of the load, for requests to end by themselves; then they are cut off.
const DRAIN: Duration = Duration::from_secs(5);
/// Pause after a request that failed, and its bound as failures follow each other.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Time between two looks at how far the load is.
const LOOK: Duration = Duration::from_millis(50);
/// Share of arrivals that may find all places taken.
const HELD: f64 = 0.01;

/// The hidden command `study-load`: an order on stdin, a line for each step on stdout. It ends with its parent.
pub fn serve() -> ExitCode {
    let mut line = String::new();
    let order = io::stdin().lock().read_line(&mut line).ok().and_then(|_| serde_json::from_str(&line).ok());
    let Some(order) = order else {
        return ExitCode::from(64);
    };
    thread::spawn(|| {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        std::process::exit(1);
    });
    let mut reader = true;
    let told = generate(&order, |step| {
        let line = serde_json::to_string(&step).unwrap_or_default();
        reader &= writeln!(io::stdout(), "{line}").is_ok();
    });
    if told.is_ok() && reader { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Makes the load, and reports each step of it, what came of it last.
pub(in crate::study) fn generate(order: &LoadOrder, mut report: impl FnMut(Step)) -> io::Result<()> {
    let began = Instant::now();
    let sends: Vec<Arc<Sender>> = order.engines.iter().map(|worker| Sender::new(worker, order, began)).collect();
    let threads = sends.iter().map(|sender| {
        let sender = Arc::clone(sender);
        thread::Builder::new().name(format!("load {}", sender.worker.engine)).spawn(move || sender.run())
    });
    let threads: Vec<_> = threads.collect::<io::Result<_>>()?;
    let span = counted(order, &sends, began, &mut report);
    sends.iter().for_each(|sender| sender.over.store(true, Ordering::Relaxed));
    for thread in threads {
        thread.join().map_err(|_| io::Error::other("a thread of the load failed"))??;
    }
    report(Step::Done(loaded(order, &sends, span)));
    Ok(())
}

/// Waits for what counts to begin and to be enough; an error is why nothing counts.
fn counted(
    order: &LoadOrder,
    sends: &[Arc<Sender>],
    began: Instant,
    report: &mut impl FnMut(Step),
) -> Result<Range<Duration>, String> {
    let seconds = Duration::from_secs_f64;
    let most = order.engines.iter().map(|worker| worker.concurrency).max().unwrap_or(1);
    let concurrency = if order.pace == Pace::Closed { most } else { 1 };
    let (warm_up, counts) = (seconds(order.warm_up), seconds(order.seconds));
    let rules = Rules { warm_up, counts, longest: seconds(order.longest).max(counts), concurrency };
    let start = wait_for(sends, began, |seen, now| rules.is_steady(seen, now))?;
    report(Step::Counts);
    let end = wait_for(sends, began, |seen, now| rules.is_enough(seen, start, now));
    report(Step::Counted);
    Ok(start..end?)
}

/// Waits until it is so; the time then.
fn wait_for(
    sends: &[Arc<Sender>],
    began: Instant,
    is_so: impl Fn(&[Seen<'_>], Duration) -> Result<bool, String>,
) -> Result<Duration, String> {
    loop {
        let all: Vec<_> = sends.iter().map(|sender| sender.sent()).collect();
        let names = sends.iter().map(|sender| sender.worker.engine.as_str());
        let seen: Vec<Seen<'_>> = names.zip(all.iter().map(|sent| &sent.course)).collect();
        let now = began.elapsed();
        if is_so(&seen, now)? {
            return Ok(now);
        }
        drop(seen);
        drop(all);
        thread::sleep(LOOK);
    }
}

fn loaded(order: &LoadOrder, sends: &[Arc<Sender>], span: Result<Range<Duration>, String>) -> Loaded {
    let held = sends.iter().find_map(|sender| sender.could_not_keep_up());
    let (span, why) = match (span, held) {
        (Ok(span), why) => (span, why),
        (Err(why), _) => (Duration::ZERO..Duration::ZERO, Some(why)),
    };
    let measured = sends.iter().filter(|_| why.is_none());
    let engines =
        measured.map(|sender| tally(&sender.worker.engine, &sender.sent().requests, order.lengths.prompt, &span));
    let failures = sends.iter().filter_map(|sender| {
        let failed = sender.sent().requests.iter().find_map(|request| request.failed.clone())?;
        Some((sender.worker.engine.clone(), failed))
    });
    Loaded { engines: engines.collect(), failures: failures.collect(), not_measured: why.clone() }
}

/// What was sent to an engine, and what came of it.
#[derive(Default)]
struct Sent {
    requests: Vec<Request>,
    course: Course,
}

/// Sends the requests of one engine.
struct Sender {
    worker: Worker,
    lengths: Lengths,
    pace: Pace,
    warm_up: Duration,
    began: Instant,
    sent: Mutex<Sent>,
    over: AtomicBool,
    /// Arrivals of an open load, and those that found all places taken.
    arrivals: AtomicU64,
    held: AtomicU64,
}

impl Sender {
    fn new(worker: &Worker, order: &LoadOrder, began: Instant) -> Arc<Sender> {
        Arc::new(Sender {
            worker: worker.clone(),
            lengths: order.lengths,
            pace: order.pace,
            warm_up: Duration::from_secs_f64(order.warm_up),
            began,
            sent: Mutex::default(),
            over: AtomicBool::new(false),
            arrivals: AtomicU64::new(0),
            held: AtomicU64::new(0),
        })
    }

    fn sent(&self) -> MutexGuard<'_, Sent> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn could_not_keep_up(&self) -> Option<String> {
        let (held, all) = (self.held.load(Ordering::Relaxed), self.arrivals.load(Ordering::Relaxed));
        let Pace::Open { rate } = self.pace else { return None };
        (held as f64 > HELD * all as f64).then(|| {
            let Worker { engine, concurrency, .. } = &self.worker;
            format!("{engine} could not keep up with {rate} requests a second: over {concurrency} were in flight")
        })
    }

    fn run(self: Arc<Self>) -> io::Result<()> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, async {
            let mut senders = JoinSet::new();
            match self.pace {
                Pace::Closed => {
                    for _ in 0..self.worker.concurrency {
                        senders.spawn_local(Arc::clone(&self).one_after_the_other());
                    }
                    self.drained(&mut senders).await;
                }
                Pace::Open { rate } => self.arriving(rate, &mut senders).await,
            }
            senders.shutdown().await;
        });
        Ok(())
    }

    /// Waits for the end of the load, and then a while for the last requests.
    async fn drained(&self, senders: &mut JoinSet<()>) {
        while !self.is_over() {
            sleep(LOOK).await;
        }
        let _ = timeout(DRAIN, async { while senders.join_next().await.is_some() {} }).await;
    }

    /// One request after the other until the end. Whatever is known of one stays, also when it is cut off.
    async fn one_after_the_other(self: Arc<Self>) {
        let mut caller = Caller::of(&self.worker.target);
        let mut failures = 0;
        sleep(pace::first(self.warm_up, fastrand::f64())).await;
        while !self.is_over() {
            let sent = Instant::now();
            failures = if self.send(&mut caller).await { 0 } else { failures + 1 };
            sleep(match failures {
                0 => pace::pause(sent.elapsed(), fastrand::f64()),
                _ => (PAUSE.0 * (1 << (failures - 1u32).min(5))).min(PAUSE.1),
            })
            .await;
        }
    }

    /// Requests as they arrive. One that finds all places taken waits for one, and is counted.
    async fn arriving(self: &Arc<Self>, rate: f64, senders: &mut JoinSet<()>) {
        let places = Arc::new(Semaphore::new(self.worker.concurrency as usize));
        let mut at = Instant::now();
        while !self.is_over() {
            at += pace::next_arrival(rate, fastrand::f64());
            while !self.is_over() && Instant::now() < at {
                sleep(LOOK.min(at.saturating_duration_since(Instant::now()))).await;
            }
            self.arrivals.fetch_add(1, Ordering::Relaxed);
            if places.available_permits() == 0 {
                self.held.fetch_add(1, Ordering::Relaxed);
            }
            let (this, places) = (Arc::clone(self), Arc::clone(&places));
            let Ok(Ok(place)) = timeout(DRAIN, places.acquire_owned()).await else { continue };
            senders.spawn_local(async move {
                this.send(&mut Caller::of(&this.worker.target)).await;
                drop(place);
            });
            while senders.try_join_next().is_some() {}
        }
        self.drained(senders).await;
    }

    /// Sends one request; whether it ended well.
    async fn send(&self, caller: &mut Caller<'_>) -> bool {
        let place = {
            let mut sent = self.sent();
            sent.requests.push(Request { sent: self.began.elapsed(), ..Request::default() });
            sent.requests.len() - 1
        };
        let came = |event: Event, at| {
            let mut sent = self.sent();
            let request = &mut sent.requests[place];
            match event.came {
                Came::Token => {
                    request.chunks.push(at);
                    sent.course.chunk(at);
                }
                Came::End => request.end = Some(at),
                Came::Nothing => {}
            }
        };
        let ended = caller.stream(self.lengths, self.began, came).await;
        self.sent().end(place, self.began.elapsed(), ended)
    }
}

impl Sent {
    /// A request came to its end; whether it ended well.
    fn end(&mut self, place: usize, at: Duration, ended: Result<Option<Usage>, String>) -> bool {
        let request = &mut self.requests[place];
        request.ended = Some(at);
        match ended {
            Ok(usage) => {
                let seen = request.chunks.len();
                request.counted(usage);
                request.chunks[seen..].iter().for_each(|chunk| self.course.chunk(*chunk));
                self.course.end(request.sent, at);
                true
            }
            Err(why) => {
                request.failed = Some(why);
                false
            }
        }
    }
}
