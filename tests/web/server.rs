//! mpswarden's HTTP server over a small status, behind a web configuration, and its log.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::UNIX_EPOCH;

use mpswarden::export::http;
use mpswarden::export::{BuildInfo, Exporter};
use mpswarden::model::{Moment, Status};
use mpswarden::web::{Gate, Problem, Server};
use tokio::sync::watch;

/// A running server. It stops when dropped.
pub struct Running {
    server: Server,
}

impl Running {
    pub fn address(&self) -> SocketAddr {
        self.server.local_addresses[0]
    }
}

/// Starts it behind a configuration, or open to everyone.
pub fn start(file: Option<&Path>) -> Result<Running, Problem> {
    start_with(file, "0")
}

/// Starts it with metrics that are about as long as the version's name.
pub fn start_with(file: Option<&Path>, version: &'static str) -> Result<Running, Problem> {
    let gate = Gate::new(file)?;
    let status =
        Status { at: Moment::ZERO, ready: true, groups: vec![], gpus: vec![], sources: vec![], driver_let_go: false };
    let build = BuildInfo { version, revision: "", rustc: "" };
    let (_, statuses) = watch::channel(Arc::new(status));
    let exporter = Arc::new(Exporter::new(build, || UNIX_EPOCH, statuses));
    let any = "127.0.0.1:0".parse().unwrap();
    let (alive, clock) = (Arc::new(|| true), Arc::new(|| Moment::ZERO));
    Ok(Running { server: http::serve(gate, &[any], "/metrics", exporter, alive, clock).unwrap() })
}

static LOG: OnceLock<Arc<Mutex<Vec<u8>>>> = OnceLock::new();

/// Keeps what all servers of this process log.
#[derive(Clone)]
struct Keep(Arc<Mutex<Vec<u8>>>);

impl io::Write for Keep {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Begins to keep the log; before the server that it is about.
pub fn keep_log() {
    LOG.get_or_init(|| {
        let kept = Arc::default();
        let keep = Keep(Arc::clone(&kept));
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || keep.clone()).init();
        kept
    });
}

/// How many lines hold both.
pub fn logged(path: &Path, what: &str) -> usize {
    let log = String::from_utf8(LOG.get().unwrap().lock().unwrap().clone()).unwrap();
    log.lines().filter(|line| line.contains(path.to_str().unwrap()) && line.contains(what)).count()
}
