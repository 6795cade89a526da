//! Which local port a connection of ours has: the kernel lists it among those to the server, and a count of clients
//! must leave it out.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use tokio::net::{TcpSocket, TcpStream, lookup_host};

/// The local port of one connection at a time. Clones show the same.
#[derive(Clone, Debug, Default)]
pub struct OurPort(Arc<AtomicU16>);

impl OurPort {
    /// The port; `None`: there is no connection.
    pub fn get(&self) -> Option<u16> {
        Some(self.0.load(Ordering::Relaxed)).filter(|port| *port != 0)
    }

    /// Connects to the first address that takes it; IPv6 may stand in brackets.
    pub(super) async fn connect(&self, host: &str, port: u16) -> io::Result<(TcpStream, Held)> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
        for address in lookup_host((host.trim_matches(['[', ']']), port)).await? {
            match self.connect_to(address).await {
                Ok(connected) => return Ok(connected),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn connect_to(&self, address: SocketAddr) -> io::Result<(TcpStream, Held)> {
        let (socket, anywhere) = match address {
            SocketAddr::V4(_) => (TcpSocket::new_v4()?, SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))),
            SocketAddr::V6(_) => (TcpSocket::new_v6()?, SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))),
        };
        // Bound first: so its port is known before the kernel lists the connection.
        socket.bind(anywhere)?;
        let held = self.hold(socket.local_addr()?.port());
        let stream = socket.connect(address).await?;
        // Without it a request may wait for an acknowledgement; where it can't be had, it may.
        let _ = stream.set_nodelay(true);
        Ok((stream, held))
    }

    fn hold(&self, port: u16) -> Held {
        self.0.store(port, Ordering::Relaxed);
        Held { ours: self.clone(), port }
    }
}

/// Lives as long as the connection.
#[derive(Debug)]
pub(super) struct Held {
    ours: OurPort,
    port: u16,
}

impl Drop for Held {
    fn drop(&mut self) {
        // Not that of a later connection.
        let _ = self.ours.0.compare_exchange(self.port, 0, Ordering::Relaxed, Ordering::Relaxed);
    }
}
