//! Compiles a library or a program of std alone that a crate embeds, for build scripts, so that `cargo run` builds all.

use std::env;
use std::path::Path;
use std::process::{Command, exit};

/// What is embedded: `cdylib` or `bin`, the name of its file, its root, and further arguments of its compiler.
pub(crate) struct Embedded {
    pub kind: &'static str,
    pub file: &'static str,
    pub root: &'static str,
    pub options: &'static [&'static str],
}

/// Compiles it into `OUT_DIR`, or ends the build with a message that names it.
pub(crate) fn embed(embedded: &Embedded) {
    if let Err(problem) = compile(embedded) {
        println!("cargo::error={} ({}): {problem}", embedded.file, embedded.root);
        exit(1);
    }
}

/// Compiles it into `OUT_DIR`; why not, for people.
pub(crate) fn compile(embedded: &Embedded) -> Result<(), String> {
    let variable = |name| env::var(name).map_err(|error| format!("{name}: {error}"));
    let target = Path::new(&variable("OUT_DIR")?).join(embedded.file);
    let mut rustc = Command::new(variable("RUSTC")?);
    rustc.args(["--crate-type", embedded.kind, "--crate-name=embedded", "--edition=2024", "-O", "-Cstrip=symbols"]);
    rustc.args(embedded.options).arg("--target").arg(variable("TARGET")?).arg(embedded.root).arg("-o").arg(&target);
    let status = rustc.status().map_err(|error| format!("rustc does not start: {error}"))?;
    status.success().then_some(()).ok_or_else(|| format!("rustc ended with {status}"))
}
