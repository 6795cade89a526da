//! Compiles the libraries that the binary embeds, so that `cargo run` builds all: the kernel probe, which engines
//! load, and the stand-ins of NVML and CUPTI. Notes the compiler and the revision for `mpswarden_build_info`.

use std::env;
use std::path::Path;
use std::process::{Command, exit};

/// A library of std alone: the name of its file, its root, and what else its compiler is told.
struct Library {
    file: &'static str,
    root: &'static str,
    options: &'static [&'static str],
}

/// The probe lives in other people's processes: a panic must not end them, and its code stays once it is loaded.
const LIBRARIES: [Library; 3] = [
    Library { file: "libnvidia-ml.so", root: "src/sim/nvml/lib.rs", options: &["-Cpanic=abort"] },
    Library { file: "libcupti.so", root: "src/sim/cupti/lib.rs", options: &["-Cpanic=abort"] },
    Library {
        file: "libmpswarden_probe.so",
        root: "src/probe/lib/lib.rs",
        options: &["-Cpanic=unwind", "-Copt-level=s", "-Clink-arg=-Wl,-z,nodelete"],
    },
];

fn main() {
    for watched in ["src/sim/nvml", "src/sim/cupti", "src/probe", "build.rs"] {
        println!("cargo::rerun-if-changed={watched}");
    }
    println!("cargo::rerun-if-env-changed=MPSWARDEN_REVISION");
    println!("cargo::rustc-env=MPSWARDEN_REVISION={}", env::var("MPSWARDEN_REVISION").unwrap_or_default());
    println!("cargo::rustc-env=MPSWARDEN_RUSTC={}", compiler().unwrap_or_default());
    for library in LIBRARIES {
        if let Err(problem) = compile(&library) {
            println!("cargo::error=the library {} ({}): {problem}", library.file, library.root);
            exit(1);
        }
    }
}

fn compile(library: &Library) -> Result<(), String> {
    let variable = |name| env::var(name).map_err(|error| format!("{name}: {error}"));
    let target = Path::new(&variable("OUT_DIR")?).join(library.file);
    let mut rustc = Command::new(variable("RUSTC")?);
    rustc.args(["--crate-type=cdylib", "--crate-name=embedded", "--edition=2024", "-O", "-Cstrip=symbols"]);
    rustc.args(library.options).arg("--target").arg(variable("TARGET")?).arg(library.root).arg("-o").arg(&target);
    let status = rustc.status().map_err(|error| format!("rustc does not start: {error}"))?;
    status.success().then_some(()).ok_or_else(|| format!("rustc ended with {status}"))
}

/// The compiler's version, `1.95.0`.
fn compiler() -> Option<String> {
    let said = Command::new(env::var("RUSTC").ok()?).arg("--version").output().ok()?;
    String::from_utf8(said.stdout).ok()?.split_whitespace().nth(1).map(str::to_owned)
}
