//! The engine's HTTP and where a request goes. Stands in for vLLM's API server, which keeps connections;
//! here only health and metrics are served on and on, all else is one request a connection.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::batch::Batch;
use super::completions;
use super::metrics::{self, Manner};

/// A body may have so many bytes.
const LONGEST_BODY: usize = 1 << 20;
/// A caller may be silent for so long.
const SILENCE: Duration = Duration::from_secs(10);
/// How long a caller of `/sim/inject` waits for its order to be carried out.
const ORDER: Duration = Duration::from_millis(500);
/// A leak takes a piece so often: 120 of them a minute.
const LEAK: Duration = Duration::from_millis(500);

/// Serves one connection; a caller who hangs up is no trouble.
pub fn serve(batch: &Arc<Batch>, stream: TcpStream) {
    let _ = stream.set_read_timeout(Some(SILENCE)).and_then(|()| answer_all(batch, stream));
}

fn answer_all(batch: &Arc<Batch>, mut stream: TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let Request { line, last, body } = read_request(&mut reader)?;
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["GET", "/health", ..] => health(batch, &mut stream)?,
            ["GET", "/metrics", ..] => metrics::answer(batch, &mut stream)?,
            words => return answer(batch, &mut stream, words, &body),
        }
        if last {
            return Ok(());
        }
    }
}

fn health(batch: &Arc<Batch>, stream: &mut TcpStream) -> io::Result<()> {
    let status = if batch.state().dead { "500 Internal Server Error" } else { "200 OK" };
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")
}

fn answer(batch: &Arc<Batch>, stream: &mut TcpStream, words: &[&str], body: &[u8]) -> io::Result<()> {
    match words {
        ["GET", "/sim/core", ..] => reply(stream, "200 OK", "text/plain", &batch.core().to_string()),
        ["GET", "/sim/main", ..] => reply(stream, "200 OK", "text/plain", &std::process::id().to_string()),
        ["GET", "/v1/models", ..] => completions::models(batch, stream),
        ["POST", "/v1/completions", ..] => completions::complete(batch, stream, body),
        ["POST", "/sim/inject", ..] => inject(batch, stream, body),
        _ => reply(stream, "404 Not Found", "text/plain", "no such path\n"),
    }
}

struct Request {
    line: String,
    /// The caller wants no other answer on this connection.
    last: bool,
    body: Vec<u8>,
}

fn read_request(reader: &mut BufReader<TcpStream>) -> io::Result<Request> {
    let mut request = Request { line: String::new(), last: false, body: Vec::new() };
    if reader.read_line(&mut request.line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut length = 0;
    for header in reader.by_ref().lines() {
        let header = header?.to_ascii_lowercase();
        match header.split_once(':').map(|(name, value)| (name, value.trim())) {
            Some(("content-length", value)) => length = value.parse().unwrap_or(0),
            Some(("connection", "close")) => request.last = true,
            _ if header.is_empty() => break,
            _ => {}
        }
    }
    request.body = vec![0; length.min(LONGEST_BODY)];
    reader.read_exact(&mut request.body)?;
    Ok(request)
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
        "starve" => &["starve"],
        "unaware" => {
            batch.state().unaware = true;
            &[]
        }
        "device-oom" => &["exhaust"],
        "leak" => {
            leak(batch.clone());
            &[]
        }
        "metrics-hang" => mind(batch, Manner::Hang),
        "metrics-flood" => mind(batch, Manner::Flood),
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

/// From now on metrics are answered like this.
fn mind(batch: &Batch, manner: Manner) -> &'static [&'static str] {
    batch.state().manner = manner;
    &[]
}

/// Takes device memory for ever, until there is no more and the engine dies of it.
fn leak(batch: Arc<Batch>) {
    let piece = format!("alloc {}", batch.leak / 120);
    thread::spawn(move || {
        while !batch.state().dead {
            let _ = batch.order(&piece).recv_timeout(ORDER);
            thread::sleep(LEAK);
        }
    });
}
