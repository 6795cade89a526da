//! `POST /v1/completions`, whole or streamed as server-sent events, in OpenAI's shape.

use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use super::batch::{Batch, Ticket};
use super::dialect::{Received, Voice};
use super::http::reply;

/// Whether the caller is still there is looked at so often, while it waits for a token.
const LOOK: Duration = Duration::from_millis(50);

const DEAD: &str =
    r#"{"error":{"message":"EngineCore encountered an issue.","type":"InternalServerError","code":500}}"#;

/// Every token.
const TOKEN: &str = " token";

/// What is asked for. What else a caller says (`temperature`, `ignore_eos`) changes nothing here.
#[derive(Deserialize)]
struct CompletionRequest {
    #[serde(default)]
    prompt: Prompt,
    /// The prompt stands for one of so many tokens.
    prompt_tokens: Option<usize>,
    max_tokens: Option<u32>,
    #[serde(default)]
    stream: bool,
    stream_options: Option<StreamOptions>,
}

/// Text, or the numbers of tokens.
#[derive(Deserialize)]
#[serde(untagged)]
enum Prompt {
    Text(String),
    Tokens(Vec<u32>),
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

impl Default for Prompt {
    fn default() -> Self {
        Prompt::Text(String::new())
    }
}

impl Prompt {
    /// What its user wrote; of numbers, nothing.
    fn text(&self) -> &str {
        match self {
            Prompt::Text(text) => text,
            Prompt::Tokens(_) => "",
        }
    }

    /// A word of a text is a token.
    fn tokens(&self) -> usize {
        match self {
            Prompt::Text(text) => text.split_whitespace().count(),
            Prompt::Tokens(tokens) => tokens.len(),
        }
    }
}

/// Serves one request; of an engine that dies meanwhile the caller gets a 500, or the stream's end.
pub(super) fn complete(batch: &Batch, stream: &mut TcpStream, body: &[u8]) -> io::Result<()> {
    let request: CompletionRequest = match serde_json::from_slice(body) {
        Ok(request) => request,
        Err(error) => return reply(stream, "400 Bad Request", "text/plain", &format!("{error}\n")),
    };
    if batch.state().dead {
        return reply(stream, "500 Internal Server Error", "application/json", DEAD);
    }
    let prompt = request.prompt_tokens.unwrap_or_else(|| request.prompt.tokens()).max(1);
    let asked = Asked { model: &batch.model, prompt, tokens: request.max_tokens.unwrap_or(16).max(1) };
    let ticket = batch.request(prompt as u64, asked.tokens);
    if batch.state().log_requests {
        let received = Received { id: ticket.id, prompt: request.prompt.text(), tokens: asked.tokens };
        batch.dialect.say(Voice::Front, &[batch.dialect.received(&received)]);
    }
    match request.stream {
        true => asked.stream(stream, request.stream_options.is_some_and(|options| options.include_usage), &ticket),
        false => asked.whole(stream, &ticket),
    }
}

/// Tokens that are there, at least one; `None`: no more will come. An error says that the caller has gone away.
fn next_tokens(stream: &TcpStream, ticket: &Ticket) -> io::Result<Option<u32>> {
    loop {
        match ticket.tokens.recv_timeout(LOOK) {
            Ok(()) => return Ok(Some(1 + u32::try_from(ticket.tokens.try_iter().count()).unwrap_or(u32::MAX))),
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
            Err(RecvTimeoutError::Timeout) => still_there(stream)?,
        }
    }
}

/// A caller that has closed its side wants no answer any more, as uvicorn takes it.
fn still_there(stream: &TcpStream) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let peeked = stream.peek(&mut [0]);
    stream.set_nonblocking(false)?;
    match peeked {
        Ok(0) => Err(io::ErrorKind::ConnectionAborted.into()),
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Ok(()),
    }
}

/// A request that is being served.
struct Asked<'a> {
    model: &'a str,
    /// Length of the prompt in tokens.
    prompt: usize,
    tokens: u32,
}

impl Asked<'_> {
    fn whole(&self, stream: &mut TcpStream, ticket: &Ticket) -> io::Result<()> {
        let (mut received, mut looked) = (0, Instant::now());
        while let Some(tokens) = next_tokens(stream, ticket)? {
            received += tokens;
            // Nothing is written before the end that would fail.
            if looked.elapsed() >= LOOK {
                still_there(stream)?;
                looked = Instant::now();
            }
        }
        if received < self.tokens {
            return reply(stream, "500 Internal Server Error", "application/json", DEAD);
        }
        let mut body = self.chunk(json!([{
            "index": 0, "text": TOKEN.repeat(self.tokens as usize), "finish_reason": "length",
        }]));
        body["usage"] = self.usage();
        reply(stream, "200 OK", "application/json", &body.to_string())
    }

    /// Tokens that are there at once go out at once, each in an event of its own.
    fn stream(&self, stream: &mut TcpStream, include_usage: bool, ticket: &Ticket) -> io::Result<()> {
        let event = |choices| format!("data: {}\n\n", self.chunk(choices));
        let token = |reason: Option<&str>| event(json!([{"index": 0, "text": TOKEN, "finish_reason": reason}]));
        let (token, last) = (token(None), token(Some("length")));
        stream.set_nodelay(true)?;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")?;
        let mut sent = 0;
        while let Some(tokens) = next_tokens(stream, ticket)? {
            let mut events = String::new();
            for _ in 0..tokens {
                sent += 1;
                events.push_str(if sent < self.tokens { &token } else { &last });
            }
            stream.write_all(events.as_bytes())?;
        }
        if sent < self.tokens {
            return Ok(());
        }
        let mut usage = self.chunk(json!([]));
        usage["usage"] = self.usage();
        let usage = if include_usage { format!("data: {usage}\n\n") } else { String::new() };
        stream.write_all(format!("{usage}data: [DONE]\n\n").as_bytes())
    }

    fn chunk(&self, choices: Value) -> Value {
        json!({"id": "cmpl-0", "object": "text_completion", "model": self.model, "choices": choices})
    }

    fn usage(&self) -> Value {
        let total = self.prompt + self.tokens as usize;
        json!({"prompt_tokens": self.prompt, "completion_tokens": self.tokens, "total_tokens": total})
    }
}

/// `GET /v1/models`: the one that it serves.
pub(super) fn models(batch: &Batch, stream: &mut TcpStream) -> io::Result<()> {
    let model = json!({"id": batch.model, "object": "model", "owned_by": "mpswarden"});
    reply(stream, "200 OK", "application/json", &json!({"object": "list", "data": [model]}).to_string())
}
