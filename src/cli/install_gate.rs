//! `mpswarden gate --install`: writes the gate's program of its own, whole or not at all.

use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;

use super::exit::ExitStatus;
use super::terminal::tell;
use crate::gate::{PROGRAM, program_is_static};

/// Said where this mpswarden was built without a static C library.
const NEEDS_A_C_LIBRARY: &str =
    "it needs the C library of the image that it is put in: this mpswarden was built without a static one";

/// Writes it in the place of what is there.
pub fn install_gate(file: &Path) -> ExitCode {
    if !program_is_static() {
        tell(&format!("mpswarden: {}: {NEEDS_A_C_LIBRARY}", file.display()));
    }
    match install(file) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&format!("mpswarden: {} can't be written: {error}", file.display()));
            ExitStatus::Unavailable.into()
        }
    }
}

fn install(file: &Path) -> io::Result<()> {
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut beside = tempfile::NamedTempFile::new_in(directory)?;
    beside.write_all(PROGRAM)?;
    beside.as_file().set_permissions(Permissions::from_mode(0o755))?;
    beside.persist(file)?;
    Ok(())
}
