//! What is answered at which path: metrics, liveness, readiness, status. It reads memory and changes nothing.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Response, StatusCode, Uri};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Exporter;
use crate::model::{EngineState, EngineStatus, GroupState, GroupStatus, Moment, Status};

/// Answers on their way at once; node_exporter's number.
const MAX_REQUESTS: usize = 40;
/// How much of a page is handed to a connection at once, so that a slow reader keeps its place.
const CHUNK: usize = 64 * 1024;

/// Everything that can be asked.
pub struct Site {
    telemetry_path: String,
    exporter: Arc<Exporter>,
    alive: Arc<dyn Fn() -> bool + Send + Sync>,
    clock: Arc<dyn Fn() -> Moment + Send + Sync>,
    places: Arc<Semaphore>,
}

/// An answer's body. It keeps its place among the requests until the connection has taken it all.
pub struct Page {
    left: Bytes,
    _place: Option<OwnedSemaphorePermit>,
}

/// An answer without headers of its own.
struct Answer {
    status: StatusCode,
    content: &'static str,
    body: Bytes,
}

const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";

impl Site {
    /// `alive` says whether the core loop turned within the last 10 s; `clock` is CLOCK_BOOTTIME.
    pub fn new(
        telemetry_path: &str,
        exporter: Arc<Exporter>,
        alive: Arc<dyn Fn() -> bool + Send + Sync>,
        clock: Arc<dyn Fn() -> Moment + Send + Sync>,
    ) -> Self {
        let telemetry_path = telemetry_path.to_owned();
        Site { telemetry_path, exporter, alive, clock, places: Arc::new(Semaphore::new(MAX_REQUESTS)) }
    }

    /// Answers one request; a HEAD like its GET, the server leaves the body out.
    pub fn answer(&self, method: &Method, uri: &Uri) -> Response<Page> {
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
            path => match Arc::clone(&self.places).try_acquire_owned() {
                Ok(place) => self.content(path).page(Some(place)),
                Err(_) => Answer::unavailable(format!("{MAX_REQUESTS} requests are being answered already: try again"))
                    .page(None),
            },
        }
    }

    fn content(&self, path: &str) -> Answer {
        match path {
            path if path == self.telemetry_path => self.metrics(),
            "/api/v1/status" => self.status(),
            "/" => Answer { status: StatusCode::OK, content: HTML, body: self.landing().into() },
            _ => Answer::text(StatusCode::NOT_FOUND, "nothing here: / lists what there is"),
        }
    }

    fn metrics(&self) -> Answer {
        match self.exporter.scrape((self.clock)()) {
            Ok(body) => Answer { status: StatusCode::OK, content: METRICS, body },
            Err(too_old) => Answer::unavailable(too_old.to_string()),
        }
    }

    fn status(&self) -> Answer {
        match self.exporter.status_json() {
            Ok(body) => Answer { status: StatusCode::OK, content: JSON, body },
            Err(error) => {
                Answer::text(StatusCode::INTERNAL_SERVER_ERROR, format!("the status can't be written: {error}"))
            }
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

    /// A small page with links, until the one for people comes.
    fn landing(&self) -> String {
        let path = &self.telemetry_path;
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>mpswarden</title></head><body>\n\
             <h1>mpswarden</h1>\n<p>The watchdog and Prometheus exporter for NVIDIA MPS groups.</p>\n<ul>\n\
             <li><a href=\"{path}\">Metrics</a></li>\n<li><a href=\"/api/v1/status\">Status as JSON</a></li>\n\
             <li><a href=\"/-/ready\">Readiness</a></li>\n<li><a href=\"/-/healthy\">Liveness</a></li>\n\
             </ul>\n</body></html>\n"
        )
    }
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

impl Answer {
    fn text(status: StatusCode, sentence: impl Into<String>) -> Answer {
        let mut sentence = sentence.into();
        sentence.push('\n');
        Answer { status, content: TEXT, body: sentence.into() }
    }

    fn unavailable(sentence: String) -> Answer {
        Answer::text(StatusCode::SERVICE_UNAVAILABLE, sentence)
    }

    fn page(self, place: Option<OwnedSemaphorePermit>) -> Response<Page> {
        let mut response = Response::new(Page { left: self.body, _place: place });
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(self.content));
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

impl Body for Page {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let most = CHUNK.min(self.left.len());
        let next = self.left.split_to(most);
        Poll::Ready((!next.is_empty()).then(|| Ok(Frame::data(next))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
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

    use super::*;
    use crate::export::BuildInfo;

    fn site() -> Site {
        let empty = Status { at: Moment::ZERO, ready: true, groups: vec![], gpus: vec![], sources: vec![] };
        let build = BuildInfo { version: "0", revision: "", rustc: "" };
        let exporter = Arc::new(Exporter::new(build, || UNIX_EPOCH, &empty));
        Site::new("/metrics", exporter, Arc::new(|| true), Arc::new(|| Moment::ZERO))
    }

    fn code(site: &Site, path: &'static str) -> u16 {
        site.answer(&Method::GET, &Uri::from_static(path)).status().as_u16()
    }

    #[test]
    fn the_41st_request_at_once_is_refused_and_probes_are_not() {
        let site = site();
        let metrics = Uri::from_static("/metrics");
        let mut on_their_way: Vec<_> = (0..40).map(|_| site.answer(&Method::GET, &metrics)).collect();
        assert!(on_their_way.iter().all(|answer| answer.status() == StatusCode::OK));
        assert_eq!(code(&site, "/metrics"), 503);
        assert_eq!((code(&site, "/-/healthy"), code(&site, "/-/ready")), (200, 200));
        on_their_way.pop();
        assert_eq!(code(&site, "/metrics"), 200);
    }

    #[test]
    fn a_large_page_is_handed_over_in_pieces_that_add_up() {
        let mut page = Page { left: Bytes::from(vec![b'x'; CHUNK * 2 + 1]), _place: None };
        let mut sizes = Vec::new();
        let mut context = Context::from_waker(std::task::Waker::noop());
        while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut page).poll_frame(&mut context) {
            sizes.push(frame.into_data().unwrap().len());
        }
        assert_eq!(sizes, [CHUNK, CHUNK, 1]);
        assert!(page.is_end_stream());
    }

    #[test]
    fn a_query_is_decoded_and_what_is_no_code_stays() {
        assert_eq!(decoded("small%2Dllms+%zz%e2%82%ac%4"), "small-llms %zz€%4");
    }
}
