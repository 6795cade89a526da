//! Requests that the stage itself sends to bring a fault about: many callers who all go away at once, and users who
//! ask about a CUDA error of their own.

use std::io::{self, BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::silence::Silence;
use super::traffic::send;

/// Number of callers.
const CALLERS: usize = 12;
/// Upper bound for an answer to a caller; then its engine is taken for hung.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time without callers after they left: longer than any engine may stand still.
const QUIET: Duration = Duration::from_secs(600);

/// Callers come, wait until each of them gets tokens, and go away at one moment, all others with them.
pub(crate) fn come_and_go(engine: SocketAddr, silence: &Silence) -> io::Result<()> {
    let callers: Vec<_> =
        (0..CALLERS).map(|_| ask(engine, "Tell me a long story", 100_000)).collect::<Result<_, _>>()?;
    let mut waiting = callers.into_iter().map(BufReader::new).collect::<Vec<_>>();
    for caller in &mut waiting {
        await_token(caller)?;
    }
    silence.begin(engine, QUIET);
    drop(waiting);
    Ok(())
}

/// Somebody asks this, and reads the answer.
pub(crate) fn ask_about(engine: SocketAddr, question: &str) -> io::Result<()> {
    let mut caller = BufReader::new(ask(engine, question, 4)?);
    await_token(&mut caller)?;
    io::copy(&mut caller, &mut io::sink()).map(drop)
}

/// Sends a streaming request.
fn ask(engine: SocketAddr, prompt: &str, tokens: u32) -> io::Result<TcpStream> {
    let body = serde_json::json!({ "prompt": prompt, "max_tokens": tokens, "stream": true }).to_string();
    send(engine, &body, PATIENCE)
}

fn await_token(caller: &mut BufReader<TcpStream>) -> io::Result<()> {
    let mut line = String::new();
    while !line.starts_with("data:") {
        line.clear();
        if caller.read_line(&mut line)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the engine hung up before it gave a token"));
        }
    }
    Ok(())
}
