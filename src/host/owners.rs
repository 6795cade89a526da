//! Whose a process is that others started: the container of a pod, another container, a systemd unit, a Slurm job, by its
//! cgroup; else its process group. Reads /proc and the names that kubelet gives its logs; the roots are injected.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::cgroup::Cgroup;
use super::containers::Container;
use super::procfs::{Procfs, Stat};
use super::state_file::{self, Loaded};
use super::supervisor::Supervisor;
use super::systemd::Unit;
use crate::files::{self, Links};
use crate::model::{Bounds, ContainerName};

/// Bytes that are read of a cgroup file, a name or a description of a container.
const MOST: u64 = 1 << 20;
/// Characters of an owner's name, so that a slot's number has room behind it.
const LONGEST: usize = 48;
/// Hexadecimal digits of a container's id.
const ID: usize = 64;
/// Those of them that stand for it.
const SHORT_ID: usize = 12;
/// Where hierarchies of cgroups are mounted: of version 2 alone, beside version 1, and systemd's own of version 1.
const HIERARCHIES: [&str; 3] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"];
/// Characters of a pod's uid, at least (a static pod's has no dashes), and those that stand for it.
const UID: usize = 32;
const SHORT_UID: usize = 8;
/// Owners whose own names for themselves are known; the oldest is forgotten.
const MOST_CALLED: usize = 256;
/// Letters and digits of which Kubernetes makes the random parts of names.
const RANDOM: &str = "bcdfghjklmnpqrstvwxz2456789";

/// The owner of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessOwner {
    /// A name of letters, digits, `.`, `_` and `-` that is the same for the next one of its kind.
    pub label: String,
    /// What holds its processes together.
    pub bounds: Bounds,
    /// The container, where it is one.
    pub container: ContainerName,
}

/// Where owners are looked up. Clones know the same names.
#[derive(Clone, Debug)]
pub struct Owners {
    proc: PathBuf,
    logs: PathBuf,
    docker: PathBuf,
    procfs: Procfs,
    called: Arc<Mutex<Called>>,
}

/// What owners call themselves, the latest first.
#[derive(Debug, Default)]
struct Called {
    names: VecDeque<(Bounds, String)>,
    /// Where those of cgroups are kept.
    file: Option<PathBuf>,
}

impl Called {
    fn call(&mut self, bounds: Bounds, name: String) {
        self.names.retain(|(known, _)| *known != bounds);
        self.names.push_front((bounds, name));
        self.names.truncate(MOST_CALLED);
    }

    /// A process group's number may be another's by the next run.
    fn keep(&self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let of_cgroup = |(bounds, name): &(Bounds, String)| match bounds {
            Bounds::Cgroup(path) => Some((path.clone(), name.clone())),
            Bounds::Group { .. } | Bounds::Tree(_) => None,
        };
        state_file::save(file, &self.names.iter().filter_map(of_cgroup).collect::<Vec<_>>())
    }
}

impl Default for Owners {
    fn default() -> Self {
        Owners::at(Path::new("/proc"), Path::new("/var/log/containers"), Path::new("/var/lib/docker/containers"))
    }
}

impl Owners {
    /// Owners by these roots: of processes, of kubelet's logs of containers, and of Docker's containers.
    pub fn at(proc: &Path, logs: &Path, docker: &Path) -> Self {
        Owners {
            proc: proc.into(),
            logs: logs.into(),
            docker: docker.into(),
            procfs: Procfs::new(proc),
            called: Arc::default(),
        }
    }

    /// The owner of a process; `None`: it is gone.
    pub fn of(&self, pid: u32) -> io::Result<Option<ProcessOwner>> {
        let owner = self.by_its_place(pid)?;
        Ok(owner.map(|owner| match self.name_given(&owner.bounds) {
            Some(label) => ProcessOwner { label, ..owner },
            None => owner,
        }))
    }

    /// The same, with what owners called themselves in an earlier run of this boot, and where that is kept for the next.
    pub fn kept_in(self, file: &Path) -> Self {
        let mut called = self.called();
        // Without it they are called by their places.
        if let Ok(Loaded::Saved(kept)) = state_file::load::<Vec<(String, String)>>(file) {
            kept.into_iter().rev().for_each(|(path, name)| called.call(Bounds::Cgroup(path), plain(&name)));
        }
        called.file = Some(file.to_owned());
        drop(called);
        self
    }

    /// Calls the owner of a process so from now on: it said so itself, where its word is trusted. The errors: /proc can't
    /// be read, or the name can't be kept.
    pub fn call(&self, pid: u32, name: &str) -> io::Result<()> {
        let Some(owner) = self.by_its_place(pid)? else { return Ok(()) };
        let mut called = self.called();
        called.call(owner.bounds, plain(name));
        called.keep()
    }

    fn name_given(&self, bounds: &Bounds) -> Option<String> {
        self.called().names.iter().find(|(known, _)| known == bounds).map(|(_, name)| name.clone())
    }

    fn called(&self) -> MutexGuard<'_, Called> {
        self.called.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn by_its_place(&self, pid: u32) -> io::Result<Option<ProcessOwner>> {
        let Some(stat) = self.procfs.stat(pid)? else { return Ok(None) };
        let table = self.read(pid, "cgroup").unwrap_or_default();
        if let Some((path, kind)) = owning_cgroup(&table) {
            let (label, container) = self.name_of(&kind);
            return Ok(Some(ProcessOwner { label: plain(&label), bounds: Bounds::Cgroup(path), container }));
        }
        let bounds = Bounds::Group { group: stat.group, session: stat.session };
        // The leader may be gone, and its number cannot be another's while its group has a member.
        let called = self.read(stat.group, "comm").or_else(|| self.read(pid, "comm")).unwrap_or_default();
        Ok(Some(ProcessOwner { label: plain(called.trim()), bounds, container: ContainerName::default() }))
    }

    /// Who starts and ends a process, where that is somebody who can be asked: the system's systemd, or a container engine. A
    /// pod's containers are kubelet's.
    pub fn supervisor_of(&self, pid: u32) -> Option<Supervisor> {
        let (path, kind) = owning_cgroup(&self.read(pid, "cgroup")?)?;
        match kind {
            CgroupKind::Container(id) => Some(Supervisor::Container(Container(id))),
            CgroupKind::Unit(_) if path.contains("/user@") => None,
            CgroupKind::Unit(_) => path.rsplit('/').next().map(|unit| Supervisor::Systemd(Unit(unit.to_owned()))),
            CgroupKind::Pod { .. } | CgroupKind::Job(_) => None,
        }
    }

    /// Whether a process is within these bounds.
    pub fn is_within(&self, pid: u32, bounds: &Bounds) -> bool {
        match bounds {
            Bounds::Cgroup(path) => self.read(pid, "cgroup").is_some_and(|table| is_below(&table, path)),
            Bounds::Tree(main) => pid == main.pid,
            Bounds::Group { group, session } => {
                let stat = self.procfs.stat(pid).ok().flatten();
                stat.is_some_and(|stat| (stat.group, stat.session) == (*group, *session))
            }
        }
    }

    /// All living processes within these bounds. Where the cgroup's own list can be read it is enough; else every process
    /// is looked at.
    pub fn members(&self, bounds: &Bounds) -> io::Result<Vec<Stat>> {
        let of_list = match bounds {
            Bounds::Cgroup(path) => {
                directory_of(path).map(|directory| Cgroup::at(&directory).processes()).transpose()?
            }
            Bounds::Group { .. } | Bounds::Tree(_) => None,
        };
        let listed = of_list.is_some();
        let mut members: Vec<Stat> = match of_list {
            Some(pids) => {
                pids.into_iter().filter_map(|pid| self.procfs.stat(pid).transpose()).collect::<io::Result<Vec<_>>>()?
            }
            None => self.procfs.all()?,
        };
        members.retain(|stat: &Stat| stat.lives() && (listed || self.is_within(stat.id.pid, bounds)));
        Ok(members)
    }

    /// Whether a cgroup that held a tree together is gone. A process group is none that anybody removes.
    pub fn is_removed(&self, bounds: &Bounds) -> bool {
        match bounds {
            Bounds::Group { .. } | Bounds::Tree(_) => false,
            Bounds::Cgroup(path) if directory_of(path).is_some() => false,
            Bounds::Cgroup(_) => self.members(bounds).is_ok_and(|members| members.is_empty()),
        }
    }

    /// What it is called, by what its container or unit can't choose by itself.
    fn name_of(&self, kind: &CgroupKind) -> (String, ContainerName) {
        let short = |id: &str| id.chars().take(SHORT_ID).collect::<String>();
        match kind {
            CgroupKind::Unit(name) | CgroupKind::Job(name) => (name.clone(), ContainerName::default()),
            CgroupKind::Container(id) => {
                let name = self.docker_name(id).unwrap_or_else(|| short(id));
                (name.clone(), ContainerName { container: name, ..ContainerName::default() })
            }
            CgroupKind::Pod { id, uid } => match self.log_name(id) {
                None => (format!("pod-{uid}"), ContainerName { container: short(id), ..ContainerName::default() }),
                Some(known) => {
                    let (workload, container) = (workload(&known.pod), &known.container);
                    let label =
                        if workload == container { workload.to_owned() } else { format!("{workload}-{container}") };
                    (label, known)
                }
            },
        }
    }

    /// kubelet links the log of each container as `POD_NAMESPACE_CONTAINER-ID.log`.
    fn log_name(&self, id: &str) -> Option<ContainerName> {
        let ending = format!("-{id}.log");
        let names = fs::read_dir(&self.logs).ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        names.into_iter().find_map(|name| {
            let mut parts = name.strip_suffix(&ending)?.splitn(3, '_').map(str::to_owned);
            Some(ContainerName { pod: parts.next()?, namespace: parts.next()?, container: parts.next()? })
        })
    }

    /// What Docker calls a container, where this user may read that.
    fn docker_name(&self, id: &str) -> Option<String> {
        let bytes = files::read(&self.docker.join(id).join("config.v2.json"), Links::Refused, MOST).ok()?;
        let read: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
        let name = read.get("Name")?.as_str()?.trim_start_matches('/');
        (!name.is_empty()).then(|| name.to_owned())
    }

    fn read(&self, pid: u32, file: &str) -> Option<String> {
        let mut text = Vec::new();
        fs::File::open(self.proc.join(pid.to_string()).join(file)).ok()?.take(MOST).read_to_end(&mut text).ok()?;
        Some(String::from_utf8_lossy(&text).into_owned())
    }
}

/// The path of a cgroup as /proc has it, of one that is written as a directory of the file system too.
pub fn cgroup_path(written: &str) -> String {
    // The longer ones first: each is below the one before it.
    let below = HIERARCHIES.iter().rev().find_map(|hierarchy| written.strip_prefix(hierarchy));
    format!("/{}", below.unwrap_or(written).trim_matches('/'))
}

/// Whether a process with this table is in a cgroup of that path, or below it.
fn is_below(table: &str, path: &str) -> bool {
    let paths = table.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    paths.filter_map(|at| at.strip_prefix(path)).any(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Where a cgroup of this path is in the file system; `None`: nowhere that can be seen from here.
fn directory_of(path: &str) -> Option<PathBuf> {
    let below = path.trim_start_matches('/');
    let places = HIERARCHIES.iter().map(|hierarchy| Path::new(hierarchy).join(below));
    let mut there = places.filter(|directory| directory.join("cgroup.procs").exists());
    there.next().filter(|_| !below.is_empty() && !below.contains(".."))
}

/// What a cgroup is of.
#[derive(Clone, Debug, PartialEq, Eq)]
enum CgroupKind {
    /// A container of a pod, by its id and the beginning of the pod's uid.
    Pod { id: String, uid: String },
    /// Another container, by its id.
    Container(String),
    /// A systemd unit, by its name without its ending.
    Unit(String),
    /// A job of Slurm, by its name.
    Job(String),
}

/// The cgroup that a process belongs to as its owner's, and what it is of; `None`: its cgroup is nobody's in particular,
/// as that of a login.
fn owning_cgroup(table: &str) -> Option<(String, CgroupKind)> {
    let paths = table.lines().filter_map(|line| line.splitn(3, ':').nth(2)).filter(|path| path.starts_with('/'));
    paths.into_iter().find_map(owning_part)
}

/// The part of a cgroup's path that is the owner's: the innermost container, else the innermost unit.
fn owning_part(path: &str) -> Option<(String, CgroupKind)> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let upto = |index: usize| format!("/{}", parts[..=index].join("/"));
    for (index, part) in parts.iter().enumerate().rev() {
        if let Some(id) = container_id(part) {
            let id = id.to_owned();
            let pod = parts[..=index].iter().rev().find_map(|part| pod_uid(part));
            let kind = pod.map_or(CgroupKind::Container(id.clone()), |uid| CgroupKind::Pod { id, uid });
            return Some((upto(index), kind));
        }
    }
    for (index, part) in parts.iter().enumerate().rev() {
        if let Some(job) = part.strip_prefix("job_").filter(|job| job.bytes().all(|byte| byte.is_ascii_digit())) {
            return Some((upto(index), CgroupKind::Job(format!("job-{job}"))));
        }
        if let Some(unit) = part.strip_suffix(".service").filter(|unit| !unit.starts_with("user@")) {
            return Some((upto(index), CgroupKind::Unit(unescaped(unit))));
        }
    }
    None
}

/// The beginning of a pod's uid, where a part is that of a pod: `kubepods-burstable-podUID.slice`, `podUID`.
fn pod_uid(part: &str) -> Option<String> {
    let uid =
        part.strip_prefix("pod").or_else(|| part.strip_prefix("kubepods")?.split_once("-pod").map(|(_, uid)| uid))?;
    let hex = uid.chars().take_while(|c| c.is_ascii_hexdigit() || "-_".contains(*c)).count();
    (hex >= UID).then(|| uid.chars().take(SHORT_UID).collect())
}

/// The id in a container's part: `cri-containerd-ID.scope`, `docker-ID.scope`, `libpod-ID.scope`, `crio-ID.scope`, or the
/// bare id.
fn container_id(part: &str) -> Option<&str> {
    let part = part.strip_suffix(".scope").unwrap_or(part);
    let id = part.rsplit(['-', ':']).next()?;
    (id.len() == ID && id.bytes().all(|byte| byte.is_ascii_hexdigit()) && !part.contains("conmon")).then_some(id)
}

/// systemd writes characters that a unit's name may not have as `\\xNN`.
fn unescaped(unit: &str) -> String {
    unit.replace("\\x2d", "-")
}

/// The name of what a pod is one of: without the parts that Kubernetes draws for each pod and for each roll-out, or counts.
fn workload(pod: &str) -> &str {
    let random = |part: &str, lengths: std::ops::RangeInclusive<usize>| {
        lengths.contains(&part.len()) && part.chars().all(|c| RANDOM.contains(c))
    };
    match pod.rsplit_once('-') {
        Some((of, number)) if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => of,
        Some((of, drawn)) if random(drawn, 5..=5) => match of.rsplit_once('-') {
            Some((of, roll_out)) if random(roll_out, 6..=10) => of,
            _ => of,
        },
        _ => pod,
    }
}

/// A label of what names may have.
fn plain(label: &str) -> String {
    let fine = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let label: String = label.chars().map(fine).take(LONGEST).collect();
    let label = label.trim_matches(['-', '.']);
    if label.is_empty() { "engine".to_owned() } else { label.to_owned() }
}

#[cfg(test)]
#[path = "owners_tests.rs"]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
