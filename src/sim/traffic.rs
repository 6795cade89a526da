//! Requests to the engines of a stage, all along, as users would send them; and what became of them.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A request and its answer take less than this, or have failed.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two requests to one engine.
const PAUSE: Duration = Duration::from_millis(50);
/// After one that failed: its engine is down.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(500);
/// Tokens that a request asks for.
const TOKENS: u32 = 8;

/// Traffic that is under way. Dropping it ends it.
#[derive(Debug)]
pub struct Traffic {
    end: Arc<AtomicBool>,
    counts: Arc<Counts>,
    threads: Vec<JoinHandle<()>>,
}

/// How requests ended so far.
#[derive(Debug, Default)]
struct Counts {
    answered: AtomicU64,
    failed: AtomicU64,
}

impl Traffic {
    /// Sends one streaming completion after the other to each of the engines.
    pub fn start(engines: impl IntoIterator<Item = SocketAddr>) -> io::Result<Traffic> {
        let mut traffic = Traffic { end: Arc::default(), counts: Arc::default(), threads: Vec::new() };
        for address in engines {
            let (end, counts) = (traffic.end.clone(), traffic.counts.clone());
            let send = move || {
                while !end.load(Ordering::Relaxed) {
                    let (count, pause) = match complete(address) {
                        Ok(()) => (&counts.answered, PAUSE),
                        Err(_) => (&counts.failed, PAUSE_AFTER_FAILURE),
                    };
                    count.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(pause);
                }
            };
            traffic.threads.push(thread::Builder::new().name(format!("traffic-{address}")).spawn(send)?);
        }
        Ok(traffic)
    }

    /// Ends it and says how many requests were answered and how many failed.
    pub fn finish(mut self) -> (u64, u64) {
        self.join();
        (self.counts.answered.load(Ordering::Relaxed), self.counts.failed.load(Ordering::Relaxed))
    }

    fn join(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A thread that panicked has nothing left to end.
            let _ = thread.join();
        }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.join();
    }
}

/// One streaming completion, read to its end.
fn complete(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let body = format!(r#"{{"prompt":"How are you?","max_tokens":{TOKENS},"stream":true}}"#);
    let length = body.len();
    write!(
        stream,
        "POST /v1/completions HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let whole = answer.starts_with("HTTP/1.1 200") && answer.contains("data: [DONE]");
    if whole { Ok(()) } else { Err(io::Error::other("no whole answer")) }
}
