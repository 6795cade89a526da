//! The core from outside, over a stand-in for everything around it (`core_world`). A crate of its own, so that a change
//! in the core is tested without building the rest.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![allow(unreachable_pub, clippy::wildcard_enum_match_arm, clippy::too_many_lines)]

mod calm;
mod figures;
mod isolation;
mod model_check;
mod properties;
mod raw_inputs;
mod scenarios;
mod sources;
mod spread;

use proptest::test_runner::{Config, FileFailurePersistence};

/// Settings for so many cases; those that failed once are kept in this file and tried again.
fn cases(cases: u32, kept: &'static str) -> Config {
    let persistence = FileFailurePersistence::Direct(kept);
    Config { cases, failure_persistence: Some(Box::new(persistence)), ..Config::default() }
}

/// The file of failed cases beside a test.
macro_rules! kept {
    ($name:literal) => {
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/core/", $name, ".proptest-regressions")
    };
}
use kept;
