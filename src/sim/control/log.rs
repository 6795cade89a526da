//! Lines of the control daemon and the server as they write them: stamp, role, pid, text. One write a
//! line, so that two processes can share an append-only file. The stamps are UTC.

use std::io::Write;

use super::dialect;

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
    let _ = std::io::stdout().write_all(line.as_bytes());
}
