//! One window: prepares before it, notes launches in it, takes CUPTI down at its end and reads the times after it.
//! Between windows nothing of ours runs, and before the first one CUPTI is not even looked for.

use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::clock::{Clock, Reading};
use super::closing::{self, guarded};
use super::cover::{Timed, Window};
use super::cupti::{Cupti, Subscription, Trouble};
use super::driver::{Driver, Handle};
use super::find::Hints;
use super::launches::{self, Launch, Outcome};
use super::wire::Kernels;

/// Time before a window at which preparing begins: the clock takes 60 ms at most, a subscription 15 ms on an H200.
const AHEAD: Duration = Duration::from_millis(90);
/// Time before a window from which launches are noted, so that by its beginning each stream has an event that tells
/// where it is. No longer: a fast engine would use the events up.
const SETTLING: Duration = Duration::from_millis(15);
/// Time after a window within which its last kernels may end.
const PATIENCE: Duration = Duration::from_secs(1);
/// Pause between two looks at them.
const LOOK: Duration = Duration::from_millis(1);
/// Longest window, and latest beginning of one from now.
const LONGEST: Duration = Duration::from_secs(1);
const FARTHEST: Duration = Duration::from_secs(10);

/// Records windows, and remembers where CUPTI is.
pub struct Recorder {
    hints: Hints,
    loaded: Option<(Cupti, &'static Driver)>,
    kit: Option<Kit>,
    subscribed_before: bool,
}

/// The clock and the events of launches, made at the first window in a context and kept: to make 4096 events
/// takes the driver's locks for long enough to be seen by the engine.
#[derive(Clone, Copy)]
struct Kit {
    context: u64,
    clock: Clock,
}

/// A window that was ordered.
#[derive(Clone, Copy)]
struct Ordered {
    number: u64,
    from: u64,
    to: u64,
    begin: Instant,
    end: Instant,
}

/// The end of the process has begun: nothing more is touched.
struct EngineEnds;

impl Recorder {
    /// Looks for nothing yet.
    pub fn new(hints: Hints) -> Recorder {
        Recorder { hints, loaded: None, kit: None, subscribed_before: false }
    }

    /// The kernels of a window, some milliseconds after its end. A window that is over, too long or too far ahead
    /// is not recorded, and nothing of it covered. `None`: the process is ending.
    pub fn record(&mut self, number: u64, from: u64, to: u64) -> Option<Result<Kernels, Trouble>> {
        let Some((begin, end)) = moments(from, to) else { return Some(Ok(nothing(number, from))) };
        let ordered = Ordered { number, from, to, begin, end };
        if let Err(why) = guarded(|| self.load())? {
            return Some(Err(Trouble::Lasting(why)));
        }
        let (cupti, driver) = self.loaded.as_ref()?;
        sleep_until(before(begin, AHEAD));
        if !guarded(|| driver.is_active())? {
            return idle(driver, ordered).map(Ok);
        }
        let session = match guarded(|| Session::open(cupti, driver, &mut self.kit))? {
            Ok(session) => session,
            Err(trouble) => return Some(Err(trouble)),
        };
        if !self.subscribed_before {
            closing::again();
            self.subscribed_before = true;
        }
        session.window(ordered).ok()
    }

    fn load(&mut self) -> Result<(), String> {
        if self.loaded.is_none() {
            let library = self.hints.load()?;
            let driver = launches::driver(|| Driver::load(library))?;
            self.loaded = Some((Cupti::load(library)?, driver));
        }
        Ok(())
    }
}

/// An answer that covers nothing.
fn nothing(window: u64, from: u64) -> Kernels {
    Kernels { window, covered: (from, from), ..Kernels::default() }
}

/// A process without a context has no kernels, if it has none afterwards either.
fn idle(driver: &Driver, ordered: Ordered) -> Option<Kernels> {
    sleep_until(ordered.end);
    let window = Window { number: ordered.number, ordered: (ordered.from, ordered.to), seen: (0, u64::MAX) };
    let active = guarded(|| driver.is_active())?;
    Some(if active { nothing(ordered.number, ordered.from) } else { window.kernels(&[], 0) })
}

/// A window's events, clock and subscription.
struct Session<'a> {
    cupti: &'a Cupti,
    driver: &'a Driver,
    clock: Clock,
    before: Option<Reading>,
    subscription: Subscription,
}

impl<'a> Session<'a> {
    fn open(cupti: &'a Cupti, driver: &'a Driver, kit: &mut Option<Kit>) -> Result<Session<'a>, Trouble> {
        let context = driver.enter().map_err(Trouble::Passing)?;
        let opened = Kit::of(driver, context, kit).map_err(Trouble::Lasting).and_then(|clock| {
            clock.start(driver);
            let before = clock.read(driver);
            let subscription = cupti.subscribe()?;
            launches::open(context);
            Ok(Session { cupti, driver, clock, before, subscription })
        });
        opened.inspect_err(|_| driver.leave())
    }

    fn window(self, ordered: Ordered) -> Result<Result<Kernels, Trouble>, EngineEnds> {
        sleep_until(before(ordered.begin, SETTLING));
        let watched = guarded(|| self.cupti.watch(&self.subscription)).ok_or(EngineEnds)?;
        let since = now();
        sleep_until(ordered.end);
        let until = now();
        let Session { cupti, driver, clock, before, subscription } = self;
        let taken_down = guarded(|| cupti.end(driver, subscription)).ok_or(EngineEnds)?;
        launches::close();
        let outcome = launches::outcome();
        wait(driver, &outcome.launches)?;
        let kernels = guarded(|| {
            let reading = surer(before, clock.read(driver));
            let time = |launch: &Launch| timed(driver, &clock, reading?, launch);
            let times: Vec<_> = outcome.launches.iter().filter_map(time).collect();
            let until = until.min(outcome.full.unwrap_or(until));
            let window = Window { number: ordered.number, ordered: (ordered.from, ordered.to), seen: (since, until) };
            let untold = outcome.launches.len() - times.len();
            let kernels = reading.map(|_| window.kernels(&times, outcome.failed + untold as u64));
            driver.leave();
            kernels.unwrap_or_else(|| nothing(ordered.number, ordered.from))
        });
        let kernels = kernels.ok_or(EngineEnds)?;
        Ok(watched.and(taken_down).map_err(Trouble::Lasting).and_then(|()| outcome.trouble()).map(|()| kernels))
    }
}

impl Outcome {
    fn trouble(&self) -> Result<(), Trouble> {
        if self.captured {
            // CUPTI that comes or goes while a graph is destroyed can end the process: it does not come again.
            return Err(Trouble::Lasting("the engine makes CUDA graphs while it serves".to_owned()));
        }
        if self.foreign {
            let why = "kernels are launched in another context than the primary one of the first GPU";
            return Err(Trouble::Passing(why.to_owned()));
        }
        Ok(())
    }
}

impl Kit {
    /// The clock of this context, whose events are made too.
    fn of(driver: &Driver, context: Handle, kept: &mut Option<Kit>) -> Result<Clock, String> {
        let id = driver.id(context)?;
        if let Some(kit) = kept.filter(|kit| kit.context == id) {
            return Ok(kit.clock);
        }
        *kept = None;
        launches::make(driver)?;
        let clock = Clock::make(driver)?;
        *kept = Some(Kit { context: id, clock });
        Ok(clock)
    }
}

/// Waits until all that was launched has ended, in bounds. The guard is released between looks: an exit does not wait.
fn wait(driver: &Driver, launches: &[Launch]) -> Result<(), EngineEnds> {
    let deadline = Instant::now() + PATIENCE;
    let pending = |launch: &Launch| driver.is_past(launch.event) == Some(false);
    let mut rest = launches;
    while let Some(first) = guarded(|| rest.iter().position(pending)).ok_or(EngineEnds)? {
        if Instant::now() > deadline {
            break;
        }
        rest = rest.get(first..).unwrap_or_default();
        sleep(LOOK);
    }
    Ok(())
}

/// Times of a launch; `None`: the driver can't tell.
fn timed(driver: &Driver, clock: &Clock, reading: Reading, launch: &Launch) -> Option<Timed> {
    let ended = driver.is_past(launch.event)?;
    let end = if ended { Some(clock.time(driver, reading, launch.event)?) } else { None };
    Some(Timed { launched: launch.launched, stream: launch.stream, end })
}

fn surer(before: Option<Reading>, after: Option<Reading>) -> Option<Reading> {
    match (before, after) {
        (Some(before), Some(after)) => Some(before.or(after)),
        (one, other) => one.or(other),
    }
}

/// The window's ends on the steady clock: a step of the other one must not keep CUPTI attached.
fn moments(from: u64, to: u64) -> Option<(Instant, Instant)> {
    let (now, steady) = (now(), Instant::now());
    let ahead = Duration::from_nanos(from.checked_sub(now)?);
    let length = Duration::from_nanos(to.checked_sub(from)?);
    (ahead <= FARTHEST && length <= LONGEST).then(|| (steady + ahead, steady + ahead + length))
}

fn before(moment: Instant, by: Duration) -> Instant {
    moment.checked_sub(by).unwrap_or(moment)
}

fn sleep_until(moment: Instant) {
    sleep(moment.saturating_duration_since(Instant::now()));
}

/// CLOCK_REALTIME in nanoseconds.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
