//! The control socket and the terminal: what people see, what a mad client can do, and that all that tells of
//! the watchdog's state agrees. The real binary over the simulated GPU, or over a socket that the test plays.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod agreement;
mod asking;
#[allow(dead_code)]
#[path = "../binary/http.rs"]
mod http;
mod made;
#[allow(dead_code)]
#[path = "../binary/metrics.rs"]
mod metrics;
mod player;
#[allow(dead_code)]
#[path = "../binary/processes.rs"]
mod processes;
#[allow(dead_code)]
#[path = "../binary/scene.rs"]
mod scene;
mod socket;
mod text;
mod waiting;
#[allow(dead_code)]
#[path = "../binary/watchdog.rs"]
mod watchdog;
