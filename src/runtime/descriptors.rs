//! What the limit of open files is good for. Looked at before the first engine starts, and logged where it is low: what
//! can't be opened later is what a recovery needs. Pure.

use crate::host::trees::MOST_HELD;
use crate::web::MAX_CONNECTIONS;

/// Descriptors for the watchdog's own use: logs, NVML, the kernel log, sockets, a command to each daemon.
const OWN: u64 = 64;
/// Connections of the control socket.
const ORDERS: u64 = 16;
/// Descriptors of each engine beside its processes: its output, its health, its metrics, its port, its probe.
const OF_ENGINE: u64 = 8;
/// Number of descriptors below which nothing works.
const LEAST: u64 = 64;
/// Prometheus and a person at least are let in.
const FEWEST_CONNECTIONS: u64 = 8;
/// Processes of an engine that are held at least.
const FEWEST_HELD: u64 = 4;

/// What is opened at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    /// HTTP connections at once.
    pub connections: usize,
    /// Processes of one engine that are held by a descriptor.
    pub held: usize,
}

/// How a limit is shared, and what to say where it is low.
pub(super) fn share(limit: u64, engines: usize) -> Result<(Share, Option<String>), String> {
    let engines = engines as u64;
    let needed = OWN + ORDERS + MAX_CONNECTIONS as u64 + engines * (OF_ENGINE + MOST_HELD as u64);
    let whole = Share { connections: MAX_CONNECTIONS, held: MOST_HELD };
    if limit >= needed {
        return Ok((whole, None));
    }
    let cure = format!("raise it to {needed} (systemd: LimitNOFILE={needed}, shell: ulimit -Hn)");
    if limit < LEAST {
        return Err(format!("the limit of open files is {limit}, and mpswarden itself needs {LEAST}: {cure}"));
    }
    let left = limit.saturating_sub(OWN + ORDERS + engines * OF_ENGINE);
    let connections = (left / 4).clamp(FEWEST_CONNECTIONS, MAX_CONNECTIONS as u64);
    let held = (left.saturating_sub(connections) / engines.max(1)).clamp(FEWEST_HELD, MOST_HELD as u64);
    let told = format!(
        "the limit of open files is {limit}, {needed} are needed for {MAX_CONNECTIONS} HTTP connections, {ORDERS} of the \
         control socket, {OWN} of mpswarden itself and {engines} engines: {connections} HTTP connections are taken at \
         once; {cure}"
    );
    Ok((Share { connections: connections as usize, held: held as usize }, Some(told)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_usual_limit_is_enough_and_nothing_is_said() {
        let whole = Share { connections: MAX_CONNECTIONS, held: MOST_HELD };
        assert_eq!(share(1024, 3).unwrap(), (whole, None));
        assert_eq!(share(u64::MAX, 1000).unwrap(), (whole, None));
    }

    #[test]
    fn a_low_limit_leaves_room_for_a_recovery_and_is_told_with_its_cure() {
        let (shared, told) = share(128, 2).unwrap();
        assert_eq!(shared, Share { connections: 8, held: 12 });
        let told = told.unwrap();
        assert!(
            told.contains("128") && told.contains("LimitNOFILE=") && told.contains("8 HTTP connections are"),
            "{told}"
        );
        let spent = |shared: Share| OWN + ORDERS + 2 * (OF_ENGINE + shared.held as u64) + shared.connections as u64;
        for limit in 128..400 {
            let (shared, _) = share(limit, 2).unwrap();
            assert!(spent(shared) <= limit, "{limit}: {shared:?}");
        }
    }

    #[test]
    fn a_limit_below_all_use_is_refused_with_words() {
        assert!(share(40, 1).unwrap_err().contains("the limit of open files is 40"));
        assert!(share(64, 50).is_ok());
    }
}
