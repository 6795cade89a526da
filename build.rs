//! Compiles the stand-in NVML library, so that the binary can embed it: `cargo run` builds no second one.
//! Notes the compiler and the revision for `mpswarden_build_info`.

use std::env;
use std::path::Path;
use std::process::{Command, exit};

const SOURCE: &str = "src/sim/nvml/lib.rs";

fn main() {
    println!("cargo::rerun-if-changed=src/sim/nvml");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=MPSWARDEN_REVISION");
    println!("cargo::rustc-env=MPSWARDEN_REVISION={}", env::var("MPSWARDEN_REVISION").unwrap_or_default());
    println!("cargo::rustc-env=MPSWARDEN_RUSTC={}", compiler().unwrap_or_default());
    if let Err(problem) = compile() {
        println!("cargo::error=the stand-in NVML library ({SOURCE}): {problem}");
        exit(1);
    }
}

fn compile() -> Result<(), String> {
    let variable = |name| env::var(name).map_err(|error| format!("{name}: {error}"));
    let target = Path::new(&variable("OUT_DIR")?).join("libnvidia-ml.so");
    let mut rustc = Command::new(variable("RUSTC")?);
    rustc.args(["--crate-type=cdylib", "--crate-name=nvidia_ml", "--edition=2024", "-O", "-Cstrip=symbols"]);
    rustc.arg("-Cpanic=abort").arg("--target").arg(variable("TARGET")?).arg(SOURCE).arg("-o").arg(&target);
    let status = rustc.status().map_err(|error| format!("rustc does not start: {error}"))?;
    status.success().then_some(()).ok_or_else(|| format!("rustc ended with {status}"))
}

/// The compiler's version, `1.95.0`.
fn compiler() -> Option<String> {
    let said = Command::new(env::var("RUSTC").ok()?).arg("--version").output().ok()?;
    String::from_utf8(said.stdout).ok()?.split_whitespace().nth(1).map(str::to_owned)
}
