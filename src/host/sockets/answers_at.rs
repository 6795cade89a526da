//! Where a tree of processes takes connections at a port, as seen from here. A port proves nothing: what counts is that
//! one of the tree's own processes has the socket open that listens there.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::SockaddrStorage;

use super::{Network, Sockets};
use crate::host::open_sockets::descriptors;
use crate::model::ProcessId;

/// The address at which these processes, the main one first, can be reached at `port`; `None`: they don't listen there, or
/// only where nobody of another network gets to. The error: it can't be seen from here.
pub fn answers_at(processes: &[ProcessId], port: u16) -> Result<Option<SocketAddr>, String> {
    let Some(network) = processes.first().map(|main| Network::of(*main)).transpose()?.flatten() else {
        return Ok(None);
    };
    let is_ours = network.id == Network::own()?;
    let (mut sockets, addresses) = match is_ours {
        true => (Sockets::here().map_err(|error| format!("the kernel's list of sockets: {error}"))?, loopback()),
        false => network.within(|| Ok((Sockets::here()?, addresses()?)))?,
    };
    let listening = sockets.listening_at(port)?;
    if listening.is_empty() {
        return Ok(None);
    }
    let open: BTreeSet<u64> = processes.iter().flat_map(|process| descriptors(process.pid).flatten()).collect();
    let theirs = listening.iter().filter(|socket| open.contains(&u64::from(socket.inode)));
    let reached = theirs.filter_map(|socket| reached(socket.local.ip(), is_ours, &addresses));
    Ok(reached.min().map(|address| SocketAddr::new(address, port)))
}

/// The address that leads to a socket that listens at `local`.
fn reached(local: IpAddr, is_ours: bool, addresses: &[IpAddr]) -> Option<IpAddr> {
    if local.is_unspecified() {
        let same_family = addresses.iter().find(|address| address.is_ipv4() == local.is_ipv4());
        // One that takes IPv6 takes IPv4 too, unless somebody forbade it.
        return same_family.or_else(|| addresses.first().filter(|_| local.is_ipv6())).copied();
    }
    Some(local).filter(|local| is_ours || !local.is_loopback())
}

fn loopback() -> Vec<IpAddr> {
    vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
}

/// The addresses of this thread's network that others can reach.
fn addresses() -> io::Result<Vec<IpAddr>> {
    let up = getifaddrs()?.filter(|one| one.flags.contains(InterfaceFlags::IFF_UP));
    let ip = |address: SockaddrStorage| -> Option<IpAddr> {
        let v4 = address.as_sockaddr_in().map(|v4| v4.ip().into());
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| v6.ip().into()))
    };
    let reachable = |address: &IpAddr| match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    };
    Ok(up.filter_map(|one| ip(one.address?)).filter(reachable).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::net::TcpListener;
    use std::path::Path;

    use super::*;
    use crate::host::procfs::Procfs;

    fn this_process() -> ProcessId {
        Procfs::new(Path::new("/proc")).stat(std::process::id()).unwrap().unwrap().id
    }

    #[test]
    fn who_listens_at_a_port_is_reached_there_and_nobody_else_is() {
        for (bound, reached) in [("127.0.0.1:0", "127.0.0.1"), ("0.0.0.0:0", "127.0.0.1")] {
            let listener = TcpListener::bind(bound).unwrap();
            let port = listener.local_addr().unwrap().port();
            let expected = SocketAddr::new(reached.parse().unwrap(), port);
            assert_eq!(answers_at(&[this_process()], port).unwrap(), Some(expected), "{bound}");
            let mut other = std::process::Command::new("sleep").arg("60").spawn().unwrap();
            let id = Procfs::new(Path::new("/proc")).stat(other.id()).unwrap().unwrap().id;
            let of_another = answers_at(&[id], port);
            other.kill().unwrap();
            other.wait().unwrap();
            assert_eq!(of_another, Ok(None), "the port is another's");
            drop(listener);
            assert_eq!(answers_at(&[this_process()], port), Ok(None), "nobody listens any more");
        }
    }

    #[test]
    fn an_address_leads_to_a_socket_only_where_it_gets_there() {
        let pod: [IpAddr; 2] = ["10.42.0.7".parse().unwrap(), "fd00::7".parse().unwrap()];
        let at = |local: &str, is_ours| reached(local.parse().unwrap(), is_ours, &pod).map(|ip| ip.to_string());
        assert_eq!(at("0.0.0.0", false).as_deref(), Some("10.42.0.7"));
        assert_eq!(at("::", false).as_deref(), Some("fd00::7"));
        assert_eq!(at("10.42.0.7", false).as_deref(), Some("10.42.0.7"));
        assert_eq!(at("127.0.0.1", false), None, "of a network of its own");
        assert_eq!(at("127.0.0.1", true).as_deref(), Some("127.0.0.1"));
        let only_v4 = reached("::".parse().unwrap(), false, &pod[..1]).map(|ip| ip.to_string());
        assert_eq!(only_v4.as_deref(), Some("10.42.0.7"));
    }
}
