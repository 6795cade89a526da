//! Compiles what the binary embeds: the kernel probe, a library that engines load, and the gate, a program that stands
//! before them. Notes the compiler and the revision for `mpswarden_build_info`.

use std::env;
use std::process::Command;

#[path = "src/probe/embed.rs"]
mod embed;

/// The probe lives in other people's processes: a panic must not end them, and its code stays once it is loaded.
const PROBE: embed::Embedded = embed::Embedded {
    kind: "cdylib",
    file: "libmpswarden_probe.so",
    root: "src/probe/lib/lib.rs",
    options: &["-Cpanic=unwind", "-Copt-level=s", "-Clink-arg=-Wl,-z,nodelete"],
};

/// The gate lives in other people's images: it needs nothing of them.
const GATE: embed::Embedded = embed::Embedded {
    kind: "bin",
    file: "mpswarden-gate",
    root: "src/gate/program.rs",
    options: &["-Cpanic=abort", "-Copt-level=s", "-Ctarget-feature=+crt-static"],
};

/// The gate where this machine has no static C library, as Fedora has none without its package glibc-static.
const GATE_WITH_A_SHARED_LIBRARY: embed::Embedded =
    embed::Embedded { options: &["-Cpanic=abort", "-Copt-level=s"], ..GATE };

fn main() {
    for watched in ["src/probe", "src/gate", "src/text/plain.rs", "build.rs"] {
        println!("cargo::rerun-if-changed={watched}");
    }
    println!("cargo::rerun-if-env-changed=MPSWARDEN_REVISION");
    println!("cargo::rustc-env=MPSWARDEN_REVISION={}", env::var("MPSWARDEN_REVISION").unwrap_or_default());
    println!("cargo::rustc-env=MPSWARDEN_RUSTC={}", compiler().unwrap_or_default());
    embed::embed(&PROBE);
    println!("cargo::rustc-env=MPSWARDEN_GATE_IS_STATIC={}", embed_gate());
}

/// Embeds the gate; whether as a static program.
fn embed_gate() -> bool {
    let Err(problem) = embed::compile(&GATE) else { return true };
    println!(
        "cargo::warning=no static mpswarden-gate ({problem}): without the static C library (Fedora: glibc-static) it \
         needs the C library of the image that it is put in"
    );
    embed::embed(&GATE_WITH_A_SHARED_LIBRARY);
    false
}

/// The compiler's version, `1.95.0`.
fn compiler() -> Option<String> {
    let said = Command::new(env::var("RUSTC").ok()?).arg("--version").output().ok()?;
    String::from_utf8(said.stdout).ok()?.split_whitespace().nth(1).map(str::to_owned)
}
