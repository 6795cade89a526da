//! Compiles the stand-in NVML library, so that the binary can embed it: `cargo run` builds no second one.

use std::env;
use std::path::Path;
use std::process::{Command, exit};

const SOURCE: &str = "src/sim/nvml/lib.rs";

fn main() {
    println!("cargo::rerun-if-changed=src/sim/nvml");
    println!("cargo::rerun-if-changed=build.rs");
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
