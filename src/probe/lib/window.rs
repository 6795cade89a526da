//! One window: waits for its time, attaches CUPTI before it and takes it down after it. Between windows nothing of
//! ours runs, and before the first one CUPTI is not even looked for.

use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::closing::{self, guarded};
use super::cover::Window;
use super::cupti::{Functions, Trouble};
use super::detach::detach;
use super::find::Hints;
use super::wire::Kernels;

/// Attaching begins so long before a window: it took up to 24 ms on an H200, and kernels that were launched before
/// it, which are not recorded, shall have ended by the window's beginning.
const AHEAD: Duration = Duration::from_millis(50);
/// Recording goes on so long after a window, for the kernels that began in it to end.
const AFTER: Duration = Duration::from_millis(10);
/// No window is longer, and none begins later from now.
const LONGEST: Duration = Duration::from_secs(1);
const FARTHEST: Duration = Duration::from_secs(10);

/// Records windows, and remembers where CUPTI is.
pub struct Recorder {
    hints: Hints,
    cupti: Option<Functions>,
    attached_before: bool,
}

impl Recorder {
    /// Looks for nothing yet.
    pub fn new(hints: Hints) -> Recorder {
        Recorder { hints, cupti: None, attached_before: false }
    }

    /// The kernels of a window, some milliseconds after its end. A window that is over, too long or too far ahead
    /// is not recorded, and nothing of it covered. `Ok(None)`: the process is ending.
    pub fn record(&mut self, number: u64, from: u64, to: u64) -> Result<Option<Kernels>, Trouble> {
        let Some((begin, end)) = moments(from, to) else { return Ok(Some(Window::nothing(number, from))) };
        let Some(loaded) = guarded(|| self.load()) else { return Ok(None) };
        loaded?;
        let Some(cupti) = &self.cupti else { return Ok(None) };
        sleep(begin.saturating_duration_since(Instant::now() + AHEAD));
        let Some(attached) = guarded(|| cupti.attach()) else { return Ok(None) };
        let subscriber = attached?;
        if !self.attached_before {
            closing::again();
            self.attached_before = true;
        }
        let since = now();
        sleep((end + AFTER).saturating_duration_since(Instant::now()));
        let until = now();
        let Some(records) = guarded(|| detach(cupti, subscriber)) else { return Ok(None) };
        let records = records.map_err(Trouble::Lasting)?;
        let window = Window { number, ordered: (from, to), recorded: (since, until) };
        Ok(Some(window.kernels(records.times, !records.incomplete)))
    }

    fn load(&mut self) -> Result<(), Trouble> {
        if self.cupti.is_none() {
            let loaded = self.hints.load().and_then(Functions::load);
            self.cupti = Some(loaded.map_err(Trouble::Lasting)?);
        }
        Ok(())
    }
}

/// The window's ends on the steady clock: a step of the other one must not keep CUPTI attached.
fn moments(from: u64, to: u64) -> Option<(Instant, Instant)> {
    let (now, steady) = (now(), Instant::now());
    let ahead = Duration::from_nanos(from.checked_sub(now)?);
    let length = Duration::from_nanos(to.checked_sub(from)?);
    (ahead <= FARTHEST && length <= LONGEST).then(|| (steady + ahead, steady + ahead + length))
}

/// CLOCK_REALTIME, as CUPTI's records have it.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
