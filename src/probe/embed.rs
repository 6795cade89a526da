//! Compiles a library of std alone that a crate embeds, for build scripts, so that `cargo run` builds all.

use std::env;
use std::path::Path;
use std::process::{Command, exit};

/// A library of std alone: the name of its file, its root, and further arguments of its compiler.
pub(crate) struct EmbeddedLibrary {
    pub file: &'static str,
    pub root: &'static str,
    pub options: &'static [&'static str],
}

/// Compiles it into `OUT_DIR`, or ends the build with a message that names it.
pub(crate) fn embed(library: &EmbeddedLibrary) {
    if let Err(problem) = compile(library) {
        println!("cargo::error=the library {} ({}): {problem}", library.file, library.root);
        exit(1);
    }
}

fn compile(library: &EmbeddedLibrary) -> Result<(), String> {
    let variable = |name| env::var(name).map_err(|error| format!("{name}: {error}"));
    let target = Path::new(&variable("OUT_DIR")?).join(library.file);
    let mut rustc = Command::new(variable("RUSTC")?);
    rustc.args(["--crate-type=cdylib", "--crate-name=embedded", "--edition=2024", "-O", "-Cstrip=symbols"]);
    rustc.args(library.options).arg("--target").arg(variable("TARGET")?).arg(library.root).arg("-o").arg(&target);
    let status = rustc.status().map_err(|error| format!("rustc does not start: {error}"))?;
    status.success().then_some(()).ok_or_else(|| format!("rustc ended with {status}"))
}
