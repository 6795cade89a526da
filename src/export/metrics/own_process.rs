//! The watchdog's own `process_*` samples, from /proc/self. What can't be read is left out.

use procfs::WithCurrentSystemInfo;
use procfs::process::{LimitValue, Process};

use super::catalogue as metric;
use super::exposition::Exposition;

/// Adds them; `boot` is the boot's wall time in seconds since 1970.
pub fn write(page: &mut Exposition, boot: f64) {
    let Ok(process) = Process::myself() else { return };
    let ticks = procfs::ticks_per_second() as f64;
    if let Ok(stat) = process.stat() {
        page.number(&metric::PROCESS_CPU, &[], (stat.utime + stat.stime) as f64 / ticks);
        page.number(&metric::PROCESS_RESIDENT, &[], stat.rss_bytes().get() as f64);
        page.number(&metric::PROCESS_VIRTUAL, &[], stat.vsize as f64);
        page.number(&metric::PROCESS_THREADS, &[], stat.num_threads as f64);
        page.number(&metric::PROCESS_START_TIME, &[], boot + stat.starttime as f64 / ticks);
    }
    if let Ok(open) = process.fd_count() {
        page.number(&metric::PROCESS_OPEN_FDS, &[], open as f64);
    }
    if let Ok(limits) = process.limits()
        && let LimitValue::Value(most) = limits.max_open_files.soft_limit
    {
        page.number(&metric::PROCESS_MAX_FDS, &[], most as f64);
    }
}
