//! Engines that nobody configured: the trees of processes behind the clients of a control daemon that others run. Each is
//! called by its owner and a small number that is used again, so that names are stable over roll-outs. Starts, ends and
//! judges nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::host::owners::{Owners, ProcessOwner};
use crate::host::sockets::answers_at;
use crate::model::{DomainId, EngineName, Found, FoundEngine, Moment, ProcessId};

/// Time for which one whose process failed keeps its name and its place: whoever runs it may start it again.
const KEPT_FOR: Duration = Duration::from_secs(300);
/// Time without any client after which one that runs is no engine of this daemon any more.
const IDLE_FOR: Duration = Duration::from_secs(60);
/// Engines of one daemon that are told apart; further clients are unknown ones.
const MOST: usize = 256;

/// An engine that was found, and what is known of it here.
#[derive(Clone, Debug)]
struct Known {
    engine: FoundEngine,
    label: String,
    clients: BTreeSet<u32>,
    /// Time since which it has had no client.
    idle: Option<Moment>,
    /// Time since which its main process has been gone.
    gone: Option<Moment>,
}

/// All that were found, by the daemon whose clients they are.
#[derive(Debug, Default)]
pub struct FoundEngines {
    owners: Owners,
    /// The port where each answers, where one is known.
    port: Option<u16>,
    of: BTreeMap<DomainId, Vec<Known>>,
}

impl FoundEngines {
    /// None yet, to be looked up there.
    pub fn by(owners: Owners) -> Self {
        FoundEngines { owners, port: None, of: BTreeMap::new() }
    }

    /// Looks for the engines' addresses at this port from now on; what was found at another one is forgotten.
    pub fn answer_at(&mut self, port: Option<u16>) {
        if self.port != port {
            self.port = port;
            self.of.values_mut().flatten().for_each(|known| known.engine.url.clear());
        }
    }

    /// Where they are looked up.
    pub fn owners(&self) -> Owners {
        self.owners.clone()
    }

    /// The engines of one daemon.
    pub fn engines(&self, domain: &DomainId) -> impl Iterator<Item = &FoundEngine> {
        self.of.get(domain).into_iter().flatten().map(|known| &known.engine)
    }

    /// Forgets the daemons that are not named.
    pub fn keep(&mut self, domains: &BTreeSet<DomainId>) {
        self.of.retain(|domain, _| domains.contains(domain));
    }

    /// The whole list of a daemon's clients. Whether its engines changed by it.
    pub fn clients(&mut self, domain: &DomainId, pids: &[u32], now: Moment) -> bool {
        for engine in self.of.entry(domain.clone()).or_default() {
            engine.clients.retain(|pid| pids.contains(pid));
        }
        let mut changed = false;
        for pid in pids {
            changed |= self.client(domain, *pid);
        }
        for engine in self.of.entry(domain.clone()).or_default() {
            engine.idle = engine.clients.is_empty().then(|| engine.idle.unwrap_or(now));
        }
        changed | self.find_addresses(domain)
    }

    /// Looks where the engines answer of which that is not known: they may have begun to. Whether there is one.
    fn find_addresses(&mut self, domain: &DomainId) -> bool {
        let (Some(port), Some(engines)) = (self.port, self.of.get_mut(domain)) else { return false };
        let mut changed = false;
        for known in engines.iter_mut().filter(|known| known.engine.url.is_empty() && known.gone.is_none()) {
            let main = known.engine.found.main;
            let others = self.owners.members(&known.engine.found.bounds).unwrap_or_default();
            let others = others.into_iter().map(|stat| stat.id).filter(|id| *id != main);
            let processes: Vec<ProcessId> = std::iter::once(main).chain(others).collect();
            // Where it can't be seen it is as one whose address is not known.
            if let Ok(Some(address)) = answers_at(&processes, port) {
                known.engine.url = format!("http://{address}");
                changed = true;
            }
        }
        changed
    }

    /// A client of a daemon. Whether its engines changed by it.
    pub fn client(&mut self, domain: &DomainId, pid: u32) -> bool {
        let engines = self.of.entry(domain.clone()).or_default();
        if engines.iter().any(|engine| engine.gone.is_none() && engine.clients.contains(&pid)) {
            return false;
        }
        // One that can't be looked up is asked for again with the next list.
        let Ok(Some(owner)) = self.owners.of(pid) else { return false };
        let is_it = |known: &&mut Known| known.gone.is_none() && known.engine.found.bounds == owner.bounds;
        if let Some(known) = engines.iter_mut().find(is_it) {
            known.clients.insert(pid);
            known.idle = None;
            return false;
        }
        let Some(main) = self.main_of(&owner) else { return false };
        let found = Found { main, bounds: owner.bounds.clone() };
        let engines = self.of.entry(domain.clone()).or_default();
        let again = engines.iter_mut().find(|engine| engine.gone.is_some() && engine.label == owner.label);
        if let Some(again) = again {
            let name = again.engine.name.clone();
            again.engine = FoundEngine { name, found, container: owner.container, url: String::new() };
            (again.gone, again.idle, again.clients) = (None, None, BTreeSet::from([pid]));
            return true;
        }
        if engines.len() >= MOST {
            return false;
        }
        let name = free_name(&owner.label, engines);
        let engine = FoundEngine { name, found, container: owner.container, url: String::new() };
        let clients = BTreeSet::from([pid]);
        engines.push(Known { engine, label: owner.label, clients, idle: None, gone: None });
        true
    }

    /// A client left its server: its pid may be another's by the next list.
    pub fn left(&mut self, domain: &DomainId, pid: u32) {
        for engine in self.of.entry(domain.clone()).or_default() {
            engine.clients.remove(&pid);
        }
    }

    /// An engine was removed, or left in order: it is forgotten, and its name is free.
    pub fn removed(&mut self, domain: &DomainId, engine: &EngineName) {
        self.of.entry(domain.clone()).or_default().retain(|known| known.engine.name != *engine);
    }

    /// The main process of an engine ended, and not in order.
    pub fn failed(&mut self, domain: &DomainId, engine: &EngineName, now: Moment) {
        for known in self.of.entry(domain.clone()).or_default().iter_mut().filter(|known| known.engine.name == *engine)
        {
            known.gone = known.gone.or(Some(now));
        }
    }

    /// Forgets those that have been gone, or without a client, for too long. Whether there were any.
    pub fn forget_old(&mut self, now: Moment) -> bool {
        let mut changed = false;
        for engines in self.of.values_mut() {
            let count = engines.len();
            let past = |since: Option<Moment>, time| since.is_some_and(|since| now.since(since) >= time);
            engines.retain(|engine| !past(engine.gone, KEPT_FOR) && !past(engine.idle, IDLE_FOR));
            changed |= engines.len() != count;
        }
        changed
    }

    /// The oldest process of a tree.
    fn main_of(&self, owner: &ProcessOwner) -> Option<ProcessId> {
        let members = self.owners.members(&owner.bounds).ok()?;
        members.into_iter().map(|stat| stat.id).min_by_key(|id| (id.started_at, id.pid))
    }
}

/// The label itself, else with the least number behind it that no engine has.
fn free_name(label: &str, engines: &[Known]) -> EngineName {
    let taken: BTreeSet<&str> = engines.iter().map(|known| known.engine.name.as_str()).collect();
    let mut numbered = (2..).map(|number| format!("{label}-{number}"));
    let name = std::iter::once(label.to_owned()).chain(&mut numbered).find(|name| !taken.contains(name.as_str()));
    name.unwrap_or_else(|| label.to_owned()).into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// A stand-in for /proc in which processes come and go.
    struct Proc(tempfile::TempDir);

    impl Proc {
        fn new() -> (Proc, FoundEngines) {
            let proc = Proc(tempfile::tempdir().unwrap());
            let nowhere = Path::new("/no/such/place");
            let found = FoundEngines::by(Owners::at(proc.0.path(), nowhere, nowhere));
            (proc, found)
        }

        fn starts(&self, pid: u32, cgroup: &str) {
            let at = self.0.path().join(pid.to_string());
            fs::create_dir_all(&at).unwrap();
            // State, parent, group, session, then up to the start time; the rest is nought.
            let stat =
                format!("{pid} (python3) S 1 {pid} {pid} 0 0 0 0 0 0 0 0 0 0 0 0 0 1 0 {pid} {}", "0 ".repeat(30));
            fs::write(at.join("stat"), stat).unwrap();
            fs::write(at.join("comm"), "python3\n").unwrap();
            fs::write(at.join("cgroup"), format!("0::{cgroup}\n")).unwrap();
        }

        fn ends(&self, pid: u32) {
            fs::remove_dir_all(self.0.path().join(pid.to_string())).unwrap();
        }
    }

    fn at(seconds: u64) -> Moment {
        Moment::ZERO.after(Duration::from_secs(seconds))
    }

    fn domain() -> DomainId {
        DomainId::from("mps")
    }

    fn names(found: &FoundEngines) -> Vec<String> {
        found.engines(&domain()).map(|engine| engine.name.to_string()).collect()
    }

    fn main_pid(found: &FoundEngines) -> u32 {
        found.engines(&domain()).next().unwrap().found.main.pid
    }

    #[test]
    fn clients_of_one_owner_are_one_engine_and_its_oldest_process_is_the_main_one() {
        let (proc, mut found) = Proc::new();
        proc.starts(10, "/system.slice/no-such-vllm.service");
        proc.starts(11, "/system.slice/no-such-vllm.service");
        assert!(found.clients(&domain(), &[11], at(0)));
        assert!(!found.clients(&domain(), &[10, 11], at(1)));
        assert_eq!(names(&found), ["no-such-vllm"]);
        assert_eq!(main_pid(&found), 10);
    }

    #[test]
    fn the_number_of_one_that_left_is_used_again() {
        let (proc, mut found) = Proc::new();
        (20..23).for_each(|pid| proc.starts(pid, "/"));
        assert!(found.clients(&domain(), &[20, 21, 22], at(0)));
        assert_eq!(names(&found), ["python3", "python3-2", "python3-3"]);
        proc.ends(21);
        found.removed(&domain(), &"python3-2".into());
        proc.starts(30, "/");
        assert!(found.client(&domain(), 30));
        assert_eq!(names(&found), ["python3", "python3-3", "python3-2"]);
    }

    #[test]
    fn one_that_failed_keeps_its_name_for_its_next_start_and_is_forgotten_after_a_while() {
        let (proc, mut found) = Proc::new();
        proc.starts(20, "/");
        found.clients(&domain(), &[20], at(0));
        proc.ends(20);
        found.failed(&domain(), &"python3".into(), at(5));
        assert!(!found.forget_old(at(200)));
        proc.starts(40, "/");
        assert!(found.client(&domain(), 40));
        assert_eq!((names(&found), main_pid(&found)), (vec!["python3".to_owned()], 40));
        found.failed(&domain(), &"python3".into(), at(300));
        assert!(found.forget_old(at(600)));
        assert!(names(&found).is_empty());
    }

    #[test]
    fn one_that_runs_and_is_no_client_any_more_is_forgotten() {
        let (proc, mut found) = Proc::new();
        proc.starts(20, "/");
        found.clients(&domain(), &[20], at(0));
        found.clients(&domain(), &[], at(10));
        assert!(!found.forget_old(at(69)));
        found.clients(&domain(), &[20], at(69));
        assert!(!found.forget_old(at(100)), "it is a client again");
        found.clients(&domain(), &[], at(100));
        assert!(found.forget_old(at(160)));
    }

    #[test]
    fn who_is_gone_before_it_was_looked_up_is_nobody_and_a_crowd_is_bounded() {
        let (proc, mut found) = Proc::new();
        assert!(!found.clients(&domain(), &[99], at(0)));
        let crowd: Vec<u32> = (1000..1300).collect();
        crowd.iter().for_each(|pid| proc.starts(*pid, "/"));
        found.clients(&domain(), &crowd, at(1));
        assert_eq!(found.engines(&domain()).count(), MOST);
        assert_eq!(names(&found).iter().collect::<BTreeSet<_>>().len(), MOST, "each has a name of its own");
    }
}
