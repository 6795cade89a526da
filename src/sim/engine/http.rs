//! The engine's HTTP: one request a connection, and where it goes. Stands in for vLLM's API server.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::batch::Batch;
use super::{completions, metrics};

/// A body may have so many bytes.
const LONGEST_BODY: usize = 1 << 20;
/// A caller may be silent for so long.
const SILENCE: Duration = Duration::from_secs(10);
/// How long a caller of `/sim/inject` waits for its order to be carried out.
const ORDER: Duration = Duration::from_millis(500);
/// A leak takes a quarter of a GiB so often.
const LEAK: Duration = Duration::from_millis(500);

/// Serves one connection; a caller who hangs up is no trouble.
pub fn serve(batch: &Arc<Batch>, stream: TcpStream) {
    let _ = stream.set_read_timeout(Some(SILENCE)).and_then(|()| answer(batch, stream));
}

fn answer(batch: &Arc<Batch>, mut stream: TcpStream) -> io::Result<()> {
    let (line, body) = read_request(&stream)?;
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        ["GET", "/health", ..] if batch.state().dead => {
            reply(&mut stream, "500 Internal Server Error", "text/plain", "")
        }
        ["GET", "/health", ..] => reply(&mut stream, "200 OK", "text/plain", ""),
        ["GET", "/metrics", ..] => reply(&mut stream, "200 OK", metrics::TYPE, &metrics::render(batch)),
        ["GET", "/sim/core", ..] => reply(&mut stream, "200 OK", "text/plain", &batch.core().to_string()),
        ["GET", "/sim/main", ..] => reply(&mut stream, "200 OK", "text/plain", &std::process::id().to_string()),
        ["POST", "/v1/completions", ..] => completions::complete(batch, &mut stream, &body),
        ["POST", "/sim/inject", ..] => inject(batch, &mut stream, &body),
        _ => reply(&mut stream, "404 Not Found", "text/plain", "no such path\n"),
    }
}

fn read_request(stream: &TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut length = 0;
    for line in reader.by_ref().lines() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        let header = line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        length = header.and_then(|(_, value)| value.trim().parse().ok()).unwrap_or(length);
    }
    let mut body = vec![0; length.min(LONGEST_BODY)];
    reader.read_exact(&mut body)?;
    Ok((first, body))
}

/// A whole answer, and the end of the connection.
pub fn reply(stream: &mut TcpStream, status: &str, kind: &str, body: &str) -> io::Result<()> {
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

/// `{"fault": NAME, "millis": N}`: what the stage wants to happen to this engine.
fn inject(batch: &Arc<Batch>, stream: &mut TcpStream, body: &[u8]) -> io::Result<()> {
    let wish: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let millis = wish["millis"].as_u64().unwrap_or(2000);
    let kernel = format!("launch {}", millis * 1000);
    let orders: &[&str] = match wish["fault"].as_str().unwrap_or_default() {
        "illegal-address" => &["fault illegal-address"],
        "trap" => &["fault trap"],
        "stay" => &["stay"],
        "linger" => &["stay", "fault illegal-address"],
        "hang" => &["hang"],
        "device-oom" => &["exhaust"],
        "leak" => {
            leak(batch.clone());
            &[]
        }
        "orphan" => &["orphan"],
        "outside-mps" => &["outside"],
        "kernel" => &[&kernel],
        _ => return reply(stream, "400 Bad Request", "text/plain", "unknown fault\n"),
    };
    for order in orders {
        let _ = batch.order(order).recv_timeout(ORDER);
    }
    reply(stream, "200 OK", "text/plain", "ordered\n")
}

/// Takes device memory for ever, until there is no more and the engine dies of it.
fn leak(batch: Arc<Batch>) {
    thread::spawn(move || {
        while !batch.state().dead {
            let _ = batch.order("alloc 268435456").recv_timeout(ORDER);
            thread::sleep(LEAK);
        }
    });
}
