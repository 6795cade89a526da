//! `POST /sim/inject`: what the stage wants to happen to this engine.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::batch::Batch;
use super::dialect::{Received, Voice};
use super::http::reply;
use super::metrics::Manner;

/// How long a caller waits for its order to be carried out.
const ORDER: Duration = Duration::from_millis(500);
/// Time between two pieces of a leak: 120 of them a minute.
const LEAK: Duration = Duration::from_millis(500);
/// Length of a flood of lines, and how many come at once, how often: 10 000 a second.
const FLOOD: Duration = Duration::from_secs(3);
const LINES: u64 = 100;
const BETWEEN: Duration = Duration::from_millis(10);

/// What users ask who have a CUDA error of their own.
pub(crate) const QUESTION: &str = "My training ends with\nRuntimeError: CUDA error: an illegal memory access was encountered\nWhat \
                            does error 700 mean, and is it the same as \"CUDA out of memory\"?";

/// `{"fault": NAME, "millis": N}`.
pub(super) fn inject(batch: &Arc<Batch>, stream: &mut TcpStream, body: &[u8]) -> io::Result<()> {
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
        "device-oom" => &["exhaust"],
        "orphan" => &["orphan"],
        "outside-mps" => &["outside"],
        "kernel" => &[&kernel],
        other => match change(batch, other) {
            Ok(()) => &[],
            Err(()) => return reply(stream, "400 Bad Request", "text/plain", "unknown fault\n"),
        },
    };
    for order in orders {
        let _ = batch.order(order).recv_timeout(ORDER);
    }
    reply(stream, "200 OK", "text/plain", "ordered\n")
}

/// What needs no order to the core. An error: there is no such fault.
fn change(batch: &Arc<Batch>, fault: &str) -> Result<(), ()> {
    match fault {
        "unaware" => batch.state().unaware = true,
        "term-hangs" => batch.state().term_hangs = true,
        "log-requests" => batch.state().log_requests = true,
        "gauges-of-steps" => batch.state().books.live = false,
        "metrics-hang" => batch.state().manner = Manner::Hang,
        "metrics-flood" => batch.state().manner = Manner::Flood,
        "leak" => leak(batch.clone()),
        "echo-flood" => flood(batch.clone()),
        _ => return Err(()),
    }
    Ok(())
}

/// Takes device memory indefinitely, until there is no more and the engine dies of it.
fn leak(batch: Arc<Batch>) {
    let piece = format!("alloc {}", batch.leak / 120);
    thread::spawn(move || {
        while !batch.state().dead {
            let _ = batch.order(&piece).recv_timeout(ORDER);
            thread::sleep(LEAK);
        }
    });
}

/// Logs users' questions as fast as a busy front end that is asked nothing else.
fn flood(batch: Arc<Batch>) {
    thread::spawn(move || {
        let (begun, mut id) = (Instant::now(), 0);
        while begun.elapsed() < FLOOD {
            let received = |id| batch.dialect.received(&Received { id, prompt: QUESTION, tokens: 64 });
            let lines: Vec<String> = (id..id + LINES).map(received).collect();
            batch.dialect.say(Voice::Front, &lines);
            id += LINES;
            thread::sleep(BETWEEN);
        }
    });
}
