//! /proc: who a process is, what it uses, who is below it, what its environment says. Reads only; the root is injected.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::own_limits;
use crate::model::{CommandLine, ProcessId, ProcessUsage};
use crate::text::plain;
use crate::text::secrets::Secrets;

/// Readings of the root's own children in one walk: what forks faster than that is found by the next walk.
const MOST_ROUNDS: u32 = 8;

/// Bytes that are read of a command line, which may have megabytes; so many characters are kept, too.
const COMMAND_BYTES: u64 = 4096;
/// Bytes that are read of an environment; a process may let it be as long as it likes.
const ENVIRONMENT_BYTES: u64 = 8 << 20;
const COMMAND_CHARACTERS: usize = 160;

/// What /proc/PID/stat says of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Identity of the process.
    pub id: ProcessId,
    /// `R`, `S`, `D`, `Z` and so on.
    pub state: char,
    /// Pid of the parent.
    pub parent: u32,
    /// Number of its process group.
    pub group: u32,
    /// The pid of the process that leads its session.
    pub session: u32,
    /// Its threads, ended leaders included.
    pub threads: u32,
    /// What it has taken, as the kernel counts it.
    pub taken: Taken,
}

/// What a process uses, in the kernel's units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Field 24, pages of host memory.
    pub pages: u64,
    /// Fields 14 and 15, clock ticks of user and system CPU time.
    pub ticks: u64,
}

impl Stat {
    /// Whether a thread of it still runs. A leader that ended before its threads shows `Z` too.
    pub fn lives(&self) -> bool {
        !matches!(self.state, 'Z' | 'X') || self.threads > 1
    }

    /// What it uses, in bytes and seconds.
    pub fn usage(&self) -> ProcessUsage {
        let resident = self.taken.pages.saturating_mul(procfs::page_size());
        let cpu = ticks(self.taken.ticks, procfs::ticks_per_second());
        ProcessUsage { process: self.id, resident, cpu, state: self.state }
    }
}

/// A number of clock ticks since boot, as processes' starts have it, as time since boot.
pub fn since_boot(started_at: u64) -> Duration {
    ticks(started_at, procfs::ticks_per_second())
}

/// The clock ticks since boot of a process that would start at this time since boot.
pub fn ticks_since_boot(time: Duration) -> u64 {
    let per_second = u128::from(procfs::ticks_per_second());
    u64::try_from(time.as_nanos() * per_second / 1_000_000_000).unwrap_or(u64::MAX)
}

/// Clock ticks as time.
fn ticks(count: u64, per_second: u64) -> Duration {
    let per_second = per_second.max(1);
    Duration::from_secs(count / per_second)
        + Duration::from_secs(count % per_second) / u32::try_from(per_second).unwrap_or(u32::MAX)
}

/// The proc file system.
#[derive(Clone, Debug)]
pub struct Procfs {
    root: PathBuf,
}

impl Procfs {
    /// The one mounted at `root`, `/proc` outside tests.
    pub fn new(root: &Path) -> Self {
        Procfs { root: root.to_owned() }
    }

    /// One process; `None`: there is none of that pid.
    pub fn stat(&self, pid: u32) -> io::Result<Option<Stat>> {
        match std::fs::read(self.root.join(pid.to_string()).join("stat")) {
            Ok(text) => parse_stat(&text).map(Some).ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/stat is not as proc(5) has it"))
            }),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Every process there is.
    pub fn all(&self) -> io::Result<Vec<Stat>> {
        let pids = numbers(&self.root)?;
        self.stats(pids)
    }

    /// Those of them that are there. One that can't be read is passed over, unless it is us who can't read.
    fn stats(&self, pids: Vec<u32>) -> io::Result<Vec<Stat>> {
        pids.into_iter().filter_map(|pid| self.known_stat(pid).transpose()).collect()
    }

    fn known_stat(&self, pid: u32) -> io::Result<Option<Stat>> {
        match self.stat(pid) {
            Err(error) if own_limits::is_ours(&error) => Err(error),
            stat => Ok(stat.ok().flatten()),
        }
    }

    /// Every process below `root`, parents before their children. Walks the kernel's lists of children,
    /// so that its cost does not depend on what else runs; where the kernel has none, scans everything.
    ///
    /// A process that loses its parent during the walk becomes a child of `root`, if that adopts orphans: the root's
    /// own list is read again after all others, so that none is missed on the way.
    pub fn below(&self, root: u32) -> io::Result<Vec<Stat>> {
        let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
        for _ in 0..MOST_ROUNDS {
            let Some(children) = self.children(root)? else {
                return Ok(select_below(&self.all()?, root));
            };
            let mut next: Vec<u32> = children.into_iter().filter(|pid| !seen.contains(pid)).collect();
            if next.is_empty() {
                break;
            }
            while let Some(pid) = next.pop() {
                let Some(stat) = self.known_stat(pid)? else { continue };
                if seen.insert(pid) {
                    found.push(stat);
                    next.extend(self.children(pid)?.unwrap_or_default());
                }
            }
        }
        Ok(found)
    }

    /// CPU time of each thread of a process, by its thread id; a process that is gone has none.
    pub fn threads(&self, pid: u32) -> io::Result<BTreeMap<u32, Duration>> {
        let tasks = self.root.join(pid.to_string()).join("task");
        let threads = match numbers(&tasks) {
            Err(error) if is_gone(&error) => return Ok(BTreeMap::new()),
            threads => threads?,
        };
        // One that ended meanwhile is left out.
        let stat = |thread: u32| parse_stat(&std::fs::read(tasks.join(thread.to_string()).join("stat")).ok()?);
        let taken = |thread: u32| Some((thread, stat(thread)?.usage().cpu));
        Ok(threads.into_iter().filter_map(taken).collect())
    }

    /// Living and unreaped children of one process.
    pub fn children_of(&self, parent: u32) -> io::Result<Vec<Stat>> {
        match self.children(parent)? {
            Some(pids) => self.stats(pids),
            None => Ok(self.all()?.into_iter().filter(|stat| stat.parent == parent).collect()),
        }
    }

    /// Children of all threads of a process; `None`: this kernel has no such lists.
    fn children(&self, pid: u32) -> io::Result<Option<Vec<u32>>> {
        let tasks = self.root.join(pid.to_string()).join("task");
        let threads = match numbers(&tasks) {
            Ok(threads) => threads,
            Err(error) if is_gone(&error) => return Ok(Some(Vec::new())),
            Err(error) => return Err(error),
        };
        let mut children = Vec::new();
        for thread in threads {
            let directory = tasks.join(thread.to_string());
            match std::fs::read_to_string(directory.join("children")) {
                Ok(text) => children.extend(text.split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok())),
                Err(error) if is_gone(&error) && directory.exists() => return Ok(None),
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Some(children))
    }

    /// What a process was started as, else its name in brackets (a zombie has no command line). `None`: there is
    /// no process of that pid in sight. It is a stranger's: the secrets in it are hidden here, before anybody has it.
    /// May wait for a process that the driver holds.
    pub fn command(&self, pid: u32, secrets: &Secrets) -> io::Result<Option<CommandLine>> {
        let Some(stat) = self.stat(pid)? else { return Ok(None) };
        let said = self.beginning(pid, "cmdline").map(|bytes| readable(&words(&bytes), secrets)).unwrap_or_default();
        let text = if said.is_empty() {
            let name = self.beginning(pid, "comm").map(|bytes| plain::one_line(&String::from_utf8_lossy(&bytes)));
            format!("[{}]", name.unwrap_or_default())
        } else {
            said
        };
        Ok(Some(CommandLine { process: stat.id, text }))
    }

    /// The words that a process was started with, up to a bound, its secrets hidden; none: it has none, or is not there.
    pub fn command_words(&self, pid: u32, secrets: &Secrets) -> Vec<String> {
        self.beginning(pid, "cmdline").map(|bytes| secrets.strangers_command(&words(&bytes))).unwrap_or_default()
    }

    /// The beginning of the command line of a process, its words with a space between them; `None`: it has none, or is
    /// not there.
    pub fn command_line(&self, pid: u32) -> Option<String> {
        let words = words(&self.beginning(pid, "cmdline").ok()?);
        (!words.is_empty()).then(|| words.join(" "))
    }

    /// Whether a process is of this user and of no other: by its real, effective, saved and file system uid.
    pub fn is_of_user(&self, pid: u32, uid: u32) -> bool {
        let status = self.beginning(pid, "status").unwrap_or_default();
        let text = String::from_utf8_lossy(&status);
        let uids = text.lines().find_map(|line| line.strip_prefix("Uid:"));
        let uids: Vec<&str> = uids.map(|uids| uids.split_whitespace().collect()).unwrap_or_default();
        !uids.is_empty() && uids.iter().all(|known| known.parse() == Ok(uid))
    }

    fn beginning(&self, pid: u32, file: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(self.root.join(pid.to_string()).join(file))?.take(COMMAND_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Bytes of host memory that are left for new processes: MemAvailable; `None`: this kernel does not say.
    pub fn available(&self) -> Option<u64> {
        let text = std::fs::read_to_string(self.root.join("meminfo")).ok()?;
        let kib =
            text.lines().find_map(|line| line.strip_prefix("MemAvailable:")?.strip_suffix("kB")?.trim().parse().ok());
        kib.map(|kib: u64| kib.saturating_mul(1024))
    }

    /// A variable of the environment that a process was started with; `None`: unset, or not ours to read.
    pub fn environment(&self, pid: u32, name: &str) -> Option<String> {
        let mut text = Vec::new();
        let file = File::open(self.root.join(pid.to_string()).join("environ")).ok()?;
        file.take(ENVIRONMENT_BYTES).read_to_end(&mut text).ok()?;
        let value =
            text.split(|byte| *byte == 0).find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
        Some(String::from_utf8_lossy(value).into_owned())
    }

    /// The machine's boot, by its random name.
    pub fn boot_id(&self) -> io::Result<String> {
        Ok(std::fs::read_to_string(self.root.join("sys/kernel/random/boot_id"))?.trim().to_owned())
    }
}

/// ESRCH comes when a process ends between open and read.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(nix::libc::ESRCH)
}

/// Names in a directory that are numbers.
fn numbers(directory: &Path) -> io::Result<Vec<u32>> {
    let entries = std::fs::read_dir(directory)?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
}

/// Arguments, each of which ends in a zero. Of what was not read to its end the last one goes: half a secret has no
/// shape to be known by. Zeros that `setproctitle` leaves behind are no arguments.
fn words(bytes: &[u8]) -> Vec<String> {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let mut words: Vec<_> = bytes[..end].split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    let is_cut = bytes.len() as u64 >= COMMAND_BYTES && bytes.last() != Some(&0);
    if is_cut {
        let last = words.pop().unwrap_or_default();
        // A title is one word with blanks in it.
        words.extend(last.rfind(' ').map(|end| last[..end].to_owned().into()));
        words.push("...".into());
    }
    words.into_iter().map(Cow::into_owned).collect()
}

/// One line for people, without secrets, which are hidden before anything is cut off.
fn readable(words: &[String], secrets: &Secrets) -> String {
    let text = plain::one_line(&secrets.strangers_command(words).join(" "));
    let mut line: String = text.chars().take(COMMAND_CHARACTERS).collect();
    if text.chars().nth(COMMAND_CHARACTERS).is_some() {
        line.push_str("...");
    }
    line
}

/// The fields of one stat line. The command's name may hold spaces and parentheses: fields count from its end.
fn parse_stat(text: &[u8]) -> Option<Stat> {
    let text = String::from_utf8_lossy(text);
    let pid = text.split_ascii_whitespace().next()?.parse().ok()?;
    let after_name = &text[text.rfind(')')? + 1..];
    let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Stat {
        id: ProcessId { pid, started_at: number(22)? },
        state: fields.first()?.chars().next()?,
        parent: u32::try_from(number(4)?).ok()?,
        group: u32::try_from(number(5)?).ok()?,
        session: u32::try_from(number(6)?).ok()?,
        threads: u32::try_from(number(20)?).ok()?,
        taken: Taken { pages: number(24)?, ticks: number(14)?.checked_add(number(15)?)? },
    })
}

/// Those of `all` below `root`, parents first.
fn select_below(all: &[Stat], root: u32) -> Vec<Stat> {
    let mut by_parent: BTreeMap<u32, Vec<&Stat>> = BTreeMap::new();
    for stat in all {
        by_parent.entry(stat.parent).or_default().push(stat);
    }
    let (mut found, mut next) = (Vec::new(), vec![root]);
    while let Some(parent) = next.pop() {
        // Removed, so that no circle of parents can hold the walk.
        for stat in by_parent.remove(&parent).unwrap_or_default() {
            found.push(*stat);
            next.push(stat.id.pid);
        }
    }
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::fs;

    use super::*;

    fn process(root: &Path, pid: u32, parent: u32, state: char, threads: u32, children: Option<&str>) {
        let task = root.join(format!("{pid}/task/{pid}"));
        fs::create_dir_all(&task).unwrap();
        let line = format!(
            "{pid} (a ) R 9 (x) {state} {parent} {pid} {pid} 0 -1 0 0 0 0 0 {pid}00 50 0 0 20 0 {threads} 0 {} 0 300\n",
            pid * 10
        );
        fs::write(root.join(format!("{pid}/stat")), line).unwrap();
        if let Some(children) = children {
            fs::write(task.join("children"), children).unwrap();
        }
    }

    fn pids(stats: &[Stat]) -> Vec<u32> {
        let mut pids: Vec<u32> = stats.iter().map(|stat| stat.id.pid).collect();
        pids.sort();
        pids
    }

    #[test]
    fn memory_that_is_left_is_what_the_kernel_says() {
        let directory = tempfile::tempdir().unwrap();
        let procfs = Procfs::new(directory.path());
        assert_eq!(procfs.available(), None);
        let text = "MemTotal:       131072 kB\nMemFree:  1 kB\nMemAvailable:    65536 kB\n";
        std::fs::write(directory.path().join("meminfo"), text).unwrap();
        assert_eq!(procfs.available(), Some(64 << 20));
        std::fs::write(directory.path().join("meminfo"), "MemAvailable: all of it\n").unwrap();
        assert_eq!(procfs.available(), None);
    }

    #[test]
    fn a_command_name_with_parentheses_does_not_shift_the_fields() {
        let root = tempfile::tempdir().unwrap();
        process(root.path(), 7, 3, 'S', 2, None);
        let stat = Procfs::new(root.path()).stat(7).unwrap().unwrap();
        assert_eq!(stat.id, ProcessId { pid: 7, started_at: 70 });
        assert_eq!((stat.state, stat.parent, stat.session, stat.threads), ('S', 3, 7, 2));
        assert_eq!(stat.taken, Taken { pages: 300, ticks: 750 });
        assert_eq!(stat.usage().resident, 300 * procfs::page_size());
    }

    #[test]
    fn ticks_are_whole_times_however_many() {
        assert_eq!(ticks(750, 100), Duration::from_millis(7500));
        assert_eq!(ticks(1, 1024), Duration::from_nanos(976_562));
        assert_eq!(ticks(u64::MAX, 1), Duration::from_secs(u64::MAX));
    }

    #[test]
    fn the_time_of_each_thread_is_known_and_a_process_that_is_gone_has_none() {
        let threads = Procfs::new(Path::new("/proc")).threads(std::process::id()).unwrap();
        assert!(threads.contains_key(&std::process::id()) && threads.len() > 1, "{threads:?}");
        assert!(Procfs::new(Path::new("/nowhere")).threads(1).unwrap().is_empty());
    }

    #[test]
    fn our_own_memory_and_time_are_known() {
        let usage = Procfs::new(Path::new("/proc")).stat(std::process::id()).unwrap().unwrap().usage();
        assert!(usage.resident > 1 << 20 && usage.cpu < Duration::from_secs(86_400), "{usage:?}");
    }

    #[test]
    fn descendants_are_found_with_and_without_the_lists_of_children() {
        for lists in [true, false] {
            let root = tempfile::tempdir().unwrap();
            let list = |text: &'static str| lists.then_some(text);
            process(root.path(), 1, 0, 'S', 1, list("2 5"));
            process(root.path(), 2, 1, 'S', 1, list("3 4 "));
            process(root.path(), 3, 2, 'S', 1, list(""));
            process(root.path(), 4, 2, 'D', 1, list(""));
            process(root.path(), 5, 1, 'S', 1, list(""));
            let procfs = Procfs::new(root.path());
            assert_eq!(pids(&procfs.below(2).unwrap()), [3, 4], "lists: {lists}");
            assert_eq!(pids(&procfs.below(1).unwrap()), [2, 3, 4, 5], "lists: {lists}");
            assert_eq!(pids(&procfs.below(9).unwrap()), [] as [u32; 0]);
        }
    }

    fn command(root: &Path, cmdline: &[u8]) -> String {
        process(root, 8, 1, 'S', 1, None);
        fs::write(root.join("8/cmdline"), cmdline).unwrap();
        fs::write(root.join("8/comm"), "python3\n").unwrap();
        Procfs::new(root).command(8, &Secrets::new().unwrap()).unwrap().unwrap().text
    }

    #[test]
    fn a_command_line_is_one_bounded_line_that_drives_no_terminal() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(command(root.path(), b"python3\0train.py\0--lr\0 1\0"), "python3 train.py --lr 1");
        assert_eq!(command(root.path(), b"a\x1b[31mb\xff\x1bc\xe2\x80\xae\0"), "ab\u{fffd}\u{fffd}c\u{fffd}");
        let long = command(root.path(), &b"x\0".repeat(1 << 20));
        assert_eq!(long.len(), COMMAND_CHARACTERS + 3);
    }

    #[test]
    fn no_secret_of_a_stranger_is_read_also_where_it_is_cut() {
        let root = tempfile::tempdir().unwrap();
        let line =
            b"run\0--api-key\0sk-FORsecret0123456789abcdef\0--password\0FORplain4711\0--url\0http://u:FORurl@h/\0";
        let told = command(root.path(), line);
        assert_eq!(told, "run --api-key [redacted] --password [redacted] --url http://[redacted]@h/");
        // A title in the arguments' place.
        assert_eq!(command(root.path(), b"run --api-key hunter2 --n 1\0\0\0"), "run --api-key [redacted] --n 1");
        // The 160th character stands in the secret, and the last byte that is read.
        for before in [140, COMMAND_BYTES as usize - 20] {
            let line = [b"r".repeat(before - 20), b"\0--api-key=sk-FORsecret0123456789abcdef\0".to_vec()].concat();
            let told = command(root.path(), &line);
            assert!(!told.contains("FOR"), "{told}");
        }
    }

    #[test]
    fn a_process_without_a_command_line_is_named_in_brackets_and_one_that_is_gone_is_none() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(command(root.path(), b""), "[python3]");
        assert_eq!(Procfs::new(root.path()).command(9, &Secrets::new().unwrap()).unwrap(), None);
    }

    #[test]
    fn a_zombie_leader_with_running_threads_lives() {
        let root = tempfile::tempdir().unwrap();
        process(root.path(), 2, 1, 'Z', 3, None);
        process(root.path(), 3, 1, 'Z', 1, None);
        let procfs = Procfs::new(root.path());
        assert!(procfs.stat(2).unwrap().unwrap().lives());
        assert!(!procfs.stat(3).unwrap().unwrap().lives());
    }

    #[test]
    fn garbage_in_stat_is_an_error_that_names_it() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("8")).unwrap();
        fs::write(root.path().join("8/stat"), "garbage").unwrap();
        let error = Procfs::new(root.path()).stat(8).unwrap_err();
        assert!(error.to_string().contains("/proc/8/stat"));
    }

    #[test]
    fn the_environment_is_read_by_whole_names() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("8")).unwrap();
        fs::write(root.path().join("8/environ"), b"AB=1\0A=2=3\0").unwrap();
        let procfs = Procfs::new(root.path());
        assert_eq!(procfs.environment(8, "A").as_deref(), Some("2=3"));
        assert_eq!(procfs.environment(8, "B"), None);
    }
}
