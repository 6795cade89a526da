//! What is answered at which path: metrics, liveness, readiness, status, the page for people. It reads memory and changes nothing.

use std::sync::Arc;
use std::time::Duration;

use hyper::header::{ALLOW, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Response, StatusCode, Uri};
use jiff::tz::TimeZone;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::export::page::{self, View};
use crate::export::{Exporter, NoPage, node_name};
use crate::model::{EngineState, EngineStatus, GroupState, GroupStatus, Moment, Status};
use crate::web::{self, Answer, HTML, Kept, METRICS, Page, json};

/// Answers on their way at once; node_exporter's number.
const MAX_REQUESTS: usize = 40;
/// How long Prometheus will wait, in seconds.
const SCRAPE_TIMEOUT: HeaderName = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");
/// Upper bound for an answer whose client does not say how long it waits: Prometheus' own default.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest wait for an answer, however long a client would wait.
const MOST_PATIENCE: Duration = Duration::from_secs(60);
/// Time for the way of an answer to its client.
const ON_THE_WAY: Duration = Duration::from_millis(250);

/// Everything that can be asked.
pub(super) struct Site {
    telemetry_path: String,
    exporter: Arc<Exporter>,
    alive: Arc<dyn Fn() -> bool + Send + Sync>,
    clock: Arc<dyn Fn() -> Moment + Send + Sync>,
    places: Arc<Semaphore>,
    /// One answer is made at a time, so that a rendering that hangs holds one thread.
    making: Arc<Semaphore>,
    zipped: Kept,
}

impl Site {
    /// `alive` says whether the core loop turned within the last 10 s; `clock` is CLOCK_BOOTTIME.
    pub(super) fn new(
        telemetry_path: &str,
        exporter: Arc<Exporter>,
        alive: Arc<dyn Fn() -> bool + Send + Sync>,
        clock: Arc<dyn Fn() -> Moment + Send + Sync>,
    ) -> Self {
        let telemetry_path = telemetry_path.to_owned();
        let (places, making) = (Arc::new(Semaphore::new(MAX_REQUESTS)), Arc::new(Semaphore::new(1)));
        Site { telemetry_path, exporter, alive, clock, places, making, zipped: Kept::default() }
    }

    async fn respond(self: &Arc<Self>, method: &Method, uri: &Uri, headers: &HeaderMap) -> Response<Page> {
        if method != Method::GET && method != Method::HEAD {
            let mut response =
                Answer::text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD: orders go through the control socket")
                    .page(None);
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        // Probes take no place: a flood of scrapes must not get the watchdog killed or taken out of service.
        match uri.path() {
            "/-/healthy" => self.healthy().page(None),
            "/-/ready" => self.ready(uri.query().unwrap_or_default()).page(None),
            _ => match Arc::clone(&self.places).try_acquire_owned() {
                Ok(place) => match self.at_hand(uri.path(), headers) {
                    Some(answer) => answer.page(Some(place)),
                    None => self.in_time(uri, headers).await.page(Some(place)),
                },
                Err(_) => Answer::unavailable(format!("{MAX_REQUESTS} requests are being answered already: try again"))
                    .page(None),
            },
        }
    }

    /// The metrics, where they are made and current: the common case needs no other thread.
    fn at_hand(&self, path: &str, headers: &HeaderMap) -> Option<Answer> {
        if path != self.telemetry_path {
            return None;
        }
        let page = self.exporter.current_page((self.clock)())?;
        if !web::is_accepted(headers) {
            return Some(Answer::found(METRICS, page));
        }
        let zipped = self.zipped.kept(&page)?;
        Some(Answer { zipped: true, ..Answer::found(METRICS, zipped) })
    }

    /// Makes the answer on another thread, and gives up before the client does.
    async fn in_time(self: &Arc<Self>, uri: &Uri, headers: &HeaderMap) -> Answer {
        let (patience, zips) = (patience(headers), web::is_accepted(headers));
        let (site, uri, making) = (Arc::clone(self), uri.clone(), Arc::clone(&self.making));
        let made = timeout(patience, async move {
            let turn = making.acquire_owned().await.ok()?;
            let made = spawn_blocking(move || {
                let answer = site.content(uri.path(), uri.query());
                let answer = if zips { site.zipped(answer) } else { answer };
                drop(turn);
                answer
            });
            made.await.ok()
        });
        match made.await {
            Ok(Some(answer)) => answer,
            Ok(None) => Answer::text(StatusCode::INTERNAL_SERVER_ERROR, "the answer could not be made: see the log"),
            Err(_) => Answer::unavailable(format!("no answer within {patience:?}: rendering is blocked")),
        }
    }

    fn content(&self, path: &str, query: Option<&str>) -> Answer {
        match path {
            path if path == self.telemetry_path => self.metrics(),
            "/api/v1/status" => json("status", self.exporter.status_json()),
            "/api/v1/incidents" => json("incidents", self.exporter.incidents_json()),
            "/" => self.people(query == Some("live")),
            _ => Answer::text(StatusCode::NOT_FOUND, "nothing here: / lists what there is"),
        }
    }

    /// The answer compressed, where that is worth it. Metrics are many clients' and keep their compressed form.
    fn zipped(&self, answer: Answer) -> Answer {
        let zipped = match answer.content {
            METRICS => self.zipped.squeezed(&answer.body),
            _ => web::squeezed(&answer.body),
        };
        match zipped {
            Some(body) => Answer { body, zipped: true, ..answer },
            None => answer,
        }
    }

    fn metrics(&self) -> Answer {
        match self.exporter.scrape((self.clock)()) {
            Ok(body) => Answer::found(METRICS, body),
            Err(NoPage::TooOld(too_old)) => Answer::unavailable(too_old.to_string()),
            Err(NoPage::Unwritten(error)) => Answer::text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        }
    }

    fn healthy(&self) -> Answer {
        if (self.alive)() {
            Answer::text(StatusCode::OK, "the core loop turns")
        } else {
            Answer::unavailable("the core loop has not turned for 10 s".to_owned())
        }
    }

    fn ready(&self, query: &str) -> Answer {
        let (group, engine) = (parameter(query, "group"), parameter(query, "engine"));
        let status = match self.exporter.fresh_status((self.clock)()) {
            Ok(status) => status,
            Err(too_old) => return Answer::unavailable(too_old.to_string()),
        };
        match (group, engine) {
            (None, None) => sources_ready(&status),
            (None, Some(_)) => Answer::text(StatusCode::BAD_REQUEST, "engine= needs group= beside it"),
            (Some(group), engine) => match status.group(&group) {
                None => Answer::text(StatusCode::NOT_FOUND, format!("there is no group {group:?}")),
                Some(found) => group_ready(found, engine.as_deref()),
            },
        }
    }

    /// The page for people, or what its script fetches again.
    fn people(&self, live: bool) -> Answer {
        let (status, incidents, history) = (self.exporter.status(), self.exporter.incidents(), self.exporter.history());
        let view = View {
            status: &status,
            since: history.since(&status),
            history: &history,
            incidents: &incidents,
            build: self.exporter.build(),
            host: node_name(),
            telemetry_path: &self.telemetry_path,
            boot: self.exporter.boot(),
            zone: TimeZone::system(),
            now: (self.clock)(),
        };
        Answer::found(HTML, if live { page::fragment(&view) } else { page::document(&view) })
    }
}

impl web::Site for Site {
    async fn answer(self: Arc<Self>, method: &Method, uri: &Uri, headers: &HeaderMap) -> Response<Page> {
        self.respond(method, uri, headers).await
    }
}

/// How long the client waits, less the way to it. What is no number of seconds is ignored.
fn patience(headers: &HeaderMap) -> Duration {
    let named = headers.get(SCRAPE_TIMEOUT).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let waits = named.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).filter(|waits| !waits.is_zero());
    waits.map_or(PATIENCE, |waits| waits.saturating_sub(ON_THE_WAY).clamp(waits.min(ON_THE_WAY) / 2, MOST_PATIENCE))
}

fn sources_ready(status: &Status) -> Answer {
    if status.ready {
        return Answer::text(StatusCode::OK, "every source has reported");
    }
    let silent = status.sources.iter().filter(|source| source.last_success.is_none());
    let names: Vec<&str> = silent.map(|source| source.scope.source.as_str()).collect();
    Answer::unavailable(format!("not every source has reported yet, missing: {}", names.join(", ")))
}

fn group_ready(group: &GroupStatus, engine: Option<&str>) -> Answer {
    let Some(name) = engine else { return whole_group_ready(group) };
    match group.engine(name) {
        None => Answer::text(StatusCode::NOT_FOUND, format!("there is no engine {name:?} in group {}", group.name)),
        Some(engine) if engine.state == EngineState::Serving => Answer::text(StatusCode::OK, format!("{name} serves")),
        Some(engine) => Answer::unavailable(why_not(engine)),
    }
}

/// All engines, those that are quarantined too: who asks for the group wants its whole capacity.
fn whole_group_ready(group: &GroupStatus) -> Answer {
    let idle = group.engines.iter().find(|engine| engine.state != EngineState::Serving);
    match (group.state, idle, &group.held) {
        (GroupState::Serving, None, _) => {
            Answer::text(StatusCode::OK, format!("{} serves with all its engines", group.name))
        }
        (state, _, Some((reason, detail))) => {
            Answer::unavailable(format!("{} is {state}, {reason}: {detail}", group.name))
        }
        (state, Some(engine), None) => Answer::unavailable(format!("{} is {state}: {}", group.name, why_not(engine))),
        (state, None, None) => Answer::unavailable(format!("{} is {state}", group.name)),
    }
}

fn why_not(engine: &EngineStatus) -> String {
    let note = engine.note.as_ref().map(|note| format!(", {note}")).unwrap_or_default();
    format!("engine {} is {}{note}", engine.name, engine.state)
}

/// The first value of `name` in a query, decoded.
fn parameter(query: &str, name: &str) -> Option<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.into_iter().find(|(key, _)| decoded(key) == name).map(|(_, value)| decoded(value))
}

/// Undoes `%41` and `+`; what is no such code stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = tail
            .get(..2)
            .and_then(|code| std::str::from_utf8(code).ok())
            .and_then(|code| u8::from_str_radix(code, 16).ok());
        (rest, _) = match (first, code) {
            (b'%', Some(byte)) => (&tail[2..], bytes.push(byte)),
            (b'+', _) => (tail, bytes.push(b' ')),
            _ => (tail, bytes.push(*first)),
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::time::UNIX_EPOCH;

    use http_body_util::BodyExt;
    use tokio::sync::watch;

    use super::*;
    use crate::export::BuildInfo;
    use crate::export::concerns::RUNBOOKS;

    fn site() -> Arc<Site> {
        site_with("/metrics")
    }

    fn site_with(telemetry_path: &str) -> Arc<Site> {
        let empty = Status {
            at: Moment::ZERO,
            ready: true,
            groups: vec![],
            gpus: vec![],
            sources: vec![],
            driver_let_go: false,
        };
        let build = BuildInfo { version: "0", revision: "", rustc: "" };
        let (_, statuses) = watch::channel(Arc::new(empty));
        let exporter = Arc::new(Exporter::new(build, || UNIX_EPOCH, statuses));
        Arc::new(Site::new(telemetry_path, exporter, Arc::new(|| true), Arc::new(|| Moment::ZERO)))
    }

    async fn get(site: &Arc<Site>, path: &str) -> Response<Page> {
        site.respond(&Method::GET, &path.parse().unwrap(), &HeaderMap::new()).await
    }

    async fn code(site: &Arc<Site>, path: &str) -> u16 {
        get(site, path).await.status().as_u16()
    }

    #[tokio::test]
    async fn the_41st_request_at_once_is_refused_and_probes_are_not() {
        let site = site();
        let mut on_their_way = Vec::new();
        for _ in 0..40 {
            on_their_way.push(get(&site, "/metrics").await);
        }
        assert!(on_their_way.iter().all(|answer| answer.status() == StatusCode::OK));
        assert_eq!(code(&site, "/metrics").await, 503);
        assert_eq!((code(&site, "/-/healthy").await, code(&site, "/-/ready").await), (200, 200));
        on_their_way.pop();
        assert_eq!(code(&site, "/metrics").await, 200);
    }

    #[tokio::test]
    async fn a_scrape_that_cannot_be_answered_in_its_time_is_refused() {
        let site = site();
        let _blocked = site.making.acquire().await.unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(SCRAPE_TIMEOUT, HeaderValue::from_static("0.3"));
        let answer = site.respond(&Method::GET, &Uri::from_static("/metrics"), &headers).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(code(&site, "/-/healthy").await, 200);
    }

    /// All that the page lets a browser ask for: what stands in quotes behind these.
    fn named_in(page: &str) -> Vec<String> {
        let after = ["href=\"", "src=\"", "action=\"", "fetch(\"", "EventSource(\""];
        let found = after.iter().flat_map(|before| page.split(before).skip(1));
        let links = found.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned()));
        links
            .filter(|link| !link.starts_with("data:") && !link.starts_with('#') && !link.starts_with(RUNBOOKS))
            .collect()
    }

    #[tokio::test]
    async fn the_page_works_at_the_root_and_below_a_prefix() {
        for telemetry_path in ["/metrics", "/deep/a:b/metrics"] {
            let site = site_with(telemetry_path);
            let body = get(&site, "/").await.into_body().collect().await.unwrap().to_bytes();
            let links = named_in(std::str::from_utf8(&body).unwrap());
            assert!(links.len() >= 6 && links.contains(&"./?live".to_owned()), "{links:?}");
            assert!(links.contains(&format!(".{telemetry_path}")), "{links:?}");
            for link in links {
                // From the page at PREFIX/ this leads to PREFIX/..., whatever the prefix is.
                let path =
                    link.strip_prefix('.').filter(|path| path.starts_with('/') && !path.contains("/..")).unwrap();
                assert_ne!(code(&site, path).await, 404, "{link}");
            }
        }
    }

    #[test]
    fn a_client_says_how_long_it_waits() {
        let waits = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(SCRAPE_TIMEOUT, HeaderValue::from_static(text));
            patience(&headers).as_secs_f64()
        };
        assert_eq!((waits("5"), waits("0.5"), waits("0.2"), waits("1e9")), (4.75, 0.25, 0.1, 60.0));
        for garbage in ["", "soon", "-1", "0", "NaN", "inf", "1e300", "1,5"] {
            assert_eq!(waits(garbage), 10.0, "{garbage}");
        }
        assert_eq!(patience(&HeaderMap::new()), PATIENCE);
    }

    #[test]
    fn a_query_is_decoded_and_what_is_no_code_stays() {
        assert_eq!(decoded("small%2Dllms+%zz%e2%82%ac%4"), "small-llms %zz€%4");
    }
}
