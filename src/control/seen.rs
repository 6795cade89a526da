//! What the client of a watchdog of the same version reads back: its status and its incidents. No judgement.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::export::history::Since;
use crate::model::{HttpAddress, Incident, Moment, Status};

/// The document of a status.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Seen {
    /// Seconds since 1970 at which it was made.
    pub timestamp_seconds: f64,
    /// Where HTTP is served; of an older watchdog nothing is known.
    #[serde(default)]
    pub http: Vec<HttpAddress>,
    /// Times since which things are as they are.
    #[serde(default)]
    pub since: Since,
    /// The status in the answer.
    #[serde(flatten)]
    pub status: Status,
}

/// The document of incidents.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Incidents {
    /// Newest first.
    #[serde(with = "shared")]
    pub incidents: Vec<Arc<Incident>>,
}

impl Seen {
    /// How long ago `moment` was when the status was made.
    pub fn age(&self, moment: Moment) -> Duration {
        self.status.at.since(moment)
    }
}

/// serde's own support of `Arc` is a feature for all crates; this needs it in one place.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serializer};

    use crate::model::Incident;

    pub(super) fn serialize<S: Serializer>(incidents: &[Arc<Incident>], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(incidents.iter().map(Arc::as_ref))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Arc<Incident>>, D::Error> {
        Ok(Vec::<Incident>::deserialize(from)?.into_iter().map(Arc::new).collect())
    }
}
