//! Compiles the kernel probe, a library that engines load and that the binary embeds. Notes the compiler and the
//! revision for `mpswarden_build_info`.

use std::env;
use std::process::Command;

#[path = "src/probe/embed.rs"]
mod embed;

/// The probe lives in other people's processes: a panic must not end them, and its code stays once it is loaded.
const PROBE: embed::EmbeddedLibrary = embed::EmbeddedLibrary {
    file: "libmpswarden_probe.so",
    root: "src/probe/lib/lib.rs",
    options: &["-Cpanic=unwind", "-Copt-level=s", "-Clink-arg=-Wl,-z,nodelete"],
};

fn main() {
    for watched in ["src/probe", "build.rs"] {
        println!("cargo::rerun-if-changed={watched}");
    }
    println!("cargo::rerun-if-env-changed=MPSWARDEN_REVISION");
    println!("cargo::rustc-env=MPSWARDEN_REVISION={}", env::var("MPSWARDEN_REVISION").unwrap_or_default());
    println!("cargo::rustc-env=MPSWARDEN_RUSTC={}", compiler().unwrap_or_default());
    embed::embed(&PROBE);
}

/// The compiler's version, `1.95.0`.
fn compiler() -> Option<String> {
    let said = Command::new(env::var("RUSTC").ok()?).arg("--version").output().ok()?;
    String::from_utf8(said.stdout).ok()?.split_whitespace().nth(1).map(str::to_owned)
}
