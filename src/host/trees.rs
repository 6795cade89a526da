//! Which living processes belong to which engine: its cgroup, its session, every descendant; and what they use. Holds a
//! pidfd of each, so that ending them needs no search first. Sends no signal.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::cgroup::Cgroup;
use super::hold::Hold;
use super::owners::Owners;
use super::pidfd::Pidfd;
use super::procfs::{Procfs, Stat};
use super::tree_of_others::{TreeOfOthers, below};
use crate::model::{Bounds, DomainId, EngineName, Member, ProcessId, ProcessUsage};

/// Variable in an engine's environment: `GROUP/ENGINE`, for people and programs. Anybody can write it: it proves
/// nothing.
pub const ENGINE_VARIABLE: &str = "MPSWARDEN_ENGINE";
/// Variable in an engine's environment: a word drawn for each of its starts. Orphans without their session are known by
/// it.
pub const START_VARIABLE: &str = "MPSWARDEN_START";
/// Processes of an engine that are held by a descriptor each, where there are enough of them.
pub const MOST_HELD: usize = 64;

/// The trees of all engines, shared between who starts and ends them and who looks at them.
#[derive(Clone, Debug)]
pub struct Trees {
    trees: Arc<Mutex<BTreeMap<Member, Tree>>>,
    procfs: Procfs,
    owners: Owners,
    most_held: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct Tree {
    /// Leads the session; `None` once everything of it is gone.
    main: Option<ProcessId>,
    cgroup: Option<Cgroup>,
    /// What holds it together, where others started it.
    theirs: Option<TreeOfOthers>,
    /// Drawn for its start.
    word: String,
    oom: OomKills,
    members: BTreeMap<ProcessId, TreeProcess>,
}

/// What a cgroup counted of the OOM killer.
#[derive(Debug, Default)]
struct OomKills {
    /// When the engine was started.
    before: u64,
    /// Kills as of the last look; `None`: they can't be counted.
    counted: Option<u64>,
}

#[derive(Debug)]
struct TreeProcess {
    held: Hold,
    /// Usage as of the last look that found the process.
    usage: ProcessUsage,
    /// It knows the engine's word, and nothing else shows that it is the engine's.
    claimed: bool,
}

impl Trees {
    /// No process yet of any of these engines.
    pub fn new(engines: impl IntoIterator<Item = Member>) -> Self {
        let trees = engines.into_iter().map(|key| (key, Tree::default())).collect();
        let most_held = Arc::new(AtomicUsize::new(MOST_HELD));
        Trees {
            trees: Arc::new(Mutex::new(trees)),
            procfs: Procfs::new(Path::new("/proc")),
            owners: Owners::default(),
            most_held,
        }
    }

    /// Sets how many processes of an engine are held by a descriptor each from now on.
    pub fn hold_at_most(&self, count: usize) {
        self.most_held.store(count, Ordering::Relaxed);
    }

    /// Engines that may be started from now on; those that are known stay as they are.
    pub fn expect(&self, engines: impl IntoIterator<Item = Member>) {
        let mut trees = self.lock();
        for key in engines {
            trees.entry(key).or_default();
        }
    }

    /// Forgets all other engines of which nothing lives.
    pub fn keep(&self, engines: &BTreeSet<Member>) {
        self.lock().retain(|key, tree| engines.contains(key) || tree.main.is_some());
    }

    /// An engine's main process was started, with `word` in its environment.
    pub fn began(&self, key: &Member, main: Arc<Pidfd>, cgroup: Option<Cgroup>, word: String) {
        let unused = ProcessUsage { process: main.id, resident: 0, cpu: Duration::ZERO, state: '?' };
        let member = TreeProcess { held: main.clone().into(), usage: unused, claimed: false };
        let members = BTreeMap::from([(main.id, member)]);
        let counted = cgroup.as_ref().and_then(Cgroup::oom_kills);
        let oom = OomKills { before: counted.unwrap_or(0), counted };
        let tree = Tree { main: Some(main.id), cgroup, theirs: None, word, oom, members };
        self.lock().insert(key.clone(), tree);
    }

    /// An engine that others started was found: its tree is what its bounds hold.
    pub fn found(&self, key: &Member, main: Arc<Pidfd>, bounds: Bounds) {
        let unused = ProcessUsage { process: main.id, resident: 0, cpu: Duration::ZERO, state: '?' };
        let member = TreeProcess { held: main.clone().into(), usage: unused, claimed: false };
        let members = BTreeMap::from([(main.id, member)]);
        let id = main.id;
        let theirs = TreeOfOthers::new(bounds, main);
        let tree = Tree { main: Some(id), theirs: Some(theirs), members, ..Tree::default() };
        self.lock().insert(key.clone(), tree);
    }

    /// The main process of an engine that others started ended: what starts in its place from now on is the next one's.
    pub fn main_ended(&self, key: &Member) {
        if let Some(theirs) = self.lock().get_mut(key).and_then(|tree| tree.theirs.as_mut()) {
            theirs.note_the_end();
        }
    }

    /// The other engine whose main process this is, or that it is a process of.
    pub fn is_anothers(&self, key: &Member, process: ProcessId) -> Option<Member> {
        let trees = self.lock();
        let of = |tree: &Tree| {
            let held = tree.members.get(&process).is_some_and(|member| !member.held.is_gone());
            tree.main == Some(process) || held
        };
        trees.iter().find(|(other, tree)| *other != key && of(tree)).map(|(other, _)| other.clone())
    }

    /// Looks, and tells all living processes of each engine of a group, with what they use.
    pub fn look(&self, domain: &DomainId) -> io::Result<Vec<(Member, Vec<ProcessUsage>)>> {
        self.refresh()?;
        let trees = self.lock();
        let of_group = trees.iter().filter(|(key, _)| &key.domain == domain);
        Ok(of_group
            .map(|(key, tree)| (key.clone(), tree.members.values().map(|member| member.usage).collect()))
            .collect())
    }

    /// The processes of each engine, as of the last look, that nothing but its word speaks for. A process of the same
    /// user can read it: so they end with the engine, and are no evidence against it.
    pub fn claimed(&self, domain: &DomainId) -> Vec<(Member, Vec<ProcessId>)> {
        let trees = self.lock();
        let of_group = trees.iter().filter(|(key, _)| &key.domain == domain);
        let claimed =
            |tree: &Tree| tree.members.iter().filter(|(_, member)| member.claimed).map(|(id, _)| *id).collect();
        of_group.map(|(key, tree)| (key.clone(), claimed(tree))).collect()
    }

    /// How many processes of each engine the OOM killer took since its start, as of the last look; of those
    /// whose cgroup counts them.
    pub fn oom_kills(&self, domain: &DomainId) -> Vec<(Member, u64)> {
        let trees = self.lock();
        let of_group = trees.iter().filter(|(key, _)| &key.domain == domain);
        of_group
            .filter_map(|(key, tree)| Some((key.clone(), tree.oom.counted?.saturating_sub(tree.oom.before))))
            .collect()
    }

    /// Bytes of host memory that are left; `None`: that is not known.
    pub fn available(&self) -> Option<u64> {
        self.procfs.available()
    }

    /// Living processes of these engines as of the last look.
    pub fn known(&self, domain: &DomainId, engines: &[EngineName]) -> Vec<Hold> {
        let mut trees = self.lock();
        let selected = trees.iter_mut().filter(|(key, _)| &key.domain == domain && engines.contains(&key.engine));
        selected.flat_map(|(_, tree)| tree.living().cloned().collect::<Vec<_>>()).collect()
    }

    /// Living processes of these engines after a fresh look.
    pub fn living(&self, domain: &DomainId, engines: &[EngineName]) -> io::Result<Vec<Hold>> {
        self.refresh()?;
        Ok(self.known(domain, engines))
    }

    /// All living processes of engines that others run.
    pub fn of_others(&self) -> BTreeSet<ProcessId> {
        // One that can't be looked at now is known from the last look.
        let _ = self.refresh();
        let mut trees = self.lock();
        let theirs = trees.values_mut().filter(|tree| tree.theirs.is_some());
        theirs.flat_map(|tree| tree.living().map(|held| held.id).collect::<Vec<_>>()).collect()
    }

    /// Which processes of one engine live that more than its word speaks for, after a fresh look.
    pub fn proven_of(&self, key: &Member) -> io::Result<Vec<ProcessId>> {
        self.refresh()?;
        let trees = self.lock();
        let members = trees.get(key).into_iter().flat_map(|tree| &tree.members);
        Ok(members.filter(|(_, member)| !member.claimed).map(|(id, _)| *id).collect())
    }

    /// Owner of this process: an engine, and the process held. `None`: no engine's. Changes nothing, so that any thread
    /// may ask.
    pub fn owner_of(&self, pid: u32) -> io::Result<Option<(Member, Arc<Pidfd>)>> {
        let trees = self.lock();
        let known = trees.iter().find_map(|(key, tree)| {
            let mut held = tree.members.values().map(|member| &member.held);
            let held = held.find(|held| held.id.pid == pid && !held.is_gone())?;
            Some((key.clone(), held.id))
        });
        if let Some((key, id)) = known {
            return Ok(Pidfd::open_exact(id)?.map(|held| (key, Arc::new(held))));
        }
        let is_it = |stat: &&Stat| stat.id.pid == pid && stat.lives();
        let found = self.find(&trees)?.into_iter();
        let mut found =
            found.filter_map(|(key, found)| found.iter().map(|(stat, _)| stat).find(is_it).map(|stat| (key, stat.id)));
        let Some((key, id)) = found.next() else { return Ok(None) };
        Ok(Pidfd::open_exact(id)?.map(|held| (key, Arc::new(held))))
    }

    /// Cgroups of these engines.
    pub fn cgroups(&self, domain: &DomainId, engines: &[EngineName]) -> Vec<Cgroup> {
        let trees = self.lock();
        let selected = trees.iter().filter(|(key, _)| &key.domain == domain && engines.contains(&key.engine));
        selected.filter_map(|(_, tree)| tree.cgroup.clone()).collect()
    }

    /// Removes every cgroup that holds no process any more.
    pub fn remove_cgroups(&self) {
        for tree in self.lock().values_mut().filter(|tree| tree.cgroup.is_some()) {
            if tree.living().next().is_none() {
                tree.end();
            }
        }
    }

    /// An engine's main process, while anything of the engine lives.
    pub fn main(&self, key: &Member) -> Option<ProcessId> {
        self.lock().get(key)?.main
    }

    /// Looks at what runs, and holds it.
    fn refresh(&self) -> io::Result<()> {
        let mut trees = self.lock();
        trees.values_mut().filter_map(|tree| tree.theirs.as_mut()).for_each(TreeOfOthers::note_the_end);
        let empty: Vec<bool> = trees.values_mut().map(Tree::seems_empty).collect();
        let mut found = self.find(&trees)?;
        let most_held = self.most_held.load(Ordering::Relaxed);
        for ((key, tree), was_empty) in trees.iter_mut().zip(empty) {
            tree.take_up(&found.remove(key).unwrap_or_default(), most_held)?;
            // Before the cgroup goes, with its counts.
            tree.oom.counted = tree.cgroup.as_ref().and_then(Cgroup::oom_kills).or(tree.oom.counted);
            if was_empty && tree.members.is_empty() {
                tree.end();
            }
        }
        Ok(())
    }

    /// What runs of each engine. Everything that engines started is below us, since we adopt orphans; where every
    /// engine has a cgroup, that list is enough.
    fn find(&self, trees: &BTreeMap<Member, Tree>) -> io::Result<BTreeMap<Member, Vec<Found>>> {
        let walks = |tree: &Tree| tree.main.is_some() && tree.cgroup.is_none() && tree.theirs.is_none();
        let walk = trees.values().any(walks);
        let below = if walk { self.procfs.below(std::process::id())? } else { Vec::new() };
        let mut found = assign(trees, &below, |pid| self.procfs.environment(pid, START_VARIABLE));
        self.find_those_of_others(trees, &mut found)?;
        for (key, tree) in trees {
            for pid in tree.cgroup.as_ref().map_or(Ok(Vec::new()), Cgroup::processes)? {
                found.entry(key.clone()).or_default().extend(self.procfs.stat(pid)?.map(|stat| (stat, false)));
            }
        }
        Ok(found)
    }

    /// What runs of engines that others started. All process groups are found in one look at all processes.
    fn find_those_of_others(
        &self,
        trees: &BTreeMap<Member, Tree>,
        found: &mut BTreeMap<Member, Vec<Found>>,
    ) -> io::Result<()> {
        let of_others = || {
            let runs = trees.iter().filter(|(_, tree)| tree.main.is_some());
            runs.filter_map(|(key, tree)| Some((key, tree, tree.theirs.as_ref()?)))
        };
        let walks = of_others().any(|(_, _, theirs)| !matches!(theirs.bounds(), Bounds::Cgroup(_)));
        let all = if walks { self.procfs.all()? } else { Vec::new() };
        for (key, tree, theirs) in of_others() {
            let mut members = match theirs.bounds() {
                Bounds::Group { group, session } => {
                    let is_of = |stat: &&Stat| (stat.group, stat.session) == (*group, *session);
                    all.iter().filter(is_of).copied().collect()
                }
                Bounds::Tree(main) => below(&all, *main),
                Bounds::Cgroup(_) => self.owners.members(theirs.bounds())?,
            };
            members.retain(|stat| theirs.has(stat, tree.members.keys()));
            found.entry(key.clone()).or_default().extend(members.into_iter().map(|stat| (stat, false)));
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Member, Tree>> {
        self.trees.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a look found, and whether it is only claimed by its word.
type Found = (Stat, bool);

impl Tree {
    /// Members that live; others are forgotten.
    fn living(&mut self) -> impl Iterator<Item = &Hold> {
        self.members.retain(|_, member| !member.held.is_gone());
        self.members.values().map(|member| &member.held)
    }

    /// Whether it seems empty by the processes that a descriptor holds; the others are as of the last look.
    fn seems_empty(&mut self) -> bool {
        self.members.retain(|_, member| !member.held.is_tight() || !member.held.is_gone());
        self.members.is_empty()
    }

    /// Holds what was found. What was held before stays until its pidfd says that it is gone, whatever
    /// the look missed; what no pidfd holds is as the look has it.
    fn take_up(&mut self, found: &[Found], most_held: usize) -> io::Result<()> {
        let living: BTreeSet<ProcessId> =
            found.iter().filter(|(stat, _)| stat.lives()).map(|(stat, _)| stat.id).collect();
        self.members.retain(|id, member| member.held.is_tight() || living.contains(id));
        let mut tight = self.members.values().filter(|member| member.held.is_tight()).count();
        for (stat, claimed) in found.iter().filter(|(stat, _)| stat.lives()) {
            let usage = stat.usage();
            if let Some(member) = self.members.get_mut(&stat.id) {
                // What was proven once is proven.
                (member.usage, member.claimed) = (usage, member.claimed && *claimed);
            } else if let Some(held) = Hold::of(stat.id, tight < most_held)? {
                tight += usize::from(held.is_tight());
                self.members.insert(stat.id, TreeProcess { held, usage, claimed: *claimed });
            }
        }
        Ok(())
    }

    /// Nothing of it lived before a look, and the look found nothing: what dies during a look may leave
    /// orphans that only the next one sees. From here on the session's number may be another's.
    fn end(&mut self) {
        self.main = None;
        if self.cgroup.as_ref().is_some_and(|cgroup| cgroup.remove().is_ok()) {
            self.cgroup = None;
        }
    }
}

/// Whose each process is, and whether only its word says so. `below` has parents before their children. The word in
/// the environment is asked only for our own children: whatever else there is has a parent to follow.
fn assign(
    trees: &BTreeMap<Member, Tree>,
    below: &[Stat],
    word: impl Fn(u32) -> Option<String>,
) -> BTreeMap<Member, Vec<Found>> {
    let us = std::process::id();
    let mut owners: BTreeMap<u32, (&Member, bool)> = BTreeMap::new();
    let mut found: BTreeMap<Member, Vec<Found>> = BTreeMap::new();
    for stat in below {
        let owner = known(trees, stat).or_else(|| owners.get(&stat.parent).copied()).or_else(|| {
            let by_session = |tree: &Tree| tree.main.is_some_and(|main| main.pid == stat.session);
            trees.iter().find(|(_, tree)| by_session(tree)).map(|(key, _)| (key, false))
        });
        let owner = owner.or_else(|| {
            let word = (stat.parent == us).then(|| word(stat.id.pid))?.filter(|word| !word.is_empty())?;
            trees.iter().find(|(_, tree)| tree.main.is_some() && tree.word == word).map(|(key, _)| (key, true))
        });
        if let Some((key, claimed)) = owner {
            owners.insert(stat.id.pid, (key, claimed));
            found.entry(key.clone()).or_default().push((*stat, claimed));
        }
    }
    found
}

/// Whose a process was before, or is as an engine's main one.
fn known<'a>(trees: &'a BTreeMap<Member, Tree>, stat: &Stat) -> Option<(&'a Member, bool)> {
    trees.iter().find_map(|(key, tree)| match tree.members.get(&stat.id) {
        Some(member) => Some((key, member.claimed)),
        None => (tree.main == Some(stat.id)).then_some((key, false)),
    })
}

#[cfg(test)]
#[path = "trees_tests.rs"]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
