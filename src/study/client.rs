//! Speaks to one engine's OpenAI-compatible endpoint: which model it serves, which fields it takes, one streamed
//! completion after the other over a connection that is kept. Every wait and every size is bounded.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::request::{Form, Lengths};
use super::sse::{Came, Event, Events, Usage};
use crate::host::http::{GetError, Peer, Question, Response};
use crate::text::plain;

/// Upper bound for one request, from its connection to its last token.
const PATIENCE: Duration = Duration::from_secs(120);
/// Bytes of a whole answer: 16 000 tokens have some 8 MB.
const LONGEST_ANSWER: usize = 64 << 20;
/// Bytes of an answer that is a refusal.
const LONGEST_REFUSAL: usize = 4 << 10;
/// Bytes of the engine's list of models.
const LONGEST_LIST: usize = 1 << 20;
/// Characters of what a server says when it refuses.
const LONGEST_REASON: usize = 300;
/// The lengths by which a form is tried.
const TRIAL: Lengths = Lengths { prompt: 16, output: 2 };

/// An engine as it wants to be spoken to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Target {
    url: String,
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

impl From<GetError> for Failure {
    fn from(error: GetError) -> Failure {
        error.to_string().into()
    }
}

impl Target {
    /// Meets the engine at `url`, `http://host:port`, with an API key where it wants one. Finds out its model and what
    /// it takes.
    pub(super) async fn meet(url: &str, key: Option<String>) -> Result<Target, String> {
        // A key goes with every request, and over https it is not checked to whom.
        if !url.starts_with("http://") {
            return Err(format!("{url} is no http://host:port"));
        }
        let mut target = Target { url: url.to_owned(), key, model: None, form: Form::ALL[0] };
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
    pub(super) fn lacks(&self) -> Option<String> {
        self.form.lacks()
    }
}

/// Sends one request after the other.
pub(super) struct Caller<'t> {
    target: &'t Target,
    peer: Peer,
}

impl<'t> Caller<'t> {
    /// A caller of this engine. Connects to no server yet.
    pub(super) fn of(target: &'t Target) -> Caller<'t> {
        Caller { target, peer: Peer::new(&target.url) }
    }

    /// One streamed completion; each chunk with tokens is reported with its time since `began`. Ends within 120 s.
    pub(super) async fn stream(
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
        mut take: impl FnMut(Event, Duration),
    ) -> Result<Option<Usage>, Failure> {
        let body = self.target.form.body(self.target.model.as_deref(), lengths).to_string();
        let question = Question::post("/v1/completions", body).with_key(self.target.key.as_deref());
        let (mut events, mut heard) = (Events::default(), Heard::default());
        let hear = |piece: &[u8]| {
            let at = began.elapsed();
            heard.bytes += piece.len();
            if heard.bytes > LONGEST_ANSWER {
                return Err(Failure::from(format!("an answer of over {} MiB", LONGEST_ANSWER >> 20)));
            }
            let told = |event| {
                heard.hear(&event);
                take(event, at);
            };
            Ok(events.push(piece, told)?)
        };
        let answer = self.peer.stream(question, PATIENCE, LONGEST_REFUSAL, hear).await?;
        refusal(&answer)?;
        heard.whole()
    }

    /// The first model of the engine's list; `None`: it has no such list.
    async fn model(&mut self) -> Option<String> {
        let question = Question::get("/v1/models").with_key(self.target.key.as_deref());
        let list = self.peer.whole(question, PATIENCE, LONGEST_LIST).await.ok()?;
        let list: Value = serde_json::from_slice(&list.body).ok()?;
        list["data"][0]["id"].as_str().map(str::to_owned)
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
fn refusal(answer: &Response) -> Result<(), Failure> {
    let status = answer.status;
    if status == 200 {
        return Ok(());
    }
    let why = format!("HTTP {status}: {}", shortened(&String::from_utf8_lossy(&answer.body)));
    Err(Failure { why, refused: matches!(status, 400 | 422) })
}

/// The text in one line of bounded length.
fn shortened(text: &str) -> String {
    let line: String = plain::one_line(text.trim()).chars().take(LONGEST_REASON).collect();
    if line.is_empty() { "without a reason".to_owned() } else { line }
}
