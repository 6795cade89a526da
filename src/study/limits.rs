//! What was the limit of a run beside the GPU: the load itself, an engine's front end, its own steps, its batch. Pure.

use serde::{Deserialize, Serialize};

use super::figures::{listed, percent};

/// Share of a core from which on a thread is at its limit.
const FULL: f64 = 0.9;
/// Share of the SMs' time under which the GPU has room.
const ROOM: f64 = 0.5;
/// Share of the requests in flight that wait from which on a batch is full.
const WAITING: f64 = 0.1;

/// What was used while a run counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Used {
    /// Busiest thread of the load's process, as a share of a core.
    pub load: Option<f64>,
    /// Share of time in which an SM had a warp, over all SMs; `None`: this GPU does not count it.
    pub sm_active: Option<f64>,
    /// Use of each engine that had work.
    pub engines: Vec<EngineUsed>,
}

/// What one engine used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EngineUsed {
    /// Name of the engine.
    pub engine: String,
    /// Busiest thread of its first process, which takes the requests, as a share of a core.
    pub front: Option<f64>,
    /// Busiest thread of its other processes, as a share of a core; `None`: it has no others.
    pub core: Option<f64>,
    /// Requests that it worked on, on average of the beginning and the end.
    pub running: Option<f64>,
    /// Requests that waited in its queue, at the beginning or the end, whichever was less.
    pub waiting: Option<f64>,
}

/// What other than the GPU may have been the limit, each in a sentence.
pub(super) fn limits(used: &Used, asked: u32) -> Vec<String> {
    let load = used.load.filter(|share| *share >= FULL);
    let load = load.map(|share| {
        format!("the load's own process used {} of a core for one engine: it may be the limit", percent(share * 100.0))
    });
    load.into_iter().chain(used.engines.iter().filter_map(|engine| limit(engine, used.sm_active, asked))).collect()
}

fn limit(used: &EngineUsed, sm_active: Option<f64>, asked: u32) -> Option<String> {
    let full = |share: Option<f64>| share.filter(|share| *share >= FULL);
    let told = |what: &str, share: f64| format!("its {what} used {} of a core", percent((share * 100.0).min(100.0)));
    // A thread that waits for the GPU may spin: alone it says nothing.
    let room = sm_active.filter(|active| *active < ROOM);
    let single = used.core.is_none();
    let parts: Vec<String> = [
        full(used.front).filter(|_| !single || room.is_some()).map(|share| told("front end", share)),
        full(used.core).filter(|_| room.is_some()).map(|share| told("scheduler's process", share)),
        batch(used, asked),
    ]
    .into_iter()
    .flatten()
    .collect();
    let beside =
        room.map_or_else(String::new, |active| format!(" while the SMs were active {}", percent(active * 100.0)));
    (!parts.is_empty()).then(|| format!("{} may have been its own limit: {}{beside}", used.engine, listed(&parts)))
}

fn batch(used: &EngineUsed, asked: u32) -> Option<String> {
    let waiting = used.waiting.filter(|waiting| *waiting > WAITING * f64::from(asked))?;
    let running = used.running?;
    Some(format!("it worked on {running:.0} requests at once, and {waiting:.0} waited"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine() -> EngineUsed {
        let (running, waiting) = (Some(32.0), Some(0.0));
        EngineUsed { engine: "a".to_owned(), front: Some(0.3), core: Some(0.99), running, waiting }
    }

    fn of(engine: EngineUsed, sm_active: Option<f64>) -> Vec<String> {
        limits(&Used { load: Some(0.2), sm_active, engines: vec![engine] }, 32)
    }

    #[test]
    fn a_core_that_spins_beside_a_busy_gpu_is_no_limit() {
        assert_eq!(of(engine(), Some(0.8)), Vec::<String>::new());
        assert_eq!(of(engine(), None), Vec::<String>::new());
        let limited = of(engine(), Some(0.2));
        assert_eq!(
            limited,
            [
                "a may have been its own limit: its scheduler's process used 99 % of a core while the SMs were active 20 %"
            ]
        );
    }

    #[test]
    fn a_front_end_at_a_full_core_and_a_full_batch_are_named() {
        let full = EngineUsed { front: Some(1.01), waiting: Some(8.0), running: Some(24.0), ..engine() };
        assert_eq!(
            of(full, Some(0.8)),
            [
                "a may have been its own limit: its front end used 100 % of a core and it worked on 24 requests at once, and \
              8 waited"
            ]
        );
    }

    #[test]
    fn an_engine_of_one_process_may_spin_in_it() {
        let single = EngineUsed { front: Some(1.0), core: None, ..engine() };
        assert!(of(single.clone(), Some(0.8)).is_empty());
        assert_eq!(of(single, Some(0.1)).len(), 1);
    }

    #[test]
    fn a_load_that_has_no_time_left_is_named() {
        let used = Used { load: Some(0.95), ..Used::default() };
        assert!(limits(&used, 8)[0].contains("95 % of a core"));
    }
}
