//! `Exporter`: takes events and statuses from the core and answers scrapes from memory. It touches no
//! driver and no daemon; only its own `process_*` samples come from /proc/self.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::Serialize;

use super::catalogue as metric;
use super::gauges::Readings;
use super::own_process;
use super::samples::Samples;
use super::tally;
use super::wall::WallClock;
use crate::model::{EngineKey, EngineName, Event, GroupName, Moment, Status};

/// A status older than this is not served: better no data than stale data.
pub const MAX_STATUS_AGE: Duration = Duration::from_secs(30);
/// A page is made anew after this even if nothing happened: `process_*` move.
const MAX_PAGE_AGE: Duration = Duration::from_secs(1);

/// What is running.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct BuildInfo {
    /// The crate's version.
    pub version: &'static str,
    /// The commit it was built from.
    pub revision: &'static str,
    /// The compiler.
    pub rustc: &'static str,
}

/// The core loop has not told its status for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the last status is {} s old, over 30 s: the core loop is stuck; see the log, and restart mpswarden", age.as_secs())]
pub struct TooOld {
    /// How old the last status is.
    pub age: Duration,
}

/// Metrics and status for the outside. Shared by `Arc`: the core records and publishes, HTTP scrapes.
///
/// No lock is held while text is made, except that of the page, which only scrapes take: the core never
/// waits for a rendering.
pub struct Exporter {
    build: BuildInfo,
    wall: WallClock,
    endpoints: Mutex<BTreeMap<EngineKey, String>>,
    facts: Mutex<Facts>,
    page: Mutex<Option<Page>>,
}

/// What there is to tell.
struct Facts {
    status: Arc<Status>,
    tally: Samples,
    /// Counts changes, so that a page knows whether it is current.
    version: u64,
}

/// One rendering, for all scrapes until something happens.
struct Page {
    text: Bytes,
    version: u64,
    at: Moment,
}

/// The JSON of a status; its moments are nanoseconds since `boot_timestamp_seconds`.
#[derive(Serialize)]
struct Document<'a> {
    timestamp_seconds: f64,
    boot_timestamp_seconds: f64,
    build: BuildInfo,
    #[serde(flatten)]
    status: &'a Status,
}

impl Exporter {
    /// `boot_to_wall` says what wall time `Moment::ZERO` has, by the wall clock as it is set now;
    /// `known` names the groups, engines, GPUs and sources whose series start at 0.
    pub fn new(
        build: BuildInfo,
        boot_to_wall: impl Fn() -> SystemTime + Send + Sync + 'static,
        known: &Status,
    ) -> Self {
        let mut tally = Samples::default();
        tally::expect(&mut tally, known);
        let facts = Facts { status: Arc::new(known.clone()), tally, version: 0 };
        let wall = WallClock::new(boot_to_wall);
        Exporter { build, wall, endpoints: Mutex::default(), facts: Mutex::new(facts), page: Mutex::new(None) }
    }

    /// With the URLs of engines, for `mps_engine_info`.
    pub fn with_endpoints(self, endpoints: BTreeMap<EngineKey, String>) -> Self {
        self.take_up_endpoints(endpoints);
        self
    }

    /// Takes up other URLs of engines.
    pub fn take_up_endpoints(&self, endpoints: BTreeMap<EngineKey, String>) {
        *lock(&self.endpoints) = endpoints;
    }

    /// Counts an event.
    pub fn record(&self, event: &Event) {
        let wall = self.wall.seconds(event.at);
        let facts = &mut *lock(&self.facts);
        tally::record(&mut facts.tally, event, &facts.status, wall);
        facts.version += 1;
    }

    /// Takes up a status; the next scrape shows it.
    pub fn publish(&self, status: Arc<Status>) {
        let facts = &mut *lock(&self.facts);
        tally::record_readings(&mut facts.tally, &facts.status, &status);
        if !same_names(&facts.status, &status) {
            tally::expect(&mut facts.tally, &status);
        }
        facts.status = status;
        facts.version += 1;
    }

    /// The last status.
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&lock(&self.facts).status)
    }

    /// The last status, unless it is too old to be believed at `now`.
    pub fn fresh_status(&self, now: Moment) -> Result<Arc<Status>, TooOld> {
        let status = self.status();
        let age = now.since(status.at);
        if age > MAX_STATUS_AGE { Err(TooOld { age }) } else { Ok(status) }
    }

    /// Every metric in the exposition format 0.0.4; the same bytes for all until something happens.
    pub fn scrape(&self, now: Moment) -> Result<Bytes, TooOld> {
        self.fresh_status(now)?;
        let mut page = lock(&self.page);
        let version = lock(&self.facts).version;
        if let Some(page) = page.as_ref()
            && page.version == version
            && now.since(page.at) < MAX_PAGE_AGE
        {
            return Ok(page.text.clone());
        }
        let text = Bytes::from(self.render());
        *page = Some(Page { text: text.clone(), version, at: now });
        Ok(text)
    }

    /// The last status as JSON, however old: its `timestamp_seconds` says so.
    pub fn status_json(&self) -> Result<Bytes, serde_json::Error> {
        let status = self.status();
        let document = Document {
            timestamp_seconds: self.wall.seconds(status.at),
            boot_timestamp_seconds: self.wall.boot(),
            build: self.build,
            status: &status,
        };
        serde_json::to_vec(&document).map(Bytes::from)
    }

    fn render(&self) -> String {
        let (status, mut tally) = {
            let facts = lock(&self.facts);
            (Arc::clone(&facts.status), facts.tally.clone())
        };
        tally::keep_present(&mut tally, &status);
        let mut gauges = Samples::default();
        let BuildInfo { version, revision, rustc } = self.build;
        gauges.set(&metric::BUILD_INFO, &[version, revision, rustc], 1.0);
        own_process::add(&mut gauges, self.wall.boot());
        Readings { status: &status, endpoints: &lock(&self.endpoints), wall: &self.wall }.add_to(&mut gauges);
        gauges.text(&tally)
    }
}

/// Whether both have the same groups, engines, GPUs and sources.
fn same_names(one: &Status, other: &Status) -> bool {
    one.gpus.iter().map(|gpu| gpu.identity.index).eq(other.gpus.iter().map(|gpu| gpu.identity.index))
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
