//! Real sockets, in this network and, where root may make one, in another.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::wildcard_enum_match_arm)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::*;
use crate::host::procfs::Procfs;

/// Listens at a free port, says which, and takes one connection that it asks from itself and does not answer.
const ENGINE: &str = "import socket, sys, time
listener = socket.socket(); listener.bind(('127.0.0.1', 0)); listener.listen()
client = socket.create_connection(listener.getsockname()); client.sendall(b'GET / HTTP/1.1')
print(listener.getsockname()[1], flush=True); time.sleep(60)";

fn id(pid: u32) -> ProcessId {
    Procfs::new(Path::new("/proc")).stat(pid).unwrap().unwrap().id
}

fn door(port: u16) -> Door {
    Door { host: Some("127.0.0.1".parse().unwrap()), port }
}

/// An engine in a network of its own, below a process in ours, and its port. `None`: not allowed here.
fn engine_elsewhere() -> Option<(Child, u16)> {
    let script = r#"unshare --net sh -c 'ip link set lo up && exec python3 -c "$ENGINE"'; true"#;
    let mut child =
        Command::new("sh").args(["-c", script]).env("ENGINE", ENGINE).stdout(Stdio::piped()).spawn().ok()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    match line.trim().parse() {
        Ok(port) => Some((child, port)),
        Err(_) => child.wait().ok().and(None),
    }
}

#[test]
fn a_door_is_an_address_or_a_name_with_a_port() {
    let door = |url: &str| Door::of(url).map(|door| (door.host.map(|host| host.to_string()), door.port));
    assert_eq!(door("http://127.0.0.1:8000"), Ok((Some("127.0.0.1".to_owned()), 8000)));
    assert_eq!(door("https://[::1]:8443"), Ok((Some("::1".to_owned()), 8443)));
    assert_eq!(door("http://localhost:8000"), Ok((None, 8000)));
    assert!(door("unix:/run/engine.sock").unwrap_err().contains("unix socket"));
    assert!(door("http://localhost").unwrap_err().contains("http://host:port"));
    assert!(door("").is_err());
}

#[test]
fn an_engine_is_looked_at_from_before_it_listens_to_after_its_next_start() {
    let (mut watched, mut ours, us) = (Watched::default(), Ours::default(), [id(std::process::id())]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut look = |processes: &[ProcessId], own: &[u16]| {
        ours.begin(BTreeSet::new());
        watched.look(&mut ours, door(address.port()), processes, own)
    };
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let waits = look(&us, &[]).unwrap();
    assert_eq!((waits.listening, waits.open, waits.unanswered, waits.answered), (true, 1, 1, 0));
    assert_eq!(look(&us, &[client.local_addr().unwrap().port()]).unwrap().open, 0);
    let (mut accepted, _) = listener.accept().unwrap();
    accepted.read_exact(&mut [0; 18]).unwrap();
    accepted.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
    assert_eq!(look(&us, &[]).unwrap().unanswered, 0);
    drop((listener, accepted));
    assert!(!look(&us, &[]).unwrap().listening);
    assert!(look(&[], &[]).unwrap_err().contains("no process"));
}

/// What one look tells; it never fails.
async fn told(url: &str, processes: Vec<ProcessId>) -> Result<Traffic, String> {
    let (connections, engine) = (Connections::start().unwrap(), Member::new(&"g".into(), &"e".into()));
    connections.look(engine, Door::of(url), processes, Vec::new()).await
}

#[tokio::test]
async fn connections_are_told_or_why_they_cannot_be_seen() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let seen = told(&url, vec![id(std::process::id())]).await.unwrap();
    assert_eq!((seen.listening, seen.open, seen.unanswered), (true, 1, 0));
    assert!(told(&url, Vec::new()).await.unwrap_err().contains("no process"));
    assert!(told("unix:/run/engine.sock", Vec::new()).await.unwrap_err().contains("unix socket"));
}

#[tokio::test]
async fn engines_that_are_looked_at_together_are_told_apart_each_anew() {
    let listeners: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let address = |place: usize| listeners[place].local_addr().unwrap();
    let connections = Connections::start().unwrap();
    let mut clients = vec![TcpStream::connect(address(0)).unwrap()];
    for wanted in [[1, 0, 0], [1, 0, 1], [1, 1, 1]] {
        let looks: Vec<_> = (0..3)
            .map(|place| {
                let engine = Member::new(&"g".into(), &format!("e{place}").into());
                let door = Door::of(&format!("http://{}", address(place)));
                connections.look(engine, door, vec![id(std::process::id())], Vec::new())
            })
            .collect();
        let mut open = Vec::new();
        for look in looks {
            open.push(look.await.unwrap().open);
        }
        assert_eq!(open, wanted);
        clients.push(TcpStream::connect(address(3 - clients.len())).unwrap());
    }
}

#[test]
fn an_engine_in_a_network_of_its_own_is_looked_at_there() {
    let Some((mut shell, port)) = engine_elsewhere() else {
        return eprintln!("SKIPPED: no network namespace can be made here");
    };
    let procfs = Procfs::new(Path::new("/proc"));
    let tree: Vec<ProcessId> = std::iter::once(id(shell.id()))
        .chain(procfs.children_of(shell.id()).unwrap().iter().map(|stat| stat.id))
        .collect();
    // Somebody else has the same port here.
    let _here = TcpListener::bind(("127.0.0.1", port));
    let (mut watched, mut ours) = (Watched::default(), Ours::default());
    let first = watched.look(&mut ours, door(port), &tree, &[]).unwrap();
    ours.begin(BTreeSet::new());
    let again = watched.look(&mut ours, door(port), &tree, &[]).unwrap();
    for child in &tree[1..] {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.pid as i32), nix::sys::signal::SIGKILL).unwrap();
    }
    shell.wait().unwrap();
    assert_eq!((first.listening, first.open, first.unanswered), (true, 1, 1));
    assert_eq!((again.listening, again.open), (true, 1));
    assert!(matches!(watched.place, Some(Place::Theirs(_))));
}
