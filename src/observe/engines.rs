//! Asks engines for their health, their load and one token. What a bad answer means is decided elsewhere.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::connections::Door;
use super::fence::Requests;
use super::look::Answer;
use super::reports::Reports;
use crate::host::clock;
use crate::host::engine_metrics::{self, MetricsError};
use crate::host::http::{GetError, OurPort, Peer};
use crate::model::{
    Blindness, EngineKind, EngineLaunch, EngineLoad, Health, Member, MetricsPlace, Observation, Outcome, Traffic,
};

/// Most bytes of a health endpoint's body that are read.
const HEALTH_BODY: usize = 64 * 1024;

/// Where an engine answers.
pub(super) struct Endpoint {
    asked: AskedAt,
    health: Page,
    /// Page of metrics, on a connection of its own: metrics that hang must not delay health. `None`: it has none.
    metrics: Option<Page>,
    /// Where it is asked for a token.
    inference: Server,
    /// Where others reach it; or why their connections can't be seen.
    pub door: Result<Door, String>,
    seen: RefCell<Seen>,
    /// What its running incarnation works on.
    pub requests: RefCell<Requests>,
}

/// Where and how an engine is asked, as its launch says.
#[derive(PartialEq)]
struct AskedAt {
    url: String,
    health_path: String,
    metrics: MetricsPlace,
    timeout: Duration,
    kind: EngineKind,
}

impl AskedAt {
    fn of(engine: &EngineLaunch) -> AskedAt {
        AskedAt {
            url: engine.url.clone(),
            health_path: engine.health_path.clone(),
            metrics: engine.metrics.clone(),
            timeout: engine.health_timeout,
            kind: engine.kind,
        }
    }
}

/// What it said of itself that matters for asking it.
#[derive(Clone, Default)]
struct Seen {
    kind: Option<EngineKind>,
    model: Option<String>,
    asleep: bool,
}

/// One path of an engine.
struct Page {
    path: String,
    server: Server,
}

struct Server {
    /// Our port of the connection, to be read while a request is in flight.
    ours: OurPort,
    /// One request in flight at most.
    peer: Mutex<Peer>,
}

impl Server {
    fn at(url: &str) -> Self {
        let peer = Peer::new(url);
        Server { ours: peer.ours(), peer: Mutex::new(peer) }
    }
}

impl Endpoint {
    pub(super) fn of(engine: &EngineLaunch) -> Self {
        let page = |url: &str, path: &str| Page { path: path.to_owned(), server: Server::at(url) };
        Endpoint {
            asked: AskedAt::of(engine),
            health: page(&engine.url, &engine.health_path),
            metrics: engine.metrics_at().map(|(url, path)| page(url, path)),
            inference: Server::at(&engine.url),
            door: Door::of(&engine.url),
            seen: RefCell::default(),
            requests: RefCell::default(),
        }
    }

    /// Whether an engine that is launched so is asked here, and so.
    pub(super) fn is_of(&self, engine: &EngineLaunch) -> bool {
        self.asked == AskedAt::of(engine)
    }

    /// Local ports of the connections that these looks hold or open: they are no requests.
    pub(super) fn own_ports(&self) -> Vec<u16> {
        let metrics = self.metrics.iter().map(|page| &page.server);
        metrics.chain([&self.health.server, &self.inference]).filter_map(|server| server.ours.get()).collect()
    }

    fn saw(&self, load: &EngineLoad) {
        let mut seen = self.seen.borrow_mut();
        seen.kind = load.kind.or(seen.kind);
        if load.model.is_some() {
            seen.model.clone_from(&load.model);
        }
        seen.asleep = load.asleep == Some(true);
    }

    /// Kind of the engine by its configuration, else by its metrics.
    fn kind(&self) -> EngineKind {
        if self.asked.kind != EngineKind::Other {
            return self.asked.kind;
        }
        self.seen.borrow().kind.unwrap_or_default()
    }
}

pub(super) async fn look_health(
    engine: Member,
    endpoint: Rc<Endpoint>,
    bound: Duration,
    reports: Reports,
) -> Result<(), Blindness> {
    let Page { path, server } = &endpoint.health;
    let health = match server.peer.lock().await.get(path, bound.min(endpoint.asked.timeout), HEALTH_BODY).await {
        Ok(response) if response.status == 200 => Health::Ok,
        Ok(response) => Health::Status(response.status),
        Err(GetError::Refused { .. }) => Health::Refused,
        Err(GetError::Timeout { .. } | GetError::Malformed { .. } | GetError::Tls { .. }) => Health::NoAnswer,
        Err(error @ (GetError::Url { .. } | GetError::NotAsked { .. })) => {
            return Err(Blindness::not_asked(error.to_string()));
        }
    };
    reports.observed(Observation::Health { engine, health });
    Ok(())
}

pub(super) async fn look_load(
    engine: Member,
    endpoint: Rc<Endpoint>,
    bound: Duration,
    reports: Reports,
) -> Result<(), Blindness> {
    let load = match &endpoint.metrics {
        Some(Page { path, server }) => {
            let mut peer = server.peer.lock().await;
            let read = engine_metrics::read(&mut peer, path, bound.min(endpoint.asked.timeout)).await;
            read.map_err(|error| unread(&error))?
        }
        None => EngineLoad { no_metrics: Some("metrics_url = \"none\"".to_owned()), ..EngineLoad::default() },
    };
    endpoint.saw(&load);
    let ended = endpoint.requests.borrow_mut().read(&load, clock::now());
    reports.observed(Observation::Load { engine, load });
    if let Some(fence) = ended {
        reports.finished(fence, Outcome::Done);
    }
    Ok(())
}

/// What the kernel says of its connections, as `asked`.
pub(super) async fn look_traffic(
    engine: Member,
    endpoint: Rc<Endpoint>,
    asked: Answer<Result<Traffic, String>>,
    reports: Reports,
) -> Result<(), Blindness> {
    let traffic = asked.await;
    endpoint.requests.borrow_mut().looked(traffic.as_ref().ok(), clock::now());
    reports.observed(Observation::Traffic { engine, traffic });
    Ok(())
}

/// An engine that does not answer in time gave no token. One that answers something else says nothing of that: it may not
/// know the request. One that sleeps is not asked.
/// An answer that shows no load is not silence.
fn unread(error: &MetricsError) -> Blindness {
    let why = error.to_string();
    match error {
        MetricsError::Status(_) => Blindness::not_understood(why),
        MetricsError::Get(GetError::Malformed { source, .. }) if source.is_parse() => Blindness::not_understood(why),
        MetricsError::Get(GetError::Url { .. } | GetError::NotAsked { .. }) => Blindness::not_asked(why),
        MetricsError::Get(_) => Blindness::silent(why),
    }
}

pub(super) async fn look_token(
    engine: Member,
    endpoint: Rc<Endpoint>,
    bound: Duration,
    reports: Reports,
) -> Result<(), Blindness> {
    if endpoint.seen.borrow().asleep {
        return Ok(());
    }
    let asked = tokio::time::timeout(bound, token(&endpoint, bound)).await;
    let given = match asked {
        Ok(Ok(true)) => true,
        Err(_) | Ok(Err(GetError::Timeout { .. })) => false,
        Ok(Ok(false) | Err(_)) => return Ok(()),
    };
    reports.observed(Observation::Token { engine, given });
    Ok(())
}

async fn token(endpoint: &Endpoint, bound: Duration) -> Result<bool, GetError> {
    let (kind, known) = (endpoint.kind(), endpoint.seen.borrow().model.clone());
    let mut peer = endpoint.inference.peer.lock().await;
    let model = match known {
        // It serves one model, whatever it is asked for.
        None if kind != EngineKind::LlamaCpp => engine_metrics::served_model(&mut peer, kind, bound).await?,
        known => known,
    };
    endpoint.seen.borrow_mut().model.clone_from(&model);
    engine_metrics::ask_for_a_token(&mut peer, kind, model.as_deref(), bound).await
}

#[cfg(test)]
#[path = "engines_tests.rs"]
mod tests;
