//! Makes answers from lines: what memory can answer is answered here, an order goes to the core loop. No socket here.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::seen::Incidents;
use super::words::{Call, Failure, Kind, Line, VERSION};
use crate::export::Exporter;
use crate::export::document::IncidentsDocument;
use crate::model::{Plan, Request, Setup};

/// What only the core loop can answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// An order.
    Order(Request),
    /// Apply the changed configuration.
    Reload,
}

/// A question to the core loop. Where its client no longer waits for the answer, nothing is done.
#[derive(Debug)]
pub struct Asked {
    /// The client's request.
    pub wanted: Wanted,
    /// Only say what it would come to.
    pub dry_run: bool,
    /// What it comes to, or why it can't be done.
    pub answer: oneshot::Sender<Result<Plan, String>>,
}

/// Everything that answers.
#[derive(Clone)]
pub(super) struct Answers {
    pub exporter: Arc<Exporter>,
    pub core: mpsc::Sender<Asked>,
    pub setup: SetupSource,
}

/// Gives the configuration in force, without its secrets. It may take milliseconds.
pub type SetupSource = Arc<dyn Fn() -> Result<Setup, String> + Send + Sync>;

type Answered = Result<Box<RawValue>, Failure>;

impl Answers {
    /// The answer to one line, within its call's bound.
    pub(super) async fn answer(&self, line: &[u8]) -> Answered {
        let call = parse(line)?;
        let bound = call.bound();
        match call {
            Call::Status => document(self.exporter.status_json()),
            Call::State => document(self.exporter.state_json()),
            Call::Remembered => written(&Incidents { incidents: self.exporter.incidents() }),
            Call::Incidents { id } => self.incidents(id.as_deref()),
            Call::Order { request: Request::Stop | Request::StopNow, .. } => {
                Err(Failure::new(Kind::Refused, "mpswarden itself is stopped by SIGTERM: systemctl stop mpswarden"))
            }
            Call::Order { request, dry_run } => self.ask(Wanted::Order(request), dry_run, bound).await,
            Call::Reload { dry_run } => self.ask(Wanted::Reload, dry_run, bound).await,
            Call::Setup => written(&(self.setup)().map_err(|why| Failure::new(Kind::Unavailable, why))?),
            Call::Version => written(&Running {
                version: env!("CARGO_PKG_VERSION"),
                revision: env!("MPSWARDEN_REVISION"),
                protocol: VERSION,
            }),
        }
    }

    fn incidents(&self, id: Option<&str>) -> Answered {
        let mut incidents = self.exporter.incidents();
        if let Some(id) = id {
            incidents.retain(|incident| incident.id == id);
            if incidents.is_empty() {
                let cure = "`mpswarden incidents` lists those that are";
                return Err(Failure::new(Kind::Refused, format!("no incident {id:?} is remembered: {cure}")));
            }
        }
        written(&IncidentsDocument::of(incidents.iter().map(Arc::as_ref)))
    }

    async fn ask(&self, wanted: Wanted, dry_run: bool, bound: Duration) -> Answered {
        let (answer, answered) = oneshot::channel();
        let stuck = "see `mpswarden status` for whether it was applied, and the log";
        let asked = async {
            self.core.send(Asked { wanted, dry_run, answer }).await.ok()?;
            answered.await.ok()
        };
        match timeout(bound, asked).await {
            Ok(Some(plan)) => written(&plan.map_err(|why| Failure::new(Kind::Refused, why))?),
            Ok(None) => Err(Failure::new(Kind::Unavailable, format!("mpswarden is ending: {stuck}"))),
            Err(_) => {
                let bound = bound.as_secs();
                Err(Failure::new(Kind::Unavailable, format!("the core loop did not answer within {bound} s: {stuck}")))
            }
        }
    }
}

/// The watchdog that runs.
#[derive(Serialize)]
struct Running {
    version: &'static str,
    revision: &'static str,
    protocol: u32,
}

fn parse(line: &[u8]) -> Result<Call, Failure> {
    let malformed = |why: String| Failure::new(Kind::Malformed, why);
    let example = r#"one line of JSON is, as in {"version":1,"call":"status"}"#;
    // The version first: the rest of another one's words may mean anything.
    let Version { version } =
        serde_json::from_slice(line).map_err(|error| malformed(format!("this is no call ({error}); {example}")))?;
    if version != VERSION {
        let cure = "use the mpswarden binary that runs";
        return Err(malformed(format!("a call of version {version}; this mpswarden speaks {VERSION}: {cure}")));
    }
    let line: Line = serde_json::from_slice(line).map_err(|error| {
        malformed(format!("no such call ({error}): status, incidents, order, reload, setup, version"))
    })?;
    Ok(line.call)
}

#[derive(serde::Deserialize)]
struct Version {
    version: u32,
}

fn document(written: Result<Bytes, serde_json::Error>) -> Answered {
    let text = written.map_err(unwritten)?;
    serde_json::from_slice(&text).map_err(unwritten)
}

fn written(value: &impl Serialize) -> Answered {
    to_raw_value(value).map_err(unwritten)
}

fn unwritten(error: serde_json::Error) -> Failure {
    Failure::new(Kind::Unavailable, format!("the answer can't be written: {error}"))
}
