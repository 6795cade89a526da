//! The engine's HTTP and where a request goes. Stands in for vLLM's API server, which keeps connections;
//! here only health and metrics are served on and on, all else is one request a connection.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::mpsc::TryRecvError;
use std::thread;
use std::time::Duration;

use super::batch::Batch;
use super::dialect::{Voice, Work};
use super::inject::inject;
use super::{completions, metrics};

/// Most bytes of a body.
const LONGEST_BODY: usize = 1 << 20;
/// Longest silence of a caller.
const SILENCE: Duration = Duration::from_secs(10);
/// Number of looks after which an engine that waits for a token for its health gives up.
const LOOKS: u32 = 20;
/// Time between two reports of the load.
const PERIOD: Duration = Duration::from_secs(10);

/// Serves one connection; a caller who hangs up is no trouble.
pub(super) fn serve(batch: &Arc<Batch>, stream: TcpStream) {
    let _ = stream.set_read_timeout(Some(SILENCE)).and_then(|()| answer_all(batch, stream));
}

fn answer_all(batch: &Arc<Batch>, mut stream: TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let HttpRequest { line, last, body } = read_request(&mut reader)?;
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
    let status = if is_well(batch) { "200 OK" } else { "503 Service Unavailable" };
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")
}

/// Whether its core is there, or, in a dialect that asks for a token, whether that came.
fn is_well(batch: &Batch) -> bool {
    let (dead, stopping, plain) = {
        let state = batch.state();
        (state.dead, state.stopping, state.plain)
    };
    match batch.dialect.health_by_token().filter(|_| !plain) {
        _ if dead => false,
        Some(_) if stopping => false,
        Some(between) => {
            let own = batch.own_request();
            let came = || own.tokens.try_recv() != Err(TryRecvError::Empty);
            let looked = (0..LOOKS).any(|_| {
                thread::sleep(between);
                came()
            });
            looked && !batch.state().dead
        }
        None => true,
    }
}

/// Tells in the log of the load of the last ten seconds, while there is one and once more after it.
pub(super) fn tell_of_the_load(batch: &Batch) {
    let (mut before, mut idle) = (batch.state().books.made(), true);
    loop {
        thread::sleep(PERIOD);
        let (made, figures) = {
            let mut state = batch.state();
            (state.books.made(), state.figures())
        };
        let a_second = |now: f64, before: f64| (now - before) / PERIOD.as_secs_f64();
        let work = Work {
            running: figures.running as usize,
            waiting: figures.waiting as usize,
            cache: figures.cache,
            prompt: a_second(made.0, before.0),
            generated: a_second(made.1, before.1),
        };
        let was_idle = std::mem::replace(&mut idle, made == before);
        before = made;
        if let Some(line) = batch.dialect.periodic(&work).filter(|_| !(idle && was_idle)) {
            batch.dialect.say(Voice::Front, &[line]);
        }
    }
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

struct HttpRequest {
    line: String,
    /// The caller wants no other answer on this connection.
    last: bool,
    body: Vec<u8>,
}

fn read_request(reader: &mut BufReader<TcpStream>) -> io::Result<HttpRequest> {
    let mut request = HttpRequest { line: String::new(), last: false, body: Vec::new() };
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
pub(super) fn reply(stream: &mut TcpStream, status: &str, kind: &str, body: &str) -> io::Result<()> {
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}
