//! Lines of the control daemon and the server as they write them: stamp, role, pid, text. One write a
//! line, so that two processes can share an append-only file. The stamps are UTC.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::sync::OnceLock;

use super::dialect;

/// Names the directory of the logs of a daemon in the background, for it and for its servers.
pub(super) const LOGS_VARIABLE: &str = "MPSWARDEN_SIM_LOGS";

/// The process that writes.
#[derive(Clone, Copy, Debug)]
pub enum Role {
    /// The control daemon.
    Control,
    /// A server that is starting.
    Other,
    /// A server.
    Server,
}

/// Writes one line, in the words of the driver that is played; one that is not read is lost, and the daemon lives on.
pub(super) fn write(role: Role, pid: u32, text: &str) {
    let stamp =
        jiff::Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S%.3f").to_string();
    let Some((name, text)) = dialect::spoken(role, text) else { return };
    let line = format!("[{stamp} {name} {pid:>5}] {text}\n");
    let _ = match in_the_background(role) {
        Some(mut log) => log.write_all(line.as_bytes()),
        None => std::io::stdout().write_all(line.as_bytes()),
    };
}

/// The log of a daemon in the background, open for as long as its writer lives, as NVIDIA's: one that is renamed gets
/// what is written on, and one that is removed is lost.
fn in_the_background(role: Role) -> Option<&'static File> {
    static LOGS: [OnceLock<Option<File>>; 2] = [OnceLock::new(), OnceLock::new()];
    let (log, name) = match role {
        Role::Control => (&LOGS[0], "control.log"),
        Role::Other | Role::Server => (&LOGS[1], "server.log"),
    };
    let open = || {
        let directory = PathBuf::from(std::env::var_os(LOGS_VARIABLE)?);
        fs::create_dir_all(&directory).ok()?;
        File::options().create(true).append(true).open(directory.join(name)).ok()
    };
    log.get_or_init(open).as_ref()
}
