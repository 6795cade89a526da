//! Programs that a test needs beyond a Rust toolchain: where they are, or why the test is skipped.

use std::path::PathBuf;

/// Where the program is. Where it is missing the test is skipped loudly; with MPSWARDEN_REQUIRE_ALL=1 it fails.
pub fn program(name: &str, package: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    if found.is_none() {
        let missing = format!("{name} is missing: apt-get install {package}");
        assert!(std::env::var_os("MPSWARDEN_REQUIRE_ALL").is_none_or(|all| all != "1"), "{missing}");
        eprintln!("SKIPPED: {missing}");
    }
    found
}
