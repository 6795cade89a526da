//! Programs that some tests need beside a Rust toolchain. Without one its tests are skipped, loudly; where
//! `MPSWARDEN_REQUIRE_ALL=1` is set, they fail instead.

use std::env;
use std::path::PathBuf;

/// Where a program is; `None`, after a line on stderr, where it is missing.
pub fn program(name: &str, package: &str) -> Option<PathBuf> {
    let folders = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file());
    if found.is_none() {
        let missing = format!("SKIPPED: `{name}` is not installed; on Debian: apt-get install {package}");
        assert!(env::var_os("MPSWARDEN_REQUIRE_ALL").is_none_or(|wanted| wanted != "1"), "{missing}");
        eprintln!("{missing}");
    }
    found
}
