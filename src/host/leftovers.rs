//! What a run that crashed left behind: found by its record and by its mark in the environment, proven
//! by start time, ended. One watchdog per state directory, by a lock. Never touches what is not ours.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::cgroup::Cgroup;
use super::clock;
use super::hold::Hold;
use super::pidfd::Pidfd;
use super::procfs::{Procfs, Stat};
use super::state_file::{self, Loaded};
use super::trees::MOST_HELD;
use crate::files::{self, Holds};
use crate::model::{Moment, Owner, ProcessId, Remaining};

/// Upper bound for a lock that a child inherited: a holder that died in the middle of a fork leaves it to that child
/// until its exec.
const INHERITED: Duration = Duration::from_secs(5);
/// Pause between two tries for such a lock.
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// Bytes that are read of the holder: more than a pid has digits.
const HOLDER: u64 = 64;

/// Variable in the environment of everything that a watchdog starts: its state directory.
pub const OWNER_VARIABLE: &str = "MPSWARDEN_OWNER";

/// The one spelling of a state directory, by which processes are marked.
pub fn mark_of(state_directory: &Path) -> PathBuf {
    fs::canonicalize(state_directory).unwrap_or_else(|_| state_directory.to_owned())
}

/// Held while a watchdog uses its state directory; the kernel frees it with the process.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code, reason = "held, never read")] File);

/// Why the state directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another watchdog has it.
    #[error(
        "state directory `{0}` is in use by process {1}: stop that watchdog, or give this one another state_directory"
    )]
    Held(PathBuf, String),
    /// It can't be made or written.
    #[error("can't use state directory `{0}`: {1}")]
    Io(PathBuf, io::Error),
}

/// Takes the state directory, made if it isn't there, for this process.
pub fn lock(state_directory: &Path) -> Result<Lock, LockError> {
    let failed = |error| LockError::Io(state_directory.to_owned(), error);
    files::make_directory(state_directory, 0o700).map_err(failed)?;
    files::check_directory("state_directory", state_directory, Holds::Files).map_err(|why| failed(why.into()))?;
    let mut file =
        files::own(&state_directory.join("lock"), 0o644).map_err(|error| failed(in_place_of_the_lock(error)))?;
    let deadline = clock::now().after(INHERITED);
    while !try_lock(&file).map_err(failed)? {
        let holder = read_holder(&mut file).map_err(failed)?;
        if lives(&holder) || clock::now() >= deadline {
            return Err(LockError::Held(state_directory.to_owned(), holder));
        }
        std::thread::sleep(LOCK_PAUSE);
    }
    write_holder(&mut file).map_err(failed)?;
    Ok(Lock(file))
}

/// A link or a FIFO that another user put there.
fn in_place_of_the_lock(error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::Other {
        return error;
    }
    io::Error::other(format!("its file `lock`: {error}; remove it"))
}

fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn read_holder(file: &mut File) -> io::Result<String> {
    let mut holder = String::new();
    file.rewind()?;
    Read::by_ref(file).take(HOLDER).read_to_string(&mut holder)?;
    Ok(holder.trim().to_owned())
}

fn write_holder(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn lives(holder: &str) -> bool {
    holder.parse().is_ok_and(|pid| Pidfd::open(pid).ok().flatten().is_some_and(|process| !process.is_gone()))
}

/// What was started and may still live, kept in the state directory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Each started process, the latest of its owner.
    pub processes: Vec<Recorded>,
}

/// One started process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// Owner of the process.
    pub owner: Owner,
    /// Identity of the process.
    pub process: ProcessId,
    /// The cgroup it was started in.
    pub cgroup: Option<PathBuf>,
}

impl Record {
    /// Takes up a start and keeps the record in `state_directory`.
    pub fn note(&mut self, state_directory: &Path, started: Recorded) -> io::Result<()> {
        self.processes.retain(|old| !same_place(&old.owner, &started.owner));
        self.processes.push(started);
        state_file::save(&record_path(state_directory), self)
    }
}

fn record_path(state_directory: &Path) -> PathBuf {
    state_directory.join("processes.json")
}

/// Whether one takes the other's place: an engine's incarnations do.
fn same_place(one: &Owner, other: &Owner) -> bool {
    match (one, other) {
        (Owner::Engine(one), Owner::Engine(other)) => one.member() == other.member(),
        _ => one == other,
    }
}

/// What was found at the start and what became of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cleared {
    /// Proven ours and ended.
    pub ended: Vec<ProcessId>,
    /// Proven ours and still there at the deadline.
    pub remaining: Vec<Remaining>,
    /// What was wrong with the record, for people. The marks in the environment need no record.
    pub trouble: Option<String>,
}

/// Ends everything that an earlier run with this state directory left. The lock is the proof that no
/// other watchdog runs it now.
pub async fn clear(_lock: &Lock, state_directory: &Path, deadline: Moment) -> io::Result<Cleared> {
    let mut cleared = Cleared::default();
    let mark = mark_of(state_directory);
    let record = match state_file::load(&record_path(state_directory))? {
        Loaded::Saved(record) => record,
        Loaded::Nothing | Loaded::OtherBoot => Record::default(),
        Loaded::Bad { kept_as, why } => {
            cleared.trouble =
                Some(format!("the record of started processes is unreadable ({why}), kept as {}", kept_as.display()));
            Record::default()
        }
    };
    let cgroups: Vec<Cgroup> =
        record.processes.iter().filter_map(|recorded| recorded.cgroup.as_deref()).map(Cgroup::at).collect();
    loop {
        let left = find(&mark, &record, &cgroups)?;
        if left.is_empty() || clock::now() >= deadline {
            cleared.remaining = left.iter().map(|stat| Remaining { process: stat.id, state: stat.state }).collect();
            break;
        }
        for process in kill(left.iter().map(|stat| stat.id), deadline).await? {
            if !cleared.ended.contains(&process) {
                cleared.ended.push(process);
            }
        }
    }
    cleared.ended.retain(|process| cleared.remaining.iter().all(|remaining| remaining.process != *process));
    for cgroup in cgroups {
        // One that is not empty stays, with the processes that remain.
        let _ = cgroup.remove();
    }
    Ok(cleared)
}

/// KILL to all of them, and a moment for their ends.
async fn kill(processes: impl Iterator<Item = ProcessId>, deadline: Moment) -> io::Result<Vec<ProcessId>> {
    let held = Hold::all(processes, MOST_HELD)?;
    for process in &held {
        process.signal(Signal::SIGKILL)?;
    }
    let all_gone = async {
        for process in &held {
            process.gone().await;
        }
    };
    let _ = timeout(deadline.since(clock::now()).min(Duration::from_millis(500)), all_gone).await;
    Ok(held.iter().map(|process| process.id).collect())
}

/// Ends what engines left below us when all groups are stopped: without a cgroup, a session of its own and an empty
/// environment hide a process from its engine, and not from us, who adopted it. Tells whom it ended. A child of our own
/// session was started by other means. `spared`: what others run, though a command of theirs started it below us.
pub async fn end_strays(spared: &BTreeSet<ProcessId>, deadline: Moment) -> io::Result<Vec<ProcessId>> {
    let procfs = Procfs::new(Path::new("/proc"));
    let ours = nix::unistd::getsid(None).map_or(0, |session| session.as_raw() as u32);
    let mut ended = Vec::new();
    loop {
        let children = procfs.children_of(std::process::id())?;
        let is_stray = |stat: &Stat| stat.session != ours && !spared.contains(&stat.id);
        let mut strays: Vec<Stat> = children.into_iter().filter(is_stray).collect();
        for at in 0..strays.len() {
            strays.extend(procfs.below(strays[at].id.pid)?);
        }
        strays.retain(|stat| stat.lives() && !spared.contains(&stat.id));
        if strays.is_empty() || clock::now() >= deadline {
            return Ok(ended);
        }
        for process in kill(strays.iter().map(|stat| stat.id), deadline).await? {
            if !ended.contains(&process) {
                ended.push(process);
            }
        }
    }
}

/// Living processes of an earlier run: by the record, in its cgroups, or marked with this state directory; in the
/// session of one that the record proves, or below any of them, whatever its environment says.
fn find(mark: &Path, record: &Record, cgroups: &[Cgroup]) -> io::Result<Vec<Stat>> {
    let procfs = Procfs::new(Path::new("/proc"));
    let mut inside = Vec::new();
    for cgroup in cgroups {
        inside.extend(cgroup.processes()?);
    }
    let is_ours = |stat: &Stat| {
        record.processes.iter().any(|recorded| recorded.process == stat.id)
            || inside.contains(&stat.id.pid)
            || procfs.environment(stat.id.pid, OWNER_VARIABLE).is_some_and(|owner| Path::new(&owner) == mark)
                && sees_our_directory(stat.id.pid, mark)
    };
    let all: Vec<Stat> = procfs.all()?.into_iter().filter(|stat| stat.id.pid != std::process::id()).collect();
    let mut proven: BTreeSet<u32> = all.iter().filter(|stat| is_ours(stat)).map(|stat| stat.id.pid).collect();
    let recorded = |id: &ProcessId| record.processes.iter().any(|recorded| recorded.process == *id);
    let leaders: BTreeSet<u32> = all.iter().filter(|stat| recorded(&stat.id)).map(|stat| stat.id.pid).collect();
    let belongs = |stat: &Stat, proven: &BTreeSet<u32>| {
        proven.contains(&stat.parent) || (stat.session != 0 && leaders.contains(&stat.session))
    };
    loop {
        let more = all.iter().filter(|stat| !proven.contains(&stat.id.pid) && belongs(stat, &proven));
        let more: Vec<u32> = more.map(|stat| stat.id.pid).collect();
        if more.is_empty() {
            return Ok(all.into_iter().filter(|stat| proven.contains(&stat.id.pid) && stat.lives()).collect());
        }
        proven.extend(more);
    }
}

/// Whether that path is our state directory for the process too. In a container it is one of another watchdog's.
fn sees_our_directory(pid: u32, mark: &Path) -> bool {
    let below_its_root = format!("/proc/{pid}/root{}", mark.display());
    let (Ok(ours), Ok(its)) = (fs::metadata(mark), fs::metadata(below_its_root)) else { return false };
    (ours.dev(), ours.ino()) == (its.dev(), its.ino())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::super::child::{Launch, start};
    use super::*;
    use crate::model::Member;

    fn soon() -> Moment {
        clock::now().after(Duration::from_secs(20))
    }

    fn launch(script: &str, owner: Option<&Path>) -> Launch {
        let mut environment: std::collections::BTreeMap<_, _> = std::env::vars_os().collect();
        if let Some(owner) = owner {
            environment.insert(OWNER_VARIABLE.into(), owner.into());
        }
        let arguments = vec!["-c".into(), script.into()];
        Launch { program: "sh".into(), arguments, environment, ..Launch::default() }
    }

    #[test]
    fn a_second_watchdog_on_the_same_directory_is_refused_and_told_by_whom() {
        let directory = tempfile::tempdir().unwrap();
        let first = lock(directory.path()).unwrap();
        let error = lock(directory.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        // A process that another test starts at this moment has the descriptor until it is another program.
        let bound = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while lock(directory.path()).is_err() {
            assert!(std::time::Instant::now() < bound, "a lock that was let go is not to be had");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_lock_that_a_dead_watchdog_left_to_a_child_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let mut dead = std::process::Command::new("true").spawn().unwrap();
        dead.wait().unwrap();
        let inherited = lock(directory.path()).unwrap();
        fs::write(directory.path().join("lock"), format!("{}\n", dead.id())).unwrap();
        let waiting = std::thread::scope(|scope| {
            let next = scope.spawn(|| lock(directory.path()));
            drop(inherited);
            next.join().unwrap()
        });
        waiting.unwrap();
        let holder = fs::read_to_string(directory.path().join("lock")).unwrap();
        assert_eq!(holder, format!("{}\n", std::process::id()));
    }

    #[tokio::test]
    async fn what_carries_our_mark_is_ended_and_others_are_not() {
        let (ours, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let lock = lock(ours.path()).unwrap();
        let left = start(&launch("exec sleep 1000", Some(ours.path()))).unwrap();
        let foreign = start(&launch("exec sleep 1000", Some(other.path()))).unwrap();
        let cleared = clear(&lock, ours.path(), soon()).await.unwrap();
        assert_eq!((cleared.ended, cleared.remaining), (vec![left.id()], vec![]));
        assert!(left.pidfd().is_gone() && !foreign.pidfd().is_gone());
        foreign.pidfd().signal(Signal::SIGKILL).unwrap();
    }

    #[tokio::test]
    async fn the_same_path_in_another_container_is_anothers() {
        let directory = tempfile::tempdir().unwrap();
        let lock = lock(directory.path()).unwrap();
        let there = tempfile::tempdir().unwrap();
        let up = there.path().join("up");
        let script = format!(
            "exec unshare --mount sh -c 'mount -t tmpfs none {} && echo $$ >{} && exec sleep 1000'",
            directory.path().display(),
            up.display()
        );
        let mut elsewhere = start(&launch(&script, Some(directory.path()))).unwrap();
        tokio::select! {
            _ = pid_in(&up) => {}
            // Who may mount nothing can't have this test.
            _ = elsewhere.wait() => return,
        }
        let cleared = clear(&lock, directory.path(), soon()).await.unwrap();
        assert_eq!((cleared.ended, cleared.remaining), (vec![], vec![]));
        elsewhere.pidfd().signal(Signal::SIGKILL).unwrap();
    }

    /// The pid that a process started by `script` writes to `file`.
    async fn pid_in(file: &Path) -> u32 {
        let written = || fs::read_to_string(file).ok().filter(|text| text.ends_with('\n'));
        timeout(Duration::from_secs(20), async {
            loop {
                match written() {
                    Some(text) => return text.trim().parse().unwrap(),
                    None => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        })
        .await
        .unwrap()
    }

    #[tokio::test]
    async fn a_child_without_mark_or_session_is_ended_with_its_engine() {
        let directory = tempfile::tempdir().unwrap();
        let lock = lock(directory.path()).unwrap();
        let file = directory.path().join("pid");
        let script = format!("env -i setsid sh -c 'echo $$ >{0}; exec sleep 1000' & exec sleep 1000", file.display());
        let left = start(&launch(&script, None)).unwrap();
        let hidden = Pidfd::open(pid_in(&file).await).unwrap().unwrap();
        let mut record = Record::default();
        let owner = Owner::Engine(Member::new(&"g".into(), &"e".into()).instance(1));
        record.note(directory.path(), Recorded { owner, process: left.id(), cgroup: None }).unwrap();
        let mut ended = clear(&lock, directory.path(), soon()).await.unwrap().ended;
        ended.sort();
        let mut expected = vec![left.id(), hidden.id];
        expected.sort();
        assert_eq!(ended, expected);
        assert!(hidden.is_gone());
    }

    #[tokio::test]
    async fn a_recorded_process_is_ended_only_under_its_start_time() {
        let directory = tempfile::tempdir().unwrap();
        let lock = lock(directory.path()).unwrap();
        let (left, reused) =
            (start(&launch("exec sleep 1000", None)).unwrap(), start(&launch("exec sleep 1000", None)).unwrap());
        let mut record = Record::default();
        let key = Member::new(&"g".into(), &"e".into());
        let wrong = ProcessId { started_at: reused.id().started_at - 1, ..reused.id() };
        for (owner, process) in [(Owner::Control("g".into()), wrong), (Owner::Engine(key.instance(2)), left.id())] {
            record.note(directory.path(), Recorded { owner, process, cgroup: None }).unwrap();
        }
        let cleared = clear(&lock, directory.path(), soon()).await.unwrap();
        assert_eq!(cleared.ended, [left.id()]);
        assert!(!reused.pidfd().is_gone());
        reused.pidfd().signal(Signal::SIGKILL).unwrap();
    }

    #[tokio::test]
    async fn a_garbage_record_is_told_and_is_not_fatal() {
        let directory = tempfile::tempdir().unwrap();
        let lock = lock(directory.path()).unwrap();
        fs::write(directory.path().join("processes.json"), "{\"boot").unwrap();
        let cleared = clear(&lock, directory.path(), soon()).await.unwrap();
        assert!(cleared.trouble.unwrap().contains("processes.bad"));
    }

    #[test]
    fn a_new_incarnation_takes_the_place_of_the_old_in_the_record() {
        let directory = tempfile::tempdir().unwrap();
        let mut record = Record::default();
        for incarnation in 1..=3 {
            let owner = Owner::Engine(Member::new(&"g".into(), &"e".into()).instance(incarnation));
            let process = ProcessId { pid: incarnation, started_at: 1 };
            record.note(directory.path(), Recorded { owner, process, cgroup: None }).unwrap();
        }
        assert_eq!(record.processes.len(), 1);
        assert_eq!(state_file::load(&record_path(directory.path())).unwrap(), Loaded::Saved(record));
    }
}
