//! What a test needs beside a Rust toolchain: without it the test is skipped and says so, or
//! fails where MPSWARDEN_REQUIRE_ALL=1 is set.

use std::io::Write;
use std::path::PathBuf;

/// The program on PATH. `None`: it is missing, and stderr names `package`, which brings it.
pub fn program(name: &str, package: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    if found.is_none() {
        skipped(&format!("`{name}` is missing: apt-get install {package}"));
    }
    found
}

/// Says on stderr that a test is skipped, and what is missing for it.
pub fn skipped(missing: &str) {
    let required = std::env::var_os("MPSWARDEN_REQUIRE_ALL").is_some_and(|value| value == "1");
    assert!(!required, "{missing}");
    // Not eprintln!, which the harness swallows for tests that pass.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {missing}");
}
