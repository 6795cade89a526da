//! The collectors and their registry: what a page is made from, and how it becomes text.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Registry, TextEncoder};

use super::catalogue::{self, BUILD_INFO, Metric, NODE_INFO};
use super::families::Families;
use super::gauges::Readings;
use super::own_process::{self, OwnProcess};
use super::tally::{self, Tally};
use crate::export::node_name;
use crate::model::Status;

/// Number of metrics that are gathered at once. A page of 24 000 series is 10 MB before it is text; this makes 3 of
/// them.
const AT_ONCE: usize = 8;

/// What a page is made from: everything at one moment.
pub(crate) struct Snapshot {
    /// Version, revision and compiler: the labels of `mpswarden_build_info`.
    pub build: [&'static str; 3],
    /// Wall time of the boot, in seconds since 1970.
    pub boot: f64,
    /// The last status.
    pub status: Arc<Status>,
    /// What was counted until then.
    pub tally: Tally,
}

/// Makes pages.
pub(crate) struct Pages {
    registry: Registry,
    asked: Asked,
    /// The catalogue, by name.
    rows: Vec<&'static Metric>,
}

/// What the collectors are asked for; `None` between two pages, so that nothing of a snapshot is kept.
type Asked = Arc<Mutex<Option<Question>>>;

struct Question {
    snapshot: Arc<Snapshot>,
    process: OwnProcess,
    rows: Vec<&'static Metric>,
}

impl Pages {
    /// Registers a collector for each part of the catalogue.
    pub(crate) fn new() -> Result<Pages, prometheus::Error> {
        let (registry, asked) = (Registry::new(), Asked::default());
        for part in PartCollector::all(&asked) {
            registry.register(Box::new(part?))?;
        }
        let mut rows = catalogue::ALL.to_vec();
        rows.sort_unstable_by_key(|row| row.name);
        Ok(Pages { registry, asked, rows })
    }

    /// The page of a snapshot, in the text format 0.0.4. `size` is about how long it will be, in bytes.
    pub(crate) fn page(&self, snapshot: Snapshot, size: usize) -> Result<String, prometheus::Error> {
        let (process, snapshot) = (OwnProcess::read(snapshot.boot), Arc::new(snapshot));
        let mut text = String::with_capacity(size);
        for rows in self.rows.chunks(AT_ONCE) {
            let families = self.gather(Question { snapshot: Arc::clone(&snapshot), process, rows: rows.to_vec() });
            TextEncoder::new().encode_utf8(&families, &mut text)?;
        }
        Ok(text)
    }

    fn gather(&self, question: Question) -> Vec<MetricFamily> {
        *lock(&self.asked) = Some(question);
        let families = self.registry.gather();
        *lock(&self.asked) = None;
        families
    }
}

/// Adds the series of one part to their families.
type Collect = fn(&Question, &mut Families);

/// Some rows of the catalogue and who fills them in.
struct PartCollector {
    rows: Vec<Desc>,
    collect: Collect,
    asked: Asked,
}

impl PartCollector {
    fn all(asked: &Asked) -> [Result<PartCollector, prometheus::Error>; 3] {
        let own = [own_process::ROWS, &[&BUILD_INFO, &NODE_INFO]].concat();
        let is_elsewhere = |row: &Metric| own.iter().chain(tally::ROWS).any(|known| known.row == row.row);
        let gauges: Vec<_> = catalogue::ALL.iter().copied().filter(|row| !is_elsewhere(row)).collect();
        [
            PartCollector::new(&own, collect_own, asked),
            PartCollector::new(tally::ROWS, collect_tally, asked),
            PartCollector::new(&gauges, collect_gauges, asked),
        ]
    }

    fn new(rows: &[&Metric], collect: Collect, asked: &Asked) -> Result<PartCollector, prometheus::Error> {
        let rows = rows.iter().map(|row| desc(row)).collect::<Result<_, _>>()?;
        Ok(PartCollector { rows, collect, asked: Arc::clone(asked) })
    }
}

impl Collector for PartCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.rows.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let asked = lock(&self.asked);
        let Some(question) = asked.as_ref() else { return Vec::new() };
        let mut families = Families::of(&question.rows);
        (self.collect)(question, &mut families);
        families.finish()
    }
}

fn desc(row: &Metric) -> Result<Desc, prometheus::Error> {
    let labels = row.labels.iter().map(|label| (*label).to_owned()).collect();
    Desc::new(row.name.to_owned(), row.help.to_owned(), labels, HashMap::new())
}

fn collect_own(question: &Question, families: &mut Families) {
    families.number(&BUILD_INFO, &question.snapshot.build, 1.0);
    families.number(&NODE_INFO, &[node_name()], 1.0);
    question.process.write(families);
}

fn collect_tally(question: &Question, families: &mut Families) {
    question.snapshot.tally.write(&question.snapshot.status, families);
}

fn collect_gauges(question: &Question, families: &mut Families) {
    Readings { status: &question.snapshot.status, boot: question.snapshot.boot }.write(families);
}

/// A panic while it was held leaves a question that the next one replaces.
fn lock(asked: &Asked) -> MutexGuard<'_, Option<Question>> {
    asked.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::export::testing;
    use crate::model::GroupStatus;

    fn snapshot(status: Status) -> Snapshot {
        let mut tally = Tally::default();
        tally.expect(&status);
        tally.reloaded(1.0);
        Snapshot { build: ["0.1.0", "abc1234", "1.90.0"], boot: 0.0, status: Arc::new(status), tally }
    }

    fn serving() -> Snapshot {
        let engines = vec![testing::engine("a"), testing::engine("b")];
        snapshot(testing::status(vec![GroupStatus { engines, ..testing::group("llms") }]))
    }

    #[test]
    fn no_row_has_two_collectors_and_none_reports_anothers() {
        let [own, counted]: [BTreeSet<&str>; 2] =
            [own_process::ROWS, tally::ROWS].map(|rows| rows.iter().map(|row| row.name).collect());
        assert!(own.is_disjoint(&counted));
        let question =
            Question { snapshot: Arc::new(serving()), process: OwnProcess::read(0.0), rows: catalogue::ALL.to_vec() };
        let told = |collect: Collect| -> BTreeSet<String> {
            let mut families = Families::of(catalogue::ALL);
            collect(&question, &mut families);
            families.finish().iter().map(|family| family.name().to_owned()).collect()
        };
        assert!(told(collect_tally).iter().all(|name| counted.contains(name.as_str())));
        assert!(
            told(collect_own)
                .iter()
                .all(|name| own.contains(name.as_str()) || [BUILD_INFO.name, NODE_INFO.name].contains(&name.as_str()))
        );
        let others = |name: &String| own.contains(name.as_str()) || counted.contains(name.as_str());
        assert!(!told(collect_gauges).iter().any(others));
    }

    #[test]
    fn a_page_is_in_the_order_of_names_and_no_family_comes_twice() {
        let page = Pages::new().unwrap().page(serving(), 0).unwrap();
        let names: Vec<&str> =
            page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        assert!(names.len() > 2 * AT_ONCE && names.is_sorted_by(|one, next| one < next), "{names:?}");
    }

    #[test]
    fn a_page_holds_nothing_of_the_one_before_and_keeps_nothing_of_its_own() {
        let pages = Pages::new().unwrap();
        assert!(pages.page(serving(), 0).unwrap().contains("group=\"llms\""));
        let empty = snapshot(testing::status(Vec::new()));
        let status = Arc::downgrade(&empty.status);
        assert!(!pages.page(empty, 0).unwrap().contains("llms"));
        assert_eq!(status.strong_count(), 0);
    }
}
