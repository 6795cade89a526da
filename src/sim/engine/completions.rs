//! `POST /v1/completions`, whole or streamed as server-sent events, in OpenAI's shape.

use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::mpsc::Receiver;

use serde::Deserialize;
use serde_json::json;

use super::batch::Batch;
use super::http::reply;

const DEAD: &str =
    r#"{"error":{"message":"EngineCore encountered an issue.","type":"InternalServerError","code":500}}"#;

/// What is asked for.
#[derive(Deserialize)]
struct Request {
    #[serde(default)]
    prompt: String,
    /// The prompt stands for one of so many tokens.
    prompt_tokens: Option<usize>,
    #[serde(default = "sixteen")]
    max_tokens: u32,
    #[serde(default)]
    stream: bool,
}

fn sixteen() -> u32 {
    16
}

/// Serves one request; of an engine that dies meanwhile the caller gets a 500, or the stream's end.
pub fn complete(batch: &Batch, stream: &mut TcpStream, body: &[u8]) -> io::Result<()> {
    let request: Request = match serde_json::from_slice(body) {
        Ok(request) => request,
        Err(error) => return reply(stream, "400 Bad Request", "text/plain", &format!("{error}\n")),
    };
    let tokens = request.max_tokens.max(1);
    let prompt_tokens = request.prompt_tokens.unwrap_or_else(|| request.prompt.split_whitespace().count()).max(1);
    if batch.state().dead {
        return reply(stream, "500 Internal Server Error", "application/json", DEAD);
    }
    let received = batch.request(prompt_tokens as u64, tokens);
    match request.stream {
        true => stream_tokens(batch, stream, tokens, &received),
        false => whole(batch, stream, prompt_tokens, tokens, &received),
    }
}

fn whole(batch: &Batch, stream: &mut TcpStream, prompt: usize, tokens: u32, received: &Receiver<()>) -> io::Result<()> {
    if (received.iter().count() as u32) < tokens {
        return reply(stream, "500 Internal Server Error", "application/json", DEAD);
    }
    let body = json!({
        "object": "text_completion",
        "model": batch.model,
        "choices": [{"index": 0, "text": " token".repeat(tokens as usize), "finish_reason": "length"}],
        "usage": {"prompt_tokens": prompt, "completion_tokens": tokens, "total_tokens": prompt as u32 + tokens},
    });
    reply(stream, "200 OK", "application/json", &body.to_string())
}

fn stream_tokens(batch: &Batch, stream: &mut TcpStream, tokens: u32, received: &Receiver<()>) -> io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")?;
    let mut sent = 0;
    for () in received.iter() {
        let chunk = json!({
            "object": "text_completion",
            "model": batch.model,
            "choices": [{"index": 0, "text": " token"}],
        });
        write!(stream, "data: {chunk}\n\n")?;
        sent += 1;
    }
    if sent >= tokens { write!(stream, "data: [DONE]\n\n") } else { Ok(()) }
}
