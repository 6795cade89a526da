//! How unevenly a group's requests lie on its engines. Pure.

use crate::model::{EngineState, GroupStatus};

/// Imbalance of the load: (s - 1/n) / (1 - 1/n) with `s` the busiest serving engine's share of all requests, running
/// and waiting, and `n` serving engines. So it is 0 where all have as many and 1 where one has all. `None` with fewer
/// than two of them, without requests, or while a state or the number of running requests is unknown. An engine that
/// does not show its queue counts with what it runs.
pub(super) fn imbalance(group: &GroupStatus) -> Option<f64> {
    if group.engines.iter().any(|engine| engine.state == EngineState::Unknown) {
        return None;
    }
    let serving = group.engines.iter().filter(|engine| engine.state == EngineState::Serving);
    let requests: Option<Vec<f64>> = serving
        .map(|engine| {
            let load = engine.load.as_ref()?;
            Some(load.running? + load.waiting.unwrap_or(0.0))
        })
        .collect();
    let requests = requests?;
    let (count, all) = (requests.len() as f64, requests.iter().sum::<f64>());
    // Not a comparison that NaN passes.
    if requests.len() < 2 || !(all > 0.0 && all.is_finite()) {
        return None;
    }
    let share = requests.iter().fold(0.0, |most: f64, some| most.max(*some)) / all;
    Some(((share - 1.0 / count) / (1.0 - 1.0 / count)).clamp(0.0, 1.0))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::export::testing::{engine, group};
    use crate::model::EngineLoad;

    /// A group of serving engines with so many requests each, running and waiting.
    fn loaded(requests: &[(f64, Option<f64>)]) -> GroupStatus {
        let mut group = group("small-llms");
        group.engines = requests.iter().enumerate().map(|(place, _)| engine(&format!("engine-{place}"))).collect();
        for (engine, (running, waiting)) in group.engines.iter_mut().zip(requests) {
            engine.load = Some(EngineLoad { running: Some(*running), waiting: *waiting, ..EngineLoad::default() });
        }
        group
    }

    #[test]
    fn even_loads_are_0_and_one_engines_load_is_1() {
        assert_eq!(imbalance(&loaded(&[(2.0, Some(1.0)), (3.0, None), (0.0, Some(3.0))])), Some(0.0));
        assert_eq!(imbalance(&loaded(&[(0.0, Some(7.0)), (0.0, None), (0.0, None)])), Some(1.0));
        assert_eq!(imbalance(&loaded(&[(3.0, None), (1.0, None)])), Some(0.5));
    }

    #[test]
    fn what_is_unknown_idle_or_alone_has_no_imbalance() {
        assert_eq!(imbalance(&loaded(&[(0.0, None), (0.0, None)])), None);
        assert_eq!(imbalance(&loaded(&[(5.0, None)])), None);
        assert_eq!(imbalance(&loaded(&[(f64::NAN, None), (1.0, None)])), None);
        let mut silent = loaded(&[(5.0, None), (1.0, None)]);
        silent.engines[1].load = None;
        assert_eq!(imbalance(&silent), None);
        silent.engines[1].state = EngineState::Unknown;
        assert_eq!(imbalance(&silent), None);
    }

    #[test]
    fn engines_that_do_not_serve_have_no_part() {
        let mut one_starts = loaded(&[(2.0, None), (2.0, None), (0.0, None)]);
        one_starts.engines[2].state = EngineState::Starting;
        assert_eq!(imbalance(&one_starts), Some(0.0));
    }
}
