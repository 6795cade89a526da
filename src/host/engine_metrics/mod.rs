//! What an engine says of itself over HTTP: its load, in the Prometheus text format, and one token where it may be
//! asked for. One file a dialect, with its names and its requests. Bounded, whatever comes; judges nothing.

mod dialect;
mod labels;
mod llama_cpp;
mod page;
mod sglang;
mod token;
mod transformers;
mod vllm;

use std::time::Duration;

use super::http::{GetError, Peer};
use crate::model::EngineLoad;

pub use page::{Full, Page};
pub use token::{ask_for_a_token, served_model};

/// Why an engine's load could not be read.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// No whole answer.
    #[error(transparent)]
    Get(#[from] GetError),
    /// Neither a page nor the word that there is none.
    #[error("its metrics answer with status {0}")]
    Status(u16),
}

/// Reads an engine's load from the page at `path`, all within `timeout`. An engine without such a page says so in
/// its load; of a page that is too long, what came first counts.
pub async fn read(peer: &mut Peer, path: &str, timeout: Duration) -> Result<EngineLoad, MetricsError> {
    let mut page = Page::default();
    let status = match peer.read(path, timeout, |piece| Ok(page.push(piece)?)).await {
        Ok(status) => status,
        Err(Stop::Full) => 200,
        Err(Stop::Failed(error)) => return Err(error.into()),
    };
    // A query may hold a secret.
    let named = path.split('?').next().unwrap_or(path);
    match status {
        200 => Ok(page.finish(named)),
        _ if says_none(status) => Ok(nothing(format!("its {named} answers {status}"))),
        _ => Err(MetricsError::Status(status)),
    }
}

/// Whether a status means that there are no metrics, now and later: not there, not for us, somewhere else, switched
/// off. Those that ask for another try are errors, and so is every failure of the server but 501.
fn says_none(status: u16) -> bool {
    matches!(status, 201..=499 | 501) && !matches!(status, 408 | 425 | 429)
}

/// The load of an engine that has no metrics.
fn nothing(why: String) -> EngineLoad {
    EngineLoad { no_metrics: Some(why), ..EngineLoad::default() }
}

/// Why reading ended early.
enum Stop {
    Full,
    Failed(GetError),
}

impl From<GetError> for Stop {
    fn from(error: GetError) -> Self {
        Stop::Failed(error)
    }
}

impl From<Full> for Stop {
    fn from(_: Full) -> Self {
        Stop::Full
    }
}

#[cfg(test)]
mod tests;
