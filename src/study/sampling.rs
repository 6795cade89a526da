//! Samples what a run uses beside the GPU's memory: CPU time of threads, requests in queues, the SMs' activity.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use super::limits::{EngineUsed, Used};
use crate::host::engine_metrics;
use crate::host::http::Peer;
use crate::host::nvml::Driver;
use crate::host::procfs::Procfs;
use crate::model::GpuUuid;

/// Upper bound for one answer of an engine or of NVML.
const ANSWER: Duration = Duration::from_secs(2);

/// An engine that has work.
#[derive(Clone, Debug)]
pub(super) struct Working {
    pub engine: String,
    /// Its processes, the first one first.
    pub pids: Vec<u32>,
    /// URL and path of its metrics; `None`: it has none.
    pub metrics: Option<(String, String)>,
}

/// The GPU that is shared.
#[derive(Clone)]
pub struct SampledGpu {
    /// The library that knows it.
    pub driver: Driver,
    /// Which of its GPUs.
    pub gpu: GpuUuid,
}

impl std::fmt::Debug for SampledGpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SampledGpu({})", self.gpu)
    }
}

/// CPU time by process and thread.
type Threads = BTreeMap<(u32, u32), Duration>;

/// The beginning of what counts.
pub(super) struct Sample {
    at: Instant,
    threads: Threads,
    queues: Vec<Queue>,
}

/// Requests that run and that wait, where the engine says so.
type Queue = Option<(f64, f64)>;

/// Processes and the GPU of one run, to be sampled.
pub(super) struct Sampled<'a> {
    pub working: &'a [Working],
    /// Pid of the load's process.
    pub load: u32,
    pub gpu: Option<&'a SampledGpu>,
}

impl Sampled<'_> {
    /// Takes the sample with which what counts begins.
    pub(super) async fn begin(&self) -> Sample {
        let queues = self.queues().await;
        // The activity of the GPU is that since the reading before.
        self.sm_active().await;
        Sample { at: Instant::now(), threads: self.threads(), queues }
    }

    /// What was used since.
    pub(super) async fn since(&self, began: &Sample) -> Used {
        let (threads, took) = (self.threads(), began.at.elapsed());
        let sm_active = self.sm_active().await;
        let queues = self.queues().await;
        let busiest = |pids: &[u32]| busiest(&began.threads, &threads, pids, took);
        let engines = self.working.iter().enumerate().map(|(index, working)| {
            let (first, others) = working
                .pids
                .split_first()
                .map_or((&[][..], &[][..]), |(first, others)| (std::slice::from_ref(first), others));
            let queue = began.queues[index].zip(queues[index]);
            EngineUsed {
                engine: working.engine.clone(),
                front: busiest(first),
                core: busiest(others),
                running: queue.map(|(before, after)| (before.0 + after.0) / 2.0),
                waiting: queue.map(|(before, after)| before.1.min(after.1)),
            }
        });
        Used { load: busiest(&[self.load]), sm_active, engines: engines.collect() }
    }

    fn threads(&self) -> Threads {
        let procfs = Procfs::new(Path::new("/proc"));
        let pids = self.working.iter().flat_map(|working| &working.pids).chain([&self.load]);
        let of = |pid: &u32| {
            let threads = procfs.threads(*pid).unwrap_or_default();
            threads.into_iter().map(|(thread, cpu)| ((*pid, thread), cpu)).collect::<Vec<_>>()
        };
        pids.flat_map(of).collect()
    }

    async fn queues(&self) -> Vec<Queue> {
        let mut queues = Vec::new();
        for working in self.working {
            let load = match &working.metrics {
                Some((url, path)) => engine_metrics::read(&mut Peer::new(url), path, ANSWER).await.ok(),
                None => None,
            };
            queues.push(load.and_then(|load| Some((load.running?, load.waiting?))));
        }
        queues
    }

    async fn sm_active(&self) -> Option<f64> {
        let SampledGpu { driver, gpu } = self.gpu?.clone();
        let read = tokio::task::spawn_blocking(move || driver.read_within(&gpu, ANSWER));
        read.await.ok()??.ok()?.activity?.sm_active
    }
}

/// The busiest thread of these processes, as a share of a core; `None`: none of them was there at both times.
fn busiest(before: &Threads, after: &Threads, pids: &[u32], took: Duration) -> Option<f64> {
    let mine = after.iter().filter(|((pid, _), _)| pids.contains(pid));
    let used = mine.filter_map(|(thread, cpu)| Some(cpu.saturating_sub(*before.get(thread)?).as_secs_f64()));
    used.map(|used| used / took.as_secs_f64()).filter(|share| share.is_finite()).max_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_thread_counts_and_one_that_came_meanwhile_does_not() {
        let ms = Duration::from_millis;
        let before = Threads::from([((7, 7), ms(100)), ((7, 8), ms(0))]);
        let after = Threads::from([((7, 7), ms(200)), ((7, 8), ms(900)), ((7, 9), ms(5000)), ((1, 1), ms(5000))]);
        assert_eq!(busiest(&before, &after, &[7], ms(1000)), Some(0.9));
        assert_eq!(busiest(&before, &after, &[3], ms(1000)), None);
    }
}
