//! `Exporter`: takes events and statuses from the core and answers scrapes from memory. It touches no
//! driver and no daemon; only its own `process_*` samples come from /proc/self.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::watch;

use super::document::{IncidentsDocument, Running, StatusDocument, Wall};
use super::history::{History, Since};
use super::incidents::Incidents;
use super::metrics::{Pages, Snapshot, Tally};
use super::wall::WallClock;
use crate::model::{EngineName, Event, GroupName, HttpAddress, Incident, Moment, Status, Written};
use crate::text::plain;

/// Age of a status above which it is not served: better no data than stale data.
pub(super) const MAX_STATUS_AGE: Duration = Duration::from_secs(30);
/// Age at which a page is made anew even if nothing happened: `process_*` move.
const MAX_PAGE_AGE: Duration = Duration::from_secs(1);

/// The build that runs.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct BuildInfo {
    /// The crate's version.
    pub version: &'static str,
    /// The commit it was built from.
    pub revision: &'static str,
    /// The compiler.
    pub rustc: &'static str,
}

/// The core loop has not published a status for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the last status is {} s old, over 30 s: the core loop is stuck; see the log, and restart mpswarden", age.as_secs())]
pub struct TooOld {
    /// How old the last status is.
    pub age: Duration,
}

/// There is no page.
#[derive(Debug, thiserror::Error)]
pub enum NoPage {
    /// What it would say is not true any more.
    #[error(transparent)]
    TooOld(#[from] TooOld),
    /// The encoder refused it: a row of the catalogue is wrong.
    #[error("the page can't be written: {0}")]
    Unwritten(#[from] prometheus::Error),
}

/// Metrics, incidents and status for the outside. Shared by `Arc`: the core loop records and counts, HTTP scrapes.
///
/// No lock is held while text is made, except that of the page, which only scrapes take: the core never
/// waits for a rendering.
pub struct Exporter {
    build: BuildInfo,
    wall: WallClock,
    /// The last status, as the core loop sent it.
    status: watch::Receiver<Arc<Status>>,
    facts: Mutex<Facts>,
    /// Counts changes of the facts, so that a page knows whether it is current; it is raised under their lock.
    version: AtomicU64,
    page: Mutex<Page>,
    /// What was in the last hour. The core loop never takes this lock.
    history: Mutex<History>,
}

/// What is kept beside the last status.
struct Facts {
    http: Vec<HttpAddress>,
    tally: Tally,
    incidents: Incidents,
}

/// The last rendering, for all scrapes until something happens, and what makes the next one.
#[derive(Default)]
struct Page {
    last: Option<Rendering>,
    /// Channel for the pages, from the first scrape on.
    pages: Option<Pages>,
}

struct Rendering {
    text: Bytes,
    made_from: MadeFrom,
    at: Moment,
}

/// What a page was made from. The status is known by its place in memory, which cannot be another one's while it is
/// named here.
struct MadeFrom {
    status: Weak<Status>,
    version: u64,
}

impl Page {
    /// The last rendering, while nothing has happened since.
    fn current(&self, status: &Arc<Status>, version: u64, now: Moment) -> Option<Bytes> {
        let last = self.last.as_ref()?;
        let same = last.made_from.version == version && last.made_from.status.as_ptr() == Arc::as_ptr(status);
        (same && now.since(last.at) < MAX_PAGE_AGE).then(|| last.text.clone())
    }

    fn make(&mut self, snapshot: Snapshot) -> Result<String, prometheus::Error> {
        let pages = match &self.pages {
            Some(pages) => pages,
            None => self.pages.insert(Pages::new()?),
        };
        // About as long as the last one, and a little more: it seldom grows much.
        let size = self.last.as_ref().map_or(0, |last| last.text.len() + last.text.len() / 64);
        pages.page(snapshot, size)
    }
}

/// A status as the client of the same version reads it back; its moments are nanoseconds since
/// `boot_timestamp_seconds`.
#[derive(Serialize)]
struct StateDocument<'a> {
    timestamp_seconds: f64,
    boot_timestamp_seconds: f64,
    build: BuildInfo,
    http: Vec<HttpAddress>,
    since: Since,
    #[serde(flatten)]
    status: &'a Status,
}

impl Exporter {
    /// `boot_to_wall` says what wall time `Moment::ZERO` has, by the wall clock as it is set now; the first `status`
    /// names the groups, engines, GPUs and sources whose series start at 0.
    pub fn new(
        build: BuildInfo,
        boot_to_wall: impl Fn() -> SystemTime + Send + Sync + 'static,
        status: watch::Receiver<Arc<Status>>,
    ) -> Self {
        let wall = WallClock::new(boot_to_wall);
        let known = Arc::clone(&status.borrow());
        let mut tally = Tally::default();
        tally.expect(&known);
        tally.reloaded(wall.seconds(known.at));
        let facts = Facts { http: Vec::new(), tally, incidents: Incidents::default() };
        Exporter {
            build,
            wall,
            status,
            facts: Mutex::new(facts),
            version: AtomicU64::new(0),
            page: Mutex::default(),
            history: Mutex::default(),
        }
    }

    /// Takes the newest status into the history. Whoever follows the statuses does this, on a thread of its own.
    pub fn look(&self) {
        let status = self.status();
        lock(&self.history).look(&status);
    }

    /// What was in the last hour.
    pub fn history(&self) -> History {
        lock(&self.history).clone()
    }

    /// Takes up whether HTTP is served on an address; why not, for people.
    pub fn set_http(&self, address: &str, down: Option<String>) {
        let http = &mut lock(&self.facts).http;
        http.retain(|known| known.address != address);
        http.push(HttpAddress { address: address.to_owned(), down });
    }

    /// Counts an event, and takes it into the incident that it belongs to.
    pub fn record(&self, event: &Event) {
        let (boot, status) = (self.wall.boot(), self.status());
        let facts = &mut *lock(&self.facts);
        facts.tally.record(event, &status, boot + event.at.as_secs_f64());
        facts.incidents.record(event, &status, boot);
        self.changed();
    }

    /// Counts what the next status says beside the last one: the readings that ended, and the series of what is new.
    /// The core loop does this before it sends that status.
    pub fn count(&self, next: &Status) {
        let last = self.status();
        let facts = &mut *lock(&self.facts);
        facts.tally.record_time(&last, next);
        if same_names(&last, next) {
            facts.tally.record_readings(&last, next);
        } else {
            facts.tally.expect(next);
            facts.incidents.keep_groups_of(next);
        }
        self.changed();
    }

    /// Every incident that is kept, newest first.
    pub fn incidents(&self) -> Vec<Arc<Incident>> {
        lock(&self.facts).incidents.newest_first()
    }

    /// Takes in those of earlier runs, newest first; given back are those that were not over then, as they are
    /// to be written now.
    pub fn remember(&self, earlier: Vec<Incident>) -> Vec<Arc<Incident>> {
        lock(&self.facts).incidents.remember(earlier)
    }

    /// What is to be written of incidents, to outlive this process.
    pub fn incidents_to_write(&self, now: Moment) -> Vec<Arc<Incident>> {
        lock(&self.facts).incidents.take_unwritten(now)
    }

    /// Counts the writing of an incident.
    pub fn incident_written(&self, result: Written) {
        let facts = &mut *lock(&self.facts);
        facts.tally.incident_written(result);
        self.changed();
    }

    /// The document of `/api/v1/incidents`.
    pub fn incidents_json(&self) -> Result<Bytes, serde_json::Error> {
        let incidents = self.incidents();
        plain_json(&IncidentsDocument::of(incidents.iter().map(Arc::as_ref)))
    }

    /// The build that runs.
    pub fn build(&self) -> BuildInfo {
        self.build
    }

    /// Seconds since 1970 of `Moment::ZERO`.
    pub fn boot(&self) -> f64 {
        self.wall.boot()
    }

    /// The last status.
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status.borrow())
    }

    /// The last status, unless it is too old to be believed at `now`.
    pub fn fresh_status(&self, now: Moment) -> Result<Arc<Status>, TooOld> {
        let status = self.status();
        refuse_old(&status, now)?;
        Ok(status)
    }

    /// The last page, where it is current and no other is being made: at once, whatever hangs.
    pub fn current_page(&self, now: Moment) -> Option<Bytes> {
        let page = self.page.try_lock().ok()?;
        self.kept(&page, now).ok()?
    }

    /// Every metric in the exposition format 0.0.4; the same bytes for all until something happens. The first one after
    /// that makes the page on its own thread.
    pub fn scrape(&self, now: Moment) -> Result<Bytes, NoPage> {
        // Whoever comes while a page is made waits for that one.
        let page = &mut *lock(&self.page);
        if let Some(text) = self.kept(page, now)? {
            return Ok(text);
        }
        let (status, version, tally) = {
            let facts = lock(&self.facts);
            (self.status(), self.version(), facts.tally.clone())
        };
        let text = Bytes::from(page.make(self.snapshot(&status, tally))?);
        let made_from = MadeFrom { status: Arc::downgrade(&status), version };
        page.last = Some(Rendering { text: text.clone(), made_from, at: now });
        Ok(text)
    }

    /// The document of `/api/v1/status`, however old the status is: its `timestamp_seconds` says so.
    pub fn status_json(&self) -> Result<Bytes, serde_json::Error> {
        let wall = Wall { boot_seconds: self.wall.boot() };
        let http = lock(&self.facts).http.clone();
        plain_json(&StatusDocument::of(&self.status(), Running { wall, build: self.build, http }))
    }

    /// The last status as the client of the same version reads it back, however old.
    pub fn state_json(&self) -> Result<Bytes, serde_json::Error> {
        let status = self.status();
        let document = StateDocument {
            timestamp_seconds: self.wall.seconds(status.at),
            boot_timestamp_seconds: self.wall.boot(),
            build: self.build,
            http: lock(&self.facts).http.clone(),
            since: lock(&self.history).since(&status),
            status: &status,
        };
        plain_json(&document)
    }

    /// The last page, where it is current. The status is not cloned: most scrapes come to no more than this.
    fn kept(&self, page: &Page, now: Moment) -> Result<Option<Bytes>, TooOld> {
        let status = self.status.borrow();
        refuse_old(&status, now)?;
        Ok(page.current(&status, self.version(), now))
    }

    /// The facts changed. Their lock is held.
    fn changed(&self) {
        self.version.fetch_add(1, Ordering::Release);
    }

    fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    fn snapshot(&self, status: &Arc<Status>, tally: Tally) -> Snapshot {
        let BuildInfo { version, revision, rustc } = self.build;
        Snapshot { build: [version, revision, rustc], boot: self.wall.boot(), status: Arc::clone(status), tally }
    }
}

fn refuse_old(status: &Status, now: Moment) -> Result<(), TooOld> {
    let age = now.since(status.at);
    if age > MAX_STATUS_AGE { Err(TooOld { age }) } else { Ok(()) }
}

/// Names and texts of others are in it: `curl` of it must not drive a terminal.
fn plain_json(document: &impl Serialize) -> Result<Bytes, serde_json::Error> {
    serde_json::to_string(document).map(|text| Bytes::from(plain::json(&text)))
}

/// Whether both have the same groups, engines, GPUs and sources, in the same order.
fn same_names(one: &Status, other: &Status) -> bool {
    one.gpus.iter().map(|gpu| gpu.identity.label()).eq(other.gpus.iter().map(|gpu| gpu.identity.label()))
        && one.sources.iter().map(|source| &source.scope).eq(other.sources.iter().map(|source| &source.scope))
        && engine_names(one).eq(engine_names(other))
        && one.groups.iter().map(|group| &group.name).eq(other.groups.iter().map(|group| &group.name))
}

fn engine_names(status: &Status) -> impl Iterator<Item = (&GroupName, &EngineName)> {
    status.groups.iter().flat_map(|group| group.engines.iter().map(|engine| (&group.name, &engine.name)))
}

/// A panic while a lock was held leaves counts that are still true.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
