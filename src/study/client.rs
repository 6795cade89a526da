//! Speaks to one engine's OpenAI-compatible endpoint: which model it serves, which fields it takes, one streamed
//! completion after the other over a connection that is kept. Every wait and every size is bounded.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Response, Uri};
use serde_json::Value;
use tokio::time::timeout;

use super::connection::{Connection, read};
use super::request::{Form, Lengths};
use super::sse::{Came, Event, Events, Usage};
use crate::text::plain;

/// For one request, from its connection to its last token.
const PATIENCE: Duration = Duration::from_secs(120);
/// Bytes of a whole answer: 16 000 tokens have some 8 MB.
const LONGEST_ANSWER: usize = 64 << 20;
/// Of what a server says when it refuses.
const LONGEST_REASON: usize = 300;
/// The lengths by which a form is tried.
const TRIAL: Lengths = Lengths { prompt: 16, output: 2 };

/// An engine as it wants to be spoken to.
#[derive(Clone, Debug)]
pub(super) struct Target {
    authority: String,
    address: (String, u16),
    key: Option<String>,
    /// The model that it says it serves.
    pub model: Option<String>,
    form: Form,
}

/// Why a request failed.
#[derive(Debug)]
struct Failure {
    why: String,
    /// The server did not like the request itself.
    refused: bool,
}

impl From<String> for Failure {
    fn from(why: String) -> Failure {
        Failure { why, refused: false }
    }
}

impl Target {
    /// At `url`, `http://host:port`, with an API key where it wants one. Finds out its model and what it takes.
    pub async fn meet(url: &str, key: Option<String>) -> Result<Target, String> {
        let uri: Uri = url.parse().map_err(|error| format!("{url} is no URL: {error}"))?;
        let plain = uri.scheme_str() == Some("http");
        let host = uri.host().filter(|_| plain).ok_or_else(|| format!("{url} is no http://host:port"))?;
        let port = uri.port_u16().unwrap_or(80);
        let address = (host.trim_matches(['[', ']']).to_owned(), port);
        let mut target = Target { authority: format!("{host}:{port}"), address, key, model: None, form: Form::ALL[0] };
        target.model = Caller::of(&target).model().await;
        for form in Form::ALL {
            target.form = form;
            match target.trial().await {
                Ok(()) => return Ok(target),
                Err(failure) if failure.refused && form != Form::ALL[4] => {}
                Err(failure) => return Err(failure.why),
            }
        }
        Ok(target)
    }

    /// Whether it takes its form. One answer that goes wrong says nothing about it yet.
    async fn trial(&self) -> Result<(), Failure> {
        let ask = async || Caller::of(self).complete(TRIAL, Instant::now(), |_, _| {}).await.map(|_| ());
        match ask().await {
            Err(failure) if !failure.refused => ask().await,
            told => told,
        }
    }

    /// What it does not understand, for people.
    pub fn lacks(&self) -> Option<String> {
        self.form.lacks()
    }
}

/// Sends one request after the other.
pub(super) struct Caller<'t> {
    target: &'t Target,
    kept: Option<Connection>,
}

impl<'t> Caller<'t> {
    /// Of this engine. Connects to nobody yet.
    pub fn of(target: &'t Target) -> Caller<'t> {
        Caller { target, kept: None }
    }

    /// One streamed completion; each chunk with tokens is told with its time since `began`. Ends within 120 s.
    pub async fn stream(
        &mut self,
        lengths: Lengths,
        began: Instant,
        take: impl FnMut(Event, Duration),
    ) -> Result<Option<Usage>, String> {
        self.complete(lengths, began, take).await.map_err(|failure| failure.why)
    }

    async fn complete(
        &mut self,
        lengths: Lengths,
        began: Instant,
        take: impl FnMut(Event, Duration),
    ) -> Result<Option<Usage>, Failure> {
        let body = self.target.form.body(self.target.model.as_deref(), lengths).to_string();
        match timeout(PATIENCE, self.converse(body, began, take)).await {
            Ok(ended) => ended,
            Err(_) => Err(format!("no whole answer within {} s", PATIENCE.as_secs()).into()),
        }
    }

    async fn converse(
        &mut self,
        body: String,
        began: Instant,
        mut take: impl FnMut(Event, Duration),
    ) -> Result<Option<Usage>, Failure> {
        let (mut answer, connection) = self.ask("POST", "/v1/completions", body.into()).await?;
        refusal(&mut answer).await?;
        let (mut events, mut heard) = (Events::default(), Heard::default());
        while let Some(frame) = answer.body_mut().frame().await {
            let frame = frame.map_err(|error| format!("its answer broke off: {error}"))?;
            let Ok(piece) = frame.into_data() else { continue };
            let at = began.elapsed();
            heard.bytes += piece.len();
            if heard.bytes > LONGEST_ANSWER {
                return Err(format!("an answer of over {} MiB", LONGEST_ANSWER >> 20).into());
            }
            events.push(&piece, |event| {
                heard.hear(&event);
                take(event, at);
            })?;
        }
        self.kept = Some(connection);
        heard.whole()
    }

    /// The first model of the engine's list; `None`: it has no such list.
    async fn model(&mut self) -> Option<String> {
        let asked = timeout(PATIENCE, self.ask("GET", "/v1/models", Bytes::new())).await.ok()?;
        let (mut answer, _connection) = asked.ok()?;
        let list = timeout(PATIENCE, read(&mut answer, 1 << 20)).await.ok()?;
        let list: Value = serde_json::from_slice(&list).ok()?;
        list["data"][0]["id"].as_str().map(str::to_owned)
    }

    /// Asks, and waits for the head. A kept connection may have ended by now, which says nothing: then a new one
    /// is asked.
    async fn ask(&mut self, method: &str, path: &str, body: Bytes) -> Result<(Response<Incoming>, Connection), String> {
        let mut request = hyper::Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.target.authority)
            .header(CONTENT_TYPE, "application/json");
        if let Some(key) = &self.target.key {
            request = request.header(AUTHORIZATION, format!("Bearer {key}"));
        }
        let request = request.body(Full::new(body)).map_err(|error| format!("no request can be made: {error}"))?;
        if let Some(kept) = self.kept.take()
            && let Ok(answer) = kept.ask(request.clone()).await
        {
            return Ok(answer);
        }
        let asked = Connection::open(&self.target.address).await?.ask(request).await;
        asked.map_err(|error| format!("{} answers no HTTP: {error}", self.target.authority))
    }
}

/// What came of a stream.
#[derive(Default)]
struct Heard {
    bytes: usize,
    tokens: bool,
    /// The end, without text.
    end: bool,
    finished: bool,
    usage: Option<Usage>,
    error: Option<String>,
}

impl Heard {
    fn hear(&mut self, event: &Event) {
        self.tokens |= event.came == Came::Token;
        self.end |= event.came == Came::End;
        self.finished |= event.finished;
        self.usage = event.usage.or(self.usage);
        self.error = self.error.take().or_else(|| event.error.as_deref().map(shortened));
    }

    /// Whether there was any token: by what came, else by the server's count.
    fn had_tokens(&self) -> bool {
        self.tokens || self.usage.map_or(self.end, |usage| usage.completion_tokens > 0)
    }

    /// The server's count, if it was an answer from its beginning to its end.
    fn whole(self) -> Result<Option<Usage>, Failure> {
        let had_tokens = self.had_tokens();
        match self {
            Heard { error: Some(error), .. } => Err(format!("it failed: {error}").into()),
            _ if !had_tokens => Err("an answer without tokens".to_owned().into()),
            Heard { finished: false, .. } => Err("an answer without an end".to_owned().into()),
            Heard { usage, .. } => Ok(usage),
        }
    }
}

/// Why the server does not answer with a stream.
async fn refusal(answer: &mut Response<Incoming>) -> Result<(), Failure> {
    let status = answer.status().as_u16();
    if status == 200 {
        return Ok(());
    }
    let said = read(answer, 4 << 10).await;
    let why = format!("HTTP {status}: {}", shortened(&String::from_utf8_lossy(&said)));
    Err(Failure { why, refused: matches!(status, 400 | 422) })
}

/// In one line of bounded length.
fn shortened(text: &str) -> String {
    let line: String = plain::one_line(text.trim()).chars().take(LONGEST_REASON).collect();
    if line.is_empty() { "without a reason".to_owned() } else { line }
}
