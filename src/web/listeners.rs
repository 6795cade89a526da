//! The addresses that HTTP is served on. They are bound before anything is done that can't be undone; where another
//! program has one, the others are served, and it is tried again.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};

use super::port_holder::holder;

/// Upper bound for a client that takes nothing of its answer (TCP_USER_TIMEOUT, milliseconds).
const WRITE_TIMEOUT_MS: u32 = 10_000;
/// Pause from the first failure to the next try, doubled up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Sockets that listen, and addresses that can't be had now.
#[derive(Debug, Default)]
pub struct Listeners {
    pub(super) bound: Vec<TcpListener>,
    waiting: Vec<Waiting>,
}

/// An address that can't be had now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Address that could not be had.
    pub address: SocketAddr,
    /// Who has it, or what else forbids it, and the cure.
    pub why: String,
}

impl Listeners {
    /// Binds each address that can be had.
    pub fn bind(addresses: &[SocketAddr]) -> Listeners {
        let mut listeners = Listeners::default();
        addresses.iter().for_each(|address| listeners.add(*address));
        listeners
    }

    /// Sockets that a supervisor bound and keeps over our restarts: no other program can take them in between.
    pub fn passed(sockets: Vec<TcpListener>) -> Listeners {
        let ready = |socket: TcpListener| prepared(socket).inspect_err(|error| tracing::warn!("HTTP: {error}")).ok();
        Listeners { bound: sockets.into_iter().filter_map(ready).collect(), waiting: Vec::new() }
    }

    /// Tries those that could not be had once more: one of our own leftovers may have had one.
    pub fn try_again(&mut self) {
        for Waiting { address, .. } in std::mem::take(&mut self.waiting) {
            self.add(address);
        }
    }

    /// What could not be had so far.
    pub fn waiting(&self) -> &[Waiting] {
        &self.waiting
    }

    fn add(&mut self, address: SocketAddr) {
        match bind(address) {
            Ok(listener) => self.bound.push(listener),
            Err(error) => self.waiting.push(Waiting { address, why: explained(address, &error).to_string() }),
        }
    }
}

/// Every address, or why one can't be had.
pub fn bind_all(addresses: &[SocketAddr]) -> io::Result<Listeners> {
    let bound = addresses.iter().map(|address| bind(*address).map_err(|error| explained(*address, &error)));
    Ok(Listeners { bound: bound.collect::<io::Result<_>>()?, waiting: Vec::new() })
}

/// Tries until it has the address.
pub(super) async fn wait_for(address: SocketAddr) -> TcpListener {
    let mut pause = FIRST_PAUSE;
    loop {
        tokio::time::sleep(pause).await;
        match bind(address) {
            Ok(listener) => return listener,
            Err(error) => tracing::debug!("can't listen on {address} yet: {error}"),
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    prepared(TcpListener::bind(address)?)
}

fn prepared(listener: TcpListener) -> io::Result<TcpListener> {
    // Accepted connections inherit it.
    setsockopt(&listener, sockopt::TcpUserTimeout, &WRITE_TIMEOUT_MS)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "io::ErrorKind is foreign and grows")]
fn explained(address: SocketAddr, error: &io::Error) -> io::Error {
    let cure = match error.kind() {
        io::ErrorKind::AddrInUse => {
            let who = holder(address).unwrap_or_else(|| "a process that can't be seen from here".to_owned());
            format!("it is in use by {who}: stop that, or choose another with --web.listen-address")
        }
        io::ErrorKind::PermissionDenied => "ports below 1024 need CAP_NET_BIND_SERVICE: choose a higher one".to_owned(),
        io::ErrorKind::AddrNotAvailable => "no interface here has that address: see `ip address`".to_owned(),
        _ => error.to_string(),
    };
    io::Error::new(error.kind(), format!("can't listen on {address}: {cure}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_address_is_waited_for_and_the_others_are_had() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let mut listeners = Listeners::bind(&[address, "127.0.0.1:0".parse().unwrap()]);
        assert_eq!(listeners.bound.len(), 1);
        let why = &listeners.waiting()[0].why;
        assert!(why.contains(&format!("can't listen on {address}: it is in use by")), "{why}");
        drop(taken);
        listeners.try_again();
        assert_eq!((listeners.bound.len(), listeners.waiting()), (2, &[][..]));
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_is_had_once_it_is_free() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let mut taken = Some(taken);
        let waiting = wait_for(address);
        tokio::pin!(waiting);
        // Some tries fail; the clock is the test's.
        let early = tokio::time::timeout(Duration::from_secs(60), &mut waiting).await;
        assert!(early.is_err());
        taken.take();
        assert_eq!(waiting.await.local_addr().unwrap(), address);
    }
}
