//! A watchdog that has what a demo's has not: engines with kernel probes and baselines, and with words that proved wrong,
//! by a status made by hand.
//! It answers scrapes with those metrics alone, so that it can answer for no other.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use mpswarden::model::{Doubt, Status};

use crate::support::statuses::{at, exporter, page_of, sharing};

/// Metrics without a sample in a demo.
const ITS_OWN: &[&str] = &[
    "mps_kernel_concurrency_seconds_total",
    "mps_engine_kernel_busy_seconds_total",
    "mps_probe_sampled_seconds_total",
    "mps_engine_probe_state",
    "mps_throughput_gain",
    "mps_engine_slowdown_factor",
    "mps_baseline_",
    "mps_sharing_advice_active",
    "mps_evidence_refuted_total",
];
/// Upper bound for a request to come.
const BOUND: Duration = Duration::from_secs(10);

/// It answers at the address until the test ends.
pub fn watchdog() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let exporter = exporter(&status(15.0));
        let began = Instant::now();
        for stream in listener.incoming() {
            let now = 15.0 + began.elapsed().as_secs_f64();
            exporter.publish(status(now));
            // A scraper that goes away comes again.
            let _ = answer(stream.unwrap(), &page_of(&exporter, at(now)));
        }
    });
    address
}

fn status(seconds: f64) -> Status {
    let mut status = sharing(seconds);
    status.groups[0].engines[0].doubted = vec![(700, Doubt::Refuted, seconds as u64)];
    status
}

fn answer(mut stream: TcpStream, page: &str) -> std::io::Result<()> {
    stream.set_read_timeout(Some(BOUND))?;
    let mut request = Vec::new();
    let mut part = [0; 1024];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut part)? {
            0 => return Ok(()),
            read => request.extend_from_slice(&part[..read]),
        }
    }
    let lines = page.lines().filter(|line| ITS_OWN.iter().any(|name| line.starts_with(name)));
    let body: String = lines.map(|line| format!("{line}\n")).collect();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\n";
    write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len())
}
