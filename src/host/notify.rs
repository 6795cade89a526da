//! Tells systemd how the watchdog is (sd_notify(3)). Without systemd every call does nothing.

use std::time::Duration;

use sd_notify::NotifyState;

/// Start-up is finished: every group has been taken up.
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

/// A lost notification must not stop the watchdog: systemd's own timeout is the bound.
fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "cannot notify systemd");
    }
}
