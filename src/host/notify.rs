//! Tells systemd how the watchdog is (sd_notify(3)). Without systemd every call does nothing.

use std::io;
use std::net::TcpListener;
use std::os::fd::FromRawFd;
use std::time::Duration;

use sd_notify::NotifyState;

/// Start-up is finished: every group is supervised.
pub fn ready() {
    send(&[NotifyState::Ready]);
}

/// The stop has begun; systemd waits for its end.
pub fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// The core loop turns. Due every half of `watchdog_interval`.
pub fn alive() {
    send(&[NotifyState::Watchdog]);
}

/// One line for `systemctl status`.
pub fn status(line: &str) {
    send(&[NotifyState::Status(line)]);
}

/// WatchdogSec of the unit, if systemd watches this process.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// TCP sockets that a socket unit bound for us (sd_listen_fds(3)): they stay while we restart. To be asked once.
pub fn passed_sockets() -> io::Result<Vec<TcpListener>> {
    let sockets = sd_notify::listen_fds()?;
    let usable = |fd| {
        // SAFETY: systemd opened it for this very process (LISTEN_PID), and nothing else asks.
        let socket = unsafe { TcpListener::from_raw_fd(fd) };
        let address = socket.local_addr();
        address
            .inspect_err(|_| tracing::warn!("socket {fd} of systemd is no TCP socket: HTTP is not served on it"))
            .ok()?;
        Some(socket)
    };
    Ok(sockets.filter_map(usable).collect())
}

/// A lost notification must not stop the watchdog: systemd's own timeout is the bound.
fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "cannot notify systemd");
    }
}
