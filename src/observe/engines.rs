//! Asks engines for their health and their load. What a bad answer means is decided elsewhere.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::reports::Reports;
use crate::host::engine_metrics;
use crate::host::http::{GetError, Peer};
use crate::model::{EngineKey, EngineLaunch, Health, MetricsPlace, Observation};

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
        Endpoint { health: page(&engine.health_path), metrics: page(metrics) }
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
