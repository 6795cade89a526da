//! Real sockets, recorded bytes and any bytes.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::unistd::geteuid;
use proptest::prelude::*;

use super::super::network::Network;
use super::*;
use crate::host::procfs::Procfs;
use crate::model::ProcessId;

/// Linux 6.18: a listener of both families, a client that has sent 18 bytes and waits, one that was answered.
const RECORDED: &[u8] = include_bytes!("../../../tests/fixtures/sock_diag/linux-6.18.bin");
const SEQUENCE: u32 = 7;

fn parts(bytes: &[u8], sequence: u32) -> Result<Vec<NetlinkPart>, String> {
    let parts = wire::messages(bytes, sequence).map(|message| message?.part());
    Ok(parts.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

fn sockets(parts: &[NetlinkPart]) -> Vec<Socket> {
    parts.iter().filter_map(|part| if let NetlinkPart::Socket(socket) = part { Some(*socket) } else { None }).collect()
}

/// A connection to a new listener on `address`: the client's end, then the listener's.
fn connection(address: &str) -> (TcpListener, TcpStream, TcpStream) {
    let listener = TcpListener::bind(address).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    (listener, client, accepted)
}

/// A program in a network namespace of its own, known by its line once it is there. `None`: not allowed here.
fn in_a_network_of_its_own() -> Option<(Child, ProcessId)> {
    if !geteuid().is_root() {
        return None;
    }
    let script = "ip link set lo up 2>/dev/null; echo there; exec sleep 60";
    let mut command = Command::new("unshare");
    let mut child = command.args(["--net", "sh", "-c", script]).stdout(Stdio::piped()).spawn().ok()?;
    let mut line = [0; 6];
    match child.stdout.take().unwrap().read_exact(&mut line) {
        Ok(()) => Some((process(child.id()).map(|id| (child, id))).unwrap()),
        Err(_) => child.wait().ok().and(None),
    }
}

fn process(pid: u32) -> Option<ProcessId> {
    Procfs::new(Path::new("/proc")).stat(pid).unwrap().map(|stat| stat.id)
}

#[test]
fn recorded_sockets_are_read() {
    let parts = parts(RECORDED, SEQUENCE).unwrap();
    assert_eq!(parts.last(), Some(&NetlinkPart::End));
    let [listener, waits, answered] = sockets(&parts)[..] else { panic!("{parts:?}") };
    assert!(listener.listens && !waits.listens && !answered.listens);
    assert_eq!((listener.local.to_string(), listener.unacknowledged), ("[::]:43543".to_owned(), 0));
    assert_eq!((waits.local.to_string(), waits.remote.port()), ("127.0.0.1:43543".to_owned(), 56178));
    assert_eq!((waits.received, waits.acknowledged, waits.cookie), (18, 0, 5));
    assert_eq!((answered.received, answered.acknowledged, answered.remote.is_ipv6()), (10, 120, true));
    assert_eq!(answered.since_sent, Duration::from_millis(1300));
}

#[test]
fn what_answers_another_request_is_left_out() {
    assert_eq!(parts(RECORDED, SEQUENCE + 1), Ok(Vec::new()));
}

#[test]
fn an_answer_that_is_cut_off_is_refused_and_not_read_as_less() {
    for length in 1..RECORDED.len() - 20 {
        let cut = parts(&RECORDED[..length], SEQUENCE);
        assert!(cut.is_err() || !cut.unwrap().contains(&NetlinkPart::End), "{length}");
    }
}

#[test]
fn an_interrupted_answer_and_a_refusal_are_seen() {
    let message = |kind: u16, flags: u16, number: i32| {
        let header = [20u32.to_ne_bytes().as_slice(), &kind.to_ne_bytes(), &flags.to_ne_bytes()].concat();
        [header.as_slice(), &SEQUENCE.to_ne_bytes(), &[0; 4], &number.to_ne_bytes()].concat()
    };
    let changed = |bytes: &[u8]| wire::messages(bytes, SEQUENCE).all(|message| message.unwrap().changed());
    assert!(changed(&message(3, 0x12, 0)) && !changed(&message(3, 2, 0)));
    assert_eq!(parts(&message(3, 2, 0), SEQUENCE), Ok(vec![NetlinkPart::End]));
    assert_eq!(parts(&message(2, 0, -2), SEQUENCE), Ok(vec![NetlinkPart::Failed(2)]));
    assert_eq!(parts(&message(2, 0, i32::MIN), SEQUENCE), Ok(vec![NetlinkPart::Failed(i32::MAX)]));
    assert!(refused(Errno::ENOENT).contains("modprobe tcp_diag"));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..600), at in 0..RECORDED.len()) {
        let _ = parts(&bytes, SEQUENCE);
        let mut changed = RECORDED.to_vec();
        for (place, byte) in bytes.iter().take(4).enumerate() {
            let length = changed.len();
            changed[(at + place * 7) % length] = *byte;
        }
        let _ = parts(&changed, SEQUENCE);
    }
}

#[test]
fn the_kernel_tells_who_listens_who_waits_and_who_was_answered() {
    for address in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
        if TcpListener::bind(address).is_err() {
            eprintln!("SKIPPED: no address {address} on this machine");
            continue;
        }
        let (listener, mut client, mut accepted) = connection(address);
        let local = listener.local_addr().unwrap();
        let other = TcpStream::connect(local).unwrap();
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        accepted.read_exact(&mut [0; 18]).unwrap();
        accepted.write_all(b"answer").unwrap();
        client.read_exact(&mut [0; 6]).unwrap();
        let found = Sockets::here().unwrap().at_ports(&[local.port()]).unwrap();
        let of =
            |end: &TcpStream| *found.iter().find(|one| one.remote.port() == end.local_addr().unwrap().port()).unwrap();
        assert_eq!(found.iter().filter(|one| one.listens).map(|one| one.local).collect::<Vec<_>>(), [local]);
        assert_eq!((found.len(), of(&client).received, of(&other).received), (3, 18, 0));
        assert_eq!(of(&client).acknowledged + u64::from(of(&client).unacknowledged), 6);
    }
}

#[test]
fn of_many_ports_the_sockets_of_each_are_told_and_of_no_other() {
    let ends: Vec<_> = (0..4).map(|_| connection("127.0.0.1:0")).collect();
    let port = |end: &(TcpListener, TcpStream, TcpStream)| end.0.local_addr().unwrap().port();
    let wanted = [port(&ends[0]), port(&ends[2]), port(&ends[3])];
    let found = Sockets::here().unwrap().at_ports(&wanted).unwrap();
    for wanted in wanted {
        let of_it: Vec<bool> = found.iter().filter(|one| one.local.port() == wanted).map(|one| one.listens).collect();
        assert_eq!(of_it, [true, false]);
    }
    assert_eq!(found.len(), 6);
}

#[test]
fn as_many_ports_as_one_request_names_and_more_are_read() {
    let (listener, _client, _accepted) = connection("127.0.0.1:0");
    let port = listener.local_addr().unwrap().port();
    let others = (1..=u16::MAX).filter(|other| *other != port);
    let mut sockets = Sockets::here().unwrap();
    for number in [wire::MOST_PORTS - 1, wire::MOST_PORTS] {
        let ports: Vec<u16> = others.clone().take(number).chain([port]).collect();
        let found = sockets.at_ports(&ports).unwrap();
        assert_eq!(found.iter().filter(|one| one.local.port() == port).count(), 2);
    }
    assert_eq!(sockets.at_ports(&[]), Ok(Vec::new()));
}

#[test]
fn the_connections_of_a_port_that_listens_no_more_are_told() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        if TcpListener::bind(address).is_err() {
            eprintln!("SKIPPED: no address {address} on this machine");
            continue;
        }
        let (listener, _client, accepted) = connection(address);
        drop(listener);
        let found = Sockets::here().unwrap().at_ports(&[accepted.local_addr().unwrap().port()]).unwrap();
        assert_eq!(
            found.iter().map(|one| one.remote.port()).collect::<Vec<_>>(),
            [accepted.peer_addr().unwrap().port()]
        );
    }
}

#[test]
fn an_ipv4_client_of_an_ipv6_socket_has_its_ipv4_address() {
    let Ok(listener) = TcpListener::bind("[::]:0") else { return eprintln!("SKIPPED: no IPv6 on this machine") };
    let port = listener.local_addr().unwrap().port();
    let Ok(_client) = TcpStream::connect(("127.0.0.1", port)) else {
        return eprintln!("SKIPPED: IPv6 sockets take no IPv4");
    };
    let found = Sockets::here().unwrap().at_ports(&[port]).unwrap();
    let locals: Vec<IpAddr> = found.iter().filter(|one| !one.listens).map(|one| one.local.ip()).collect();
    assert_eq!(locals, ["127.0.0.1".parse::<IpAddr>().unwrap()]);
}

#[test]
fn a_port_of_nobody_has_no_sockets_and_a_client_that_went_is_not_open() {
    let (listener, client, _accepted) = connection("127.0.0.1:0");
    let SocketAddr::V4(local) = listener.local_addr().unwrap() else { panic!() };
    drop(client);
    let mut sockets = Sockets::here().unwrap();
    assert!(sockets.at_ports(&[local.port()]).unwrap().iter().all(|one| one.listens));
    drop((listener, _accepted));
    assert_eq!(sockets.at_ports(&[local.port()]).unwrap(), []);
}

#[test]
fn sockets_of_another_network_are_seen_there_and_not_here() {
    let Some((mut child, id)) = in_a_network_of_its_own() else {
        return eprintln!("SKIPPED: no network namespace can be made here");
    };
    let (listener, _client, _accepted) = connection("127.0.0.1:0");
    let port = listener.local_addr().unwrap().port();
    let network = Network::of(id).unwrap().unwrap();
    assert_ne!(network.id, Network::own().unwrap());
    let mut there = network.sockets().unwrap();
    assert_eq!(there.at_ports(&[port]).unwrap(), []);
    // This thread stayed where it was.
    assert_eq!(Network::of(process(std::process::id()).unwrap()).unwrap().unwrap().id, Network::own().unwrap());
    assert_eq!(Sockets::here().unwrap().at_ports(&[port]).unwrap().len(), 2);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(Network::of(id).unwrap().is_none());
}

#[test]
fn a_reused_pid_has_no_network() {
    let us = process(std::process::id()).unwrap();
    assert!(Network::of(us).unwrap().is_some());
    assert!(Network::of(ProcessId { started_at: us.started_at + 1, ..us }).unwrap().is_none());
}
