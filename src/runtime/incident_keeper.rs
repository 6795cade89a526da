//! Brings incidents to disk, on a thread of its own: a disk that is slow, full or hangs delays nothing. The latest
//! form of each waits; what can't be written is tried again.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::export::Exporter;
use crate::host::incident_store::{IncidentStore, KEPT, StoredIncidents};
use crate::model::{Incident, Written};

/// Pause between two tries, while the disk refuses.
const RETRY: Duration = Duration::from_secs(5);
/// Upper bound for writing what waits when the watchdog ends.
const LAST_WRITES: Duration = Duration::from_secs(2);

/// Called with how each writing ended.
type Count = Arc<dyn Fn(Written) + Send + Sync>;

/// The near end: takes incidents, never waits.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    count: Count,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    /// Incidents by name, so oldest first; at most [`KEPT`].
    incidents: BTreeMap<String, Arc<Incident>>,
    /// The thread has one in hand.
    writing: bool,
    /// No more will come, and nothing is tried twice.
    ending: bool,
}

/// Gives the exporter what earlier runs left in the store, and brings there what comes from now on.
pub(super) fn start(store: IncidentStore, exporter: &Arc<Exporter>) -> io::Result<Keeper> {
    let changed = exporter.remember(earlier(&store));
    let counter = exporter.clone();
    let count: Count = Arc::new(move |written| counter.incident_written(written));
    let keeper = Keeper::over(Disk { store, refuses: false }, count, RETRY)?;
    keeper.keep(changed);
    Ok(keeper)
}

/// The incidents that are there; what can't be read is logged once.
fn earlier(store: &IncidentStore) -> Vec<Incident> {
    let StoredIncidents { incidents, bad } = store
        .load()
        .unwrap_or_else(|error| StoredIncidents { bad: vec![error.to_string()], ..StoredIncidents::default() });
    if !bad.is_empty() {
        let directory = store.directory().display();
        tracing::warn!("not every incident of earlier runs in {directory} can be read: {}", bad.join("; "));
    }
    incidents
}

/// Where they are written to.
trait Write: Send + 'static {
    /// Whether it is there now.
    fn write(&mut self, incident: &Incident) -> bool;
}

/// The store, and whether it refused the last one.
struct Disk {
    store: IncidentStore,
    refuses: bool,
}

impl Write for Disk {
    /// Trouble is logged when it begins and when it is over.
    fn write(&mut self, incident: &Incident) -> bool {
        let (done, directory) = (self.store.save(incident), self.store.directory().display());
        match &done {
            Err(error) if !self.refuses => tracing::warn!(
                "incidents can't be written to {directory}: {error}; free space or mend its permissions: they are \
                 tried again, and lost if mpswarden ends before"
            ),
            Ok(()) if self.refuses => tracing::info!("incidents are written to {directory} again"),
            _ => {}
        }
        self.refuses = done.is_err();
        done.is_ok()
    }
}

impl Keeper {
    fn over(disk: impl Write, count: Count, retry: Duration) -> io::Result<Keeper> {
        let shared = Arc::new(Shared::default());
        let (theirs, counted) = (shared.clone(), count.clone());
        thread::Builder::new().name("incidents".to_owned()).spawn(move || theirs.write_all(disk, &counted, retry))?;
        Ok(Keeper { shared, count })
    }

    /// Takes these, each in the place of what waits of it. Over the bound the oldest go.
    pub(super) fn keep(&self, incidents: Vec<Arc<Incident>>) {
        if incidents.is_empty() {
            return;
        }
        let mut waiting = self.shared.lock();
        waiting.incidents.extend(incidents.into_iter().map(|incident| (incident.id.clone(), incident)));
        while waiting.incidents.len() > KEPT {
            waiting.incidents.pop_first();
            (self.count)(Written::Dropped);
        }
        self.shared.changed.notify_all();
    }

    /// Lets what waits be written, within 2 s.
    pub(super) fn finish(&self) {
        let mut waiting = self.shared.lock();
        waiting.ending = true;
        self.shared.changed.notify_all();
        let busy = |waiting: &mut Waiting| waiting.writing || !waiting.incidents.is_empty();
        let ended = self.shared.changed.wait_timeout_while(waiting, LAST_WRITES, busy);
        let (waiting, waited) = ended.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            tracing::warn!("{} incidents were not written: the disk is slow or hangs", waiting.incidents.len().max(1));
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes until the end.
    fn write_all(&self, mut disk: impl Write, count: &Count, retry: Duration) {
        while let Some(incident) = self.next() {
            let done = disk.write(&incident);
            count(if done { Written::Ok } else { Written::Failed });
            self.put_down(incident, done, retry);
        }
    }

    /// Waits for one; `None`: no more will come.
    fn next(&self) -> Option<Arc<Incident>> {
        let idle = |waiting: &mut Waiting| waiting.incidents.is_empty() && !waiting.ending;
        let mut waiting = self.changed.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        let (_, incident) = waiting.incidents.pop_first()?;
        waiting.writing = true;
        Some(incident)
    }

    /// One that was not written waits on, unless a later form of it came; then the disk gets a pause.
    fn put_down(&self, incident: Arc<Incident>, done: bool, retry: Duration) {
        let mut waiting = self.lock();
        waiting.writing = false;
        if !done && !waiting.ending {
            waiting.incidents.entry(incident.id.clone()).or_insert(incident);
            let paused = self.changed.wait_timeout_while(waiting, retry, |waiting| !waiting.ending);
            drop(paused);
        }
        self.changed.notify_all();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;
    use crate::model::Fault;

    /// Writes as the test says, and reports what it wrote.
    struct Played {
        goes_well: Receiver<bool>,
        written: Sender<String>,
    }

    impl Write for Played {
        fn write(&mut self, incident: &Incident) -> bool {
            let well = self.goes_well.recv().unwrap_or(true);
            let _ = self.written.send(format!("{} {}", incident.id, incident.because));
            well
        }
    }

    struct Scene {
        keeper: Keeper,
        goes_well: Sender<bool>,
        written: Receiver<String>,
        counted: Receiver<Written>,
    }

    fn scene() -> Scene {
        let ((goes_well, plays), (tells, written), (counts, counted)) = (channel(), channel(), channel());
        let counts = Mutex::new(counts);
        let count: Count = Arc::new(move |result| {
            let _ = counts.lock().unwrap().send(result);
        });
        let keeper = Keeper::over(Played { goes_well: plays, written: tells }, count, Duration::ZERO).unwrap();
        Scene { keeper, goes_well, written, counted }
    }

    fn incident(id: &str, because: &str) -> Vec<Arc<Incident>> {
        let begins = Incident::begins(id.to_owned(), "small-llms".into(), Fault::GpuFault, 1.0, 2.0);
        vec![Arc::new(Incident { because: because.to_owned(), ..begins })]
    }

    #[test]
    fn a_disk_that_hangs_blocks_nobody_and_gets_the_latest_of_each() {
        let scene = scene();
        scene.keeper.keep(incident("1", "first"));
        (0..1000).for_each(|n| scene.keeper.keep(incident("2", &format!("form {n}"))));
        scene.goes_well.send(true).unwrap();
        scene.goes_well.send(true).unwrap();
        let told: Vec<String> = scene.written.iter().take(2).collect();
        // The second may have been written first, were it alone; what is last is the latest.
        assert_eq!(told, ["1 first", "2 form 999"]);
        scene.keeper.finish();
    }

    #[test]
    fn over_the_bound_the_oldest_are_dropped_and_counted() {
        let scene = scene();
        (0..KEPT + 20).for_each(|n| scene.keeper.keep(incident(&format!("{n:04}"), "")));
        let dropped = scene.counted.iter().take(19).filter(|result| *result == Written::Dropped).count();
        // One may be with the writer already.
        assert_eq!(dropped, 19);
        drop(scene.goes_well);
        scene.keeper.finish();
        assert!(scene.written.try_iter().last().unwrap().starts_with("0119"));
    }

    #[test]
    fn what_failed_is_tried_again_in_its_latest_form() {
        let scene = scene();
        scene.keeper.keep(incident("1", "first"));
        scene.goes_well.send(false).unwrap();
        scene.goes_well.send(true).unwrap();
        let told: Vec<String> = scene.written.iter().take(2).collect();
        assert_eq!(told, ["1 first", "1 first"]);
        let counted: Vec<Written> = scene.counted.iter().take(2).collect();
        assert_eq!(counted, [Written::Failed, Written::Ok]);
    }

    #[test]
    fn at_the_end_all_is_written_once_and_nothing_tried_twice() {
        let scene = scene();
        for id in ["1", "2", "3"] {
            scene.keeper.keep(incident(id, ""));
        }
        (0..3).for_each(|_| scene.goes_well.send(false).unwrap());
        drop(scene.goes_well);
        scene.keeper.finish();
        assert!(scene.keeper.shared.lock().incidents.is_empty());
    }
}
