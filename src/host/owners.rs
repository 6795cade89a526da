//! Whose a process is that others started: the container of a pod, another container, a systemd unit, a Slurm job, by its
//! cgroup; else its process group. Reads /proc and the names that kubelet gives its logs; the roots are injected.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::cgroup::Cgroup;
use super::containers::Container;
use super::procfs::{Procfs, Stat};
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

/// Where owners are looked up.
#[derive(Clone, Debug)]
pub struct Owners {
    proc: PathBuf,
    logs: PathBuf,
    docker: PathBuf,
    procfs: Procfs,
}

impl Default for Owners {
    fn default() -> Self {
        Owners::at(Path::new("/proc"), Path::new("/var/log/containers"), Path::new("/var/lib/docker/containers"))
    }
}

impl Owners {
    /// Owners by these roots: of processes, of kubelet's logs of containers, and of Docker's containers.
    pub fn at(proc: &Path, logs: &Path, docker: &Path) -> Self {
        Owners { proc: proc.into(), logs: logs.into(), docker: docker.into(), procfs: Procfs::new(proc) }
    }

    /// The owner of a process; `None`: it is gone.
    pub fn of(&self, pid: u32) -> io::Result<Option<ProcessOwner>> {
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
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn part(path: &str) -> Option<(String, CgroupKind)> {
        owning_cgroup(&format!("0::{path}\n"))
    }

    #[test]
    fn containers_of_pods_are_known_under_every_cgroup_driver() {
        let pod = "kubepods-burstable-pod0a1b2c3d_0000_0000_0000_000000000000.slice";
        for path in [
            format!("/kubepods.slice/kubepods-burstable.slice/{pod}/cri-containerd-{HEX}.scope"),
            format!("/kubepods.slice/{pod}/crio-{HEX}.scope"),
            format!("/kubepods/besteffort/pod0a1b2c3d-0000-0000-0000-000000000000/{HEX}"),
            format!("/system.slice/containerd.service/{pod}:cri-containerd:{HEX}"),
            format!("/kubelet/kubepods/pod0a1b2c3d-0000-0000-0000-000000000000/{HEX}/init.scope"),
        ] {
            let (at, kind) = part(&path).unwrap();
            assert!(path.starts_with(&at) && at.contains(HEX), "{at}");
            assert_eq!(kind, CgroupKind::Pod { id: HEX.to_owned(), uid: "0a1b2c3d".to_owned() }, "{path}");
        }
    }

    #[test]
    fn containers_units_and_jobs_are_known_and_a_login_is_nobody() {
        let kind = |path: &str| part(path).map(|(_, kind)| kind);
        for path in [format!("/system.slice/docker-{HEX}.scope"), format!("/docker/{HEX}")] {
            assert_eq!(kind(&path), Some(CgroupKind::Container(HEX.to_owned())));
        }
        let podman = format!("/machine.slice/libpod-{HEX}.scope/container");
        assert_eq!(part(&podman).unwrap().0, format!("/machine.slice/libpod-{HEX}.scope"));
        assert_eq!(kind("/system.slice/system-vllm.slice/vllm@a.service"), Some(CgroupKind::Unit("vllm@a".to_owned())));
        let user = "/user.slice/user-1000.slice/user@1000.service/app.slice/vllm.service";
        assert_eq!(kind(user), Some(CgroupKind::Unit("vllm".to_owned())));
        assert_eq!(
            kind("/system.slice/slurmstepd.scope/job_17/step_0/user/task_0"),
            Some(CgroupKind::Job("job-17".into()))
        );
        for path in ["/", "/user.slice/user-0.slice/session-3.scope", "/init.scope", "/../.."] {
            assert_eq!(kind(path), None, "{path}");
        }
        let login = "/user.slice/user-1000.slice/user@1000.service/app.slice/tmux.scope";
        assert_eq!(kind(login), None);
        assert_eq!(kind(&format!("/machine.slice/libpod-conmon-{HEX}.scope")), None);
    }

    #[test]
    fn on_a_hybrid_host_the_hierarchy_that_names_an_owner_counts() {
        let table = format!("4:memory:/docker/{HEX}\n1:name=systemd:/docker/{HEX}\n0::/\n");
        assert_eq!(owning_cgroup(&table).unwrap().0, format!("/docker/{HEX}"));
        assert_eq!(owning_cgroup("garbage\n0:\n"), None);
    }

    #[test]
    fn a_pod_is_called_by_its_workload_over_roll_outs() {
        for (pod, of) in [
            ("qwen-7d9f8b6c5-x2x4z", "qwen"),
            ("qwen-7d9f8b6c54-x2x4z", "qwen"),
            ("small-llms-0", "small-llms"),
            ("daemon-x2x4z", "daemon"),
            ("alone", "alone"),
            ("my-model-v1-abcde", "my-model-v1-abcde"),
            ("", ""),
        ] {
            assert_eq!(workload(pod), of, "{pod}");
        }
    }

    #[test]
    fn kubelets_logs_name_pod_namespace_and_container() {
        let directory = tempfile::tempdir().unwrap();
        let [proc, logs] = ["proc", "logs"].map(|name| directory.path().join(name));
        fs::create_dir_all(proc.join("7")).unwrap();
        fs::create_dir(&logs).unwrap();
        let stat = format!("7 (python3) S 1 7 7 {}", "0 ".repeat(46));
        fs::write(proc.join("7/stat"), stat).unwrap();
        fs::write(proc.join("7/cgroup"), format!("0::/kubepods/pod{}/{HEX}\n", "0".repeat(36))).unwrap();
        let owners = Owners::at(&proc, &logs, directory.path());
        assert_eq!(owners.of(7).unwrap().unwrap().label, "pod-00000000");
        fs::write(logs.join(format!("qwen-7d9f8b6c5-x2x4z_prod_vllm-{HEX}.log")), "").unwrap();
        let owner = owners.of(7).unwrap().unwrap();
        assert_eq!((owner.label.as_str(), owner.container.namespace.as_str()), ("qwen-vllm", "prod"));
        assert!(owners.is_within(7, &owner.bounds));
        assert!(owners.of(8).unwrap().is_none());
    }

    #[test]
    fn a_process_in_no_cgroup_of_its_own_is_called_by_the_program_of_its_group() {
        let owner = Owners::default().of(std::process::id()).unwrap().unwrap();
        assert!(!owner.label.is_empty() && owner.label.len() <= LONGEST, "{owner:?}");
        assert!(Owners::default().is_within(std::process::id(), &owner.bounds));
    }

    #[test]
    fn labels_have_what_names_may_have() {
        assert_eq!(plain("vllm@a b"), "vllm-a-b");
        assert_eq!(plain("(sd-pam)"), "sd-pam");
        assert_eq!(plain("..."), "engine");
        assert_eq!(plain(&"x".repeat(100)).len(), LONGEST);
    }
}
