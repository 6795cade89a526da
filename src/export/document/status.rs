//! The whole status for programs, and the sources that it rests on.

use schemars::JsonSchema;
use serde::Serialize;

use super::group::GroupDocument;
use super::machine::{GpuDocument, SourceDocument};
use super::times::{Wall, rfc3339};
use crate::export::BuildInfo;
use crate::model::{HttpAddress, Status};

/// What a watchdog knows: the document of `/api/v1/status`.
///
/// Every time stands twice: in RFC 3339, and under the same name with `_timestamp_seconds` as seconds since 1970. Spans
/// are seconds, sizes bytes, shares ratios from 0 to 1; each name says so. What is unknown, or is not there, is null.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(title = "mpswarden: /api/v1/status")]
pub struct StatusDocument {
    /// When this status was made.
    #[schemars(extend("format" = "date-time"))]
    time: String,
    /// When this status was made, in seconds since 1970.
    timestamp_seconds: f64,
    /// When the machine booted.
    #[schemars(extend("format" = "date-time"))]
    boot_time: String,
    /// When the machine booted, in seconds since 1970.
    boot_timestamp_seconds: f64,
    /// The program that is running.
    build: BuildDocument,
    /// Addresses that HTTP is served on, or is to be.
    http: Vec<HttpDocument>,
    /// Whether every source has reported once; nothing is done before.
    ready: bool,
    /// Whether a GPU of it is simulated, as those of `mpswarden demo` are: then nothing in it is about real hardware.
    simulated: bool,
    /// Whether every group is stopped and nothing of mpswarden's uses the driver: no GPU is read.
    driver_let_go: bool,
    /// The groups, in the order of the configuration.
    groups: Vec<GroupDocument>,
    /// The GPUs, by index.
    gpus: Vec<GpuDocument>,
    /// Every source that is read.
    sources: Vec<SourceDocument>,
}

/// The program that is running.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Build")]
struct BuildDocument {
    /// The version of the program.
    version: String,
    /// The commit that it was built from.
    revision: String,
    /// The compiler that built it.
    rustc: String,
}

/// An address that HTTP is served on, or is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "HttpAddress")]
struct HttpDocument {
    /// The IP address and the port.
    address: String,
    /// Why it is not served now; it is tried again. Null: it is served.
    down: Option<String>,
}

/// What a status does not say of the program that made it.
pub(crate) struct Running {
    /// Where the boot lies on the wall clock.
    pub wall: Wall,
    /// The program that is running.
    pub build: BuildInfo,
    /// Addresses that HTTP is served on, or is to be.
    pub http: Vec<HttpAddress>,
}

impl StatusDocument {
    /// The document of a status.
    pub(crate) fn of(status: &Status, running: Running) -> StatusDocument {
        let Running { wall, build, http } = running;
        let Status { at, ready, groups, gpus, sources, driver_let_go } = status;
        let (time, timestamp_seconds) = wall.both(*at);
        let BuildInfo { version, revision, rustc } = build;
        StatusDocument {
            time,
            timestamp_seconds,
            boot_time: rfc3339(wall.boot_seconds).unwrap_or_default(),
            boot_timestamp_seconds: wall.boot_seconds,
            build: BuildDocument {
                version: version.to_owned(),
                revision: revision.to_owned(),
                rustc: rustc.to_owned(),
            },
            http: http.into_iter().map(|HttpAddress { address, down }| HttpDocument { address, down }).collect(),
            ready: *ready,
            simulated: status.is_simulated(),
            driver_let_go: *driver_let_go,
            groups: groups.iter().map(|group| GroupDocument::of(group, wall)).collect(),
            gpus: gpus.iter().map(GpuDocument::of).collect(),
            sources: sources.iter().map(|source| SourceDocument::of(source, wall)).collect(),
        }
    }
}
