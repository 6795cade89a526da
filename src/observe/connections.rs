//! Looks at the connections to engines' ports, each in the network of its engine, on a thread of its own: what the
//! kernel is asked for keeps nothing waiting.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use hyper::Uri;
use tokio::sync::oneshot;

use super::look::Answer;
use super::traffic::Reckoner;
use crate::host::clock;
use crate::host::sockets::{Network, Socket, Sockets};
use crate::model::{Member, ProcessId, Traffic};

/// Time in which orders are gathered, so that one reading serves all of them.
const GATHER: Duration = Duration::from_millis(1);
/// Orders that are gathered.
const MOST_TOGETHER: usize = 1024;
/// Processes of one engine that are asked for their network.
const MOST_PROCESSES: usize = 256;

/// Where an engine takes connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Door {
    /// Address of the host; `None`: a name, which may have many addresses.
    host: Option<IpAddr>,
    port: u16,
}

impl Door {
    /// The door of an engine's URL; or why its connections can't be seen.
    pub(super) fn of(url: &str) -> Result<Door, String> {
        if url.starts_with("unix:") {
            return Err("its address is a unix socket: the kernel counts no bytes there".to_owned());
        }
        let uri = url.parse::<Uri>().ok();
        let place = uri.and_then(|uri| Some((uri.host()?.trim_matches(['[', ']']).parse().ok(), uri.port_u16()?)));
        let (host, port) = place.ok_or_else(|| format!("its url {url} names no port: give it as http://host:port"))?;
        Ok(Door { host, port })
    }
}

/// One look.
struct WantedLook {
    engine: Member,
    door: Door,
    /// Its main one first.
    processes: Vec<ProcessId>,
    /// Local ports of the watchdog's own connections.
    own_ports: Vec<u16>,
    answer: oneshot::Sender<Result<Traffic, String>>,
}

enum Order {
    Look(WantedLook),
    Keep(BTreeSet<Member>),
}

impl Order {
    fn port(&self) -> Option<u16> {
        match self {
            Order::Look(wanted) => Some(wanted.door.port),
            Order::Keep(_) => None,
        }
    }
}

/// The way to the thread.
pub(super) struct Connections(Sender<Order>);

impl Connections {
    /// Fails only where no thread can be started. It ends once this is dropped.
    pub(super) fn start() -> io::Result<Connections> {
        let (sender, orders) = channel();
        thread::Builder::new().name("sockets".into()).spawn(move || serve(&orders))?;
        Ok(Connections(sender))
    }

    /// Forgets the engines that are not named.
    pub(super) fn keep(&self, engines: BTreeSet<Member>) {
        // A thread that has ended keeps nothing.
        let _ = self.0.send(Order::Keep(engines));
    }

    /// What the kernel says, or why it can't be seen: to be unable to look is an answer here, and no failure.
    pub(super) fn look(
        &self,
        engine: Member,
        door: Result<Door, String>,
        processes: Vec<ProcessId>,
        own_ports: Vec<u16>,
    ) -> Answer<Result<Traffic, String>> {
        let asked = door.map(|door| {
            let (answer, answered) = oneshot::channel();
            // A thread that has ended drops the answer.
            let _ = self.0.send(Order::Look(WantedLook { engine, door, processes, own_ports, answer }));
            answered
        });
        Box::pin(async move {
            let ended = |_| Err("the thread that looks at sockets has ended".to_owned());
            match asked {
                Ok(answered) => answered.await.unwrap_or_else(ended),
                Err(why) => Err(why),
            }
        })
    }
}

fn serve(orders: &Receiver<Order>) {
    let mut watched: BTreeMap<Member, Watched> = BTreeMap::new();
    let mut ours = Ours::default();
    while let Ok(first) = orders.recv() {
        let together = gather(first, orders);
        ours.begin(together.iter().filter_map(Order::port).collect());
        for order in together {
            match order {
                Order::Keep(engines) => watched.retain(|engine, _| engines.contains(engine)),
                // Whoever gave up asking needs none.
                Order::Look(wanted) if wanted.answer.is_closed() => {}
                Order::Look(WantedLook { engine, door, processes, own_ports, answer }) => {
                    let watched = watched.entry(engine).or_default();
                    let _ = answer.send(watched.look(&mut ours, door, &processes, &own_ports));
                }
            }
        }
    }
}

/// An order, with those that come with it. The core asks for all engines of a host at once.
fn gather(first: Order, orders: &Receiver<Order>) -> Vec<Order> {
    let until = Instant::now() + GATHER;
    let next = || orders.recv_timeout(until.saturating_duration_since(Instant::now())).ok();
    std::iter::once(first).chain(std::iter::from_fn(next).take(MOST_TOGETHER)).collect()
}

/// What is kept of one engine.
#[derive(Default)]
struct Watched {
    /// Main process of the incarnation.
    main: Option<ProcessId>,
    /// Where its port listened at the last look.
    place: Option<Place>,
    reckoner: Reckoner,
}

impl Watched {
    fn look(
        &mut self,
        ours: &mut Ours,
        door: Door,
        processes: &[ProcessId],
        own_ports: &[u16],
    ) -> Result<Traffic, String> {
        let main = *processes.first().ok_or("it has no process")?;
        if self.main != Some(main) {
            (self.main, self.place) = (Some(main), None);
            self.reckoner.begin();
        }
        let (place, sockets) = match self.again(ours, door.port) {
            Some(found) => found,
            None => find(ours, door.port, processes)?,
        };
        // In a network of its own it has the port to itself, and we may know it by another address.
        let host = door.host.filter(|_| matches!(place, Place::Ours));
        self.place = Some(place).filter(|_| listens(&sockets));
        Ok(self.reckoner.reckon(&sockets, host, own_ports, clock::now()))
    }

    /// Where it listened at the last look, if it still does.
    fn again(&mut self, ours: &mut Ours, port: u16) -> Option<(Place, Vec<Socket>)> {
        let mut place = self.place.take()?;
        let sockets = place.at_port(ours, port).ok().filter(|sockets| listens(sockets))?;
        Some((place, sockets))
    }
}

/// A network in which an engine may take connections.
enum Place {
    Ours,
    Theirs(Sockets),
}

impl Place {
    fn at_port(&mut self, ours: &mut Ours, port: u16) -> Result<Vec<Socket>, String> {
        match self {
            Place::Ours => ours.at_port(port),
            Place::Theirs(sockets) => sockets.at_ports(&[port]),
        }
    }
}

/// The sockets of our own network, opened once for all engines, and read once for all that are looked at together:
/// the kernel goes through all connections of the host for each reading.
#[derive(Default)]
struct Ours {
    open: Option<Sockets>,
    ports: BTreeSet<u16>,
    /// What was read of these ports since these looks were asked for, or why it could not be.
    read: Option<Result<Vec<Socket>, String>>,
}

impl Ours {
    /// These ports are looked at together from now on.
    fn begin(&mut self, ports: BTreeSet<u16>) {
        (self.ports, self.read) = (ports, None);
    }

    fn at_port(&mut self, port: u16) -> Result<Vec<Socket>, String> {
        if self.ports.insert(port) {
            self.read = None;
        }
        let read = match self.read.take() {
            Some(read) => read,
            None => self.all(),
        };
        let of_it = |sockets: &[Socket]| sockets.iter().filter(|one| one.local.port() == port).copied().collect();
        self.read.insert(read).as_deref().map(of_it).map_err(String::clone)
    }

    fn all(&mut self) -> Result<Vec<Socket>, String> {
        let mut sockets = match self.open.take() {
            Some(sockets) => sockets,
            None => Sockets::here().map_err(|error| {
                format!(
                    "the kernel does not tell its sockets ({error}): it needs CONFIG_INET_DIAG, and AF_NETLINK allowed"
                )
            })?,
        };
        let ports: Vec<u16> = self.ports.iter().copied().collect();
        let found = sockets.at_ports(&ports)?;
        self.open = Some(sockets);
        Ok(found)
    }
}

/// Where the port listens, in whichever network of the processes. Ours comes last: there it may be anybody's.
fn find(ours: &mut Ours, port: u16, processes: &[ProcessId]) -> Result<(Place, Vec<Socket>), String> {
    let networks = networks(processes)?;
    let own = Network::own()?;
    let (near, far): (Vec<Network>, Vec<Network>) = networks.into_iter().partition(|network| network.id == own);
    let mut quiet = Err("it has no process".to_owned());
    for network in far.into_iter().map(Some).chain(near.first().map(|_| None)) {
        let place = network.map_or(Ok(Place::Ours), |network| network.sockets().map(Place::Theirs));
        match place.and_then(|mut place| Ok((place.at_port(ours, port)?, place))) {
            Ok((sockets, place)) if listens(&sockets) => return Ok((place, sockets)),
            Ok((sockets, place)) if quiet.is_err() => quiet = Ok((place, sockets)),
            Ok(_) => {}
            // It may listen there.
            Err(why) => return Err(why),
        }
    }
    quiet
}

/// Each network that one of the processes is in.
fn networks(processes: &[ProcessId]) -> Result<Vec<Network>, String> {
    let mut networks: Vec<Network> = Vec::new();
    for process in processes.iter().take(MOST_PROCESSES) {
        let network = Network::of(*process)?;
        networks.extend(network.filter(|network| networks.iter().all(|known| known.id != network.id)));
    }
    Ok(networks)
}

fn listens(sockets: &[Socket]) -> bool {
    sockets.iter().any(|socket| socket.listens)
}

#[cfg(test)]
#[path = "connections_tests.rs"]
mod tests;
