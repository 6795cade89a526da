//! The watchdog's own `process_*` samples, from /proc/self. What can't be read is left out.

use procfs::WithCurrentSystemInfo;
use procfs::process::{LimitValue, Process};

use super::catalogue::{self as metric, Metric};
use super::families::Families;
use super::gauges::write_known;

/// The rows of the watchdog's own process.
pub(super) const ROWS: &[&Metric] = &[
    &metric::PROCESS_CPU,
    &metric::PROCESS_RESIDENT,
    &metric::PROCESS_VIRTUAL,
    &metric::PROCESS_OPEN_FDS,
    &metric::PROCESS_MAX_FDS,
    &metric::PROCESS_THREADS,
    &metric::PROCESS_START_TIME,
];

/// The values of `ROWS`, in their order.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OwnProcess([Option<f64>; ROWS.len()]);

impl OwnProcess {
    /// Reads the values from /proc/self; `boot` is the boot's wall time in seconds since 1970.
    pub(super) fn read(boot: f64) -> OwnProcess {
        let Ok(process) = Process::myself() else { return OwnProcess::default() };
        let ticks = procfs::ticks_per_second() as f64;
        let stat = process.stat().ok();
        let of_stat = |value: &dyn Fn(&procfs::process::Stat) -> f64| stat.as_ref().map(value);
        let most = process.limits().ok().and_then(|limits| match limits.max_open_files.soft_limit {
            LimitValue::Value(most) => Some(most as f64),
            LimitValue::Unlimited => None,
        });
        OwnProcess([
            of_stat(&|stat| (stat.utime + stat.stime) as f64 / ticks),
            of_stat(&|stat| stat.rss_bytes().get() as f64),
            of_stat(&|stat| stat.vsize as f64),
            process.fd_count().ok().map(|open| open as f64),
            most,
            of_stat(&|stat| stat.num_threads as f64),
            of_stat(&|stat| boot + stat.starttime as f64 / ticks),
        ])
    }

    /// Adds a series for each value that could be read.
    pub(super) fn write(&self, families: &mut Families) {
        for (row, value) in ROWS.iter().zip(self.0) {
            write_known(families, row, &[], value);
        }
    }
}
