//! Asks engines for their health and their load, and looks for CUDA errors in what they print. What a bad
//! answer means is decided elsewhere.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::connections::Door;
use super::reports::Reports;
use crate::host::http::{GetError, Peer};
use crate::host::{cuda, engine_metrics};
use crate::model::{EngineKey, EngineLaunch, Health, LinePlace, MetricsPlace, Observation, Saying};

/// A healthy engine answers well within it.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(1);

/// More of a health endpoint's body is not read.
const HEALTH_BODY: usize = 64 * 1024;

/// A page of metrics is read within it; a busy engine renders one in some 10 ms.
const METRICS_TIMEOUT: Duration = Duration::from_secs(1);

/// Where an engine answers.
pub(super) struct Endpoint {
    health: Page,
    /// On a connection of its own: metrics that hang must not delay health.
    metrics: Page,
    /// Where others reach it; or why their connections can't be seen.
    pub door: Result<Door, String>,
}

/// One path of an engine.
struct Page {
    path: String,
    /// One request in flight at most.
    peer: Mutex<Peer>,
}

impl Endpoint {
    pub fn of(engine: &EngineLaunch) -> Self {
        let page = |path: &str| Page { path: path.to_owned(), peer: Mutex::new(Peer::new(&engine.url)) };
        let metrics = match &engine.metrics {
            MetricsPlace::Under(path) | MetricsPlace::Elsewhere(_, path) => path,
            MetricsPlace::Nowhere => "/metrics",
        };
        Endpoint { health: page(&engine.health_path), metrics: page(metrics), door: Door::of(&engine.url) }
    }

    /// The local ports of our own connections to it.
    pub fn own_ports(&self) -> Vec<u16> {
        Vec::new()
    }
}

pub(super) async fn look_health(
    engine: EngineKey,
    endpoint: Rc<Endpoint>,
    bound: Duration,
    reports: Reports,
) -> Result<(), String> {
    let Page { path, peer } = &endpoint.health;
    let health = match peer.lock().await.get(path, bound.min(HEALTH_TIMEOUT), HEALTH_BODY).await {
        Ok(response) if response.status == 200 => Health::Ok,
        Ok(response) => Health::Status(response.status),
        Err(GetError::Refused { .. }) => Health::Refused,
        Err(GetError::Timeout { .. } | GetError::Malformed { .. }) => Health::NoAnswer,
        Err(error @ GetError::Url { .. }) => return Err(error.to_string()),
    };
    reports.observed(Observation::Health { engine, health });
    Ok(())
}

pub(super) async fn look_load(
    engine: EngineKey,
    endpoint: Rc<Endpoint>,
    bound: Duration,
    reports: Reports,
) -> Result<(), String> {
    let Page { path, peer } = &endpoint.metrics;
    let read = engine_metrics::read(&mut *peer.lock().await, path, bound.min(METRICS_TIMEOUT)).await;
    let load = read.map_err(|error| error.to_string())?;
    reports.observed(Observation::Load { engine, load });
    Ok(())
}

/// One line of an engine's output. `None`: it names no CUDA error.
pub fn output_line(engine: &EngineKey, line: &str) -> Option<Observation> {
    let code = cuda::error_in(line)?;
    let place = LinePlace { file: format!("{}.log", engine.engine), byte: 0 };
    Some(Observation::Said { engine: engine.clone(), saying: Saying::Error(code), place })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn what_was_matched_goes_out_and_never_the_words_around_it() {
        let engine = EngineKey::new(&"g".into(), &"e".into());
        let line = "RuntimeError: CUDA error: unspecified launch failure; said somebody";
        let Some(Observation::Said { saying, .. }) = output_line(&engine, line) else { panic!() };
        assert_eq!(saying, Saying::Error(719));
        assert_eq!(output_line(&engine, "INFO Capturing CUDA graphs"), None);
    }
}
