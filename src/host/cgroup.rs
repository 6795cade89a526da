//! Control groups, version 2: one for each engine, below our own, where we may make them. Without them
//! everything works by sessions.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::cgroup_words::{no_memory_controller, no_version_2, refused};
use super::own_limits;
use super::procfs::Procfs;

/// Where the cgroups of this watchdog's engines are made.
#[derive(Clone, Debug)]
pub struct Cgroups {
    own: PathBuf,
    base: PathBuf,
}

/// One engine's cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroups {
    /// Cgroups below the one that this process is in, or why there are none.
    pub fn find() -> Result<Cgroups, String> {
        let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
        let (mountinfo, cgroup) = (read("/proc/self/mountinfo")?, read("/proc/self/cgroup")?);
        let own = own_directory(&mountinfo, &cgroup).ok_or_else(|| no_version_2(&mountinfo, &cgroup))?;
        Cgroups::below(&own)
    }

    /// Cgroups below the one at `own`. The directory carries our pid: two watchdogs in one cgroup stay apart. A kernel
    /// before 5.14 has no cgroup.kill: there processes are ended one by one.
    pub fn below(own: &Path) -> Result<Cgroups, String> {
        let base = own.join(format!("mpswarden.{}", std::process::id()));
        let cgroups = Cgroups { own: own.to_owned(), base };
        make_directory(&cgroups.base).map_err(|error| refused(&cgroups.base, &error))?;
        if !cgroups.base.join("cgroup.procs").exists() {
            cgroups.remove();
            return Err(format!("{} is in no cgroup file system: it has no cgroup.procs", cgroups.base.display()));
        }
        cgroups.remove_those_of_the_dead(|pid| Path::new("/proc").join(pid.to_string()).exists());
        Ok(cgroups)
    }

    /// Removes what earlier watchdogs left beside ours, where nothing is in it: only empty directories can be removed
    /// there.
    fn remove_those_of_the_dead(&self, lives: impl Fn(u32) -> bool) {
        for entry in fs::read_dir(&self.own).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let pid = name.to_str().and_then(|name| name.strip_prefix("mpswarden.")?.parse::<u32>().ok());
            if pid.is_some_and(|pid| pid != std::process::id() && !lives(pid)) {
                let _ = Cgroup { path: entry.path() }.remove();
            }
        }
    }

    /// An empty cgroup of that name. A memory limit is set where the controller can be had; why one could not be set
    /// comes beside, with file and cure.
    pub fn create(&self, name: &str, memory_max: Option<u64>) -> io::Result<(Cgroup, Option<String>)> {
        let cgroup = Cgroup { path: self.base.join(name.replace('/', "_")) };
        make_directory(&self.base)?;
        make_directory(&cgroup.path)?;
        if !cgroup.processes()?.is_empty() {
            return Err(io::Error::other(format!("{} still holds processes", cgroup.path.display())));
        }
        let limited = memory_max.map_or(Ok(()), |bytes| self.limit_memory(&cgroup, bytes));
        Ok((cgroup, limited.err()))
    }

    /// Controllers are given only by a cgroup without processes of its own: ours, and what we started in it (the
    /// control daemons), go into a leaf first. Processes that are not ours stay, and are named as the reason.
    fn limit_memory(&self, cgroup: &Cgroup, bytes: u64) -> Result<(), String> {
        let limit = cgroup.path.join("memory.max");
        if !limit.exists() {
            if let Some(why) = no_memory_controller(&self.own, &limit) {
                return Err(why);
            }
            let leaf = self.own.join("watchdog");
            make_directory(&leaf).map_err(|error| refused(&leaf, &error))?;
            for pid in self.our_processes().map_err(|error| refused(&self.own.join("cgroup.procs"), &error))? {
                // One that ended meanwhile needs no move.
                let _ = fs::write(leaf.join("cgroup.procs"), pid.to_string());
            }
            for giver in [&self.own, &self.base] {
                let file = giver.join("cgroup.subtree_control");
                fs::write(&file, "+memory").map_err(|error| refused(&file, &error))?;
            }
        }
        fs::write(&limit, bytes.to_string()).map_err(|error| refused(&limit, &error))
    }

    /// Those of our processes that are in our own cgroup itself.
    fn our_processes(&self) -> io::Result<Vec<u32>> {
        let own = std::process::id();
        let below = Procfs::new(Path::new("/proc")).below(own)?;
        let ours: Vec<u32> = std::iter::once(own).chain(below.iter().map(|stat| stat.id.pid)).collect();
        let text = fs::read_to_string(self.own.join("cgroup.procs"))?;
        Ok(text.lines().filter_map(|pid| pid.parse().ok()).filter(|pid| ours.contains(pid)).collect())
    }

    /// Removes our directory; it stays while an engine's cgroup is there.
    pub fn remove(&self) {
        let _ = fs::remove_dir(&self.base);
    }
}

impl Cgroup {
    /// One that an earlier run made.
    pub fn at(path: &Path) -> Cgroup {
        Cgroup { path: path.to_owned() }
    }

    /// Directory of the cgroup.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Pids in it and below it; none when it is not there.
    pub fn processes(&self) -> io::Result<Vec<u32>> {
        let text = match fs::read_to_string(self.path.join("cgroup.procs")) {
            Ok(text) => text,
            Err(error) if matches!(error.raw_os_error(), Some(nix::libc::ENOENT | nix::libc::ENODEV)) => {
                return Ok(vec![]);
            }
            Err(error) => return Err(error),
        };
        let mut pids: Vec<u32> = text.lines().filter_map(|pid| pid.parse().ok()).collect();
        for below in self.below()? {
            pids.extend(below.processes()?);
        }
        Ok(pids)
    }

    /// How many processes in it and below it the kernel's OOM killer took since it was made; `None`: the memory
    /// controller does not count here.
    pub fn oom_kills(&self) -> Option<u64> {
        count_of("oom_kill", &fs::read_to_string(self.path.join("memory.events")).ok()?)
    }

    /// KILL to all in it and below it, also to what is forked meanwhile.
    pub fn kill(&self) -> io::Result<()> {
        fs::write(self.path.join("cgroup.kill"), "1")
    }

    /// Removes it and those below it; it stays while it holds a process.
    pub fn remove(&self) -> io::Result<()> {
        for below in self.below()? {
            below.remove()?;
        }
        match fs::remove_dir(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The cgroups below this one. That we can't look does not mean that there are none.
    fn below(&self) -> io::Result<Vec<Cgroup>> {
        let entries = match fs::read_dir(&self.path) {
            Err(error) if own_limits::is_ours(&error) => return Err(error),
            entries => entries.into_iter().flatten().flatten(),
        };
        let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        Ok(directories.map(|entry| Cgroup { path: entry.path() }).collect())
    }
}

/// A count of memory.events, lines of a name and a number.
fn count_of(name: &str, events: &str) -> Option<u64> {
    events.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

fn make_directory(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Our own cgroup's directory, from /proc/self/mountinfo and /proc/self/cgroup. In a hybrid hierarchy
/// the version 2 part is mounted beside the others.
fn own_directory(mountinfo: &str, cgroup: &str) -> Option<PathBuf> {
    let own = Path::new(cgroup.lines().find_map(|line| line.strip_prefix("0::"))?);
    mountinfo.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        if kind.split(' ').next()? != "cgroup2" {
            return None;
        }
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        let below = own.strip_prefix(root).ok()?;
        // A path that climbs out of the mount is of another namespace.
        below.components().all(|part| part.as_os_str() != "..").then(|| Path::new(point).join(below))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn our_own_directory_is_found_in_each_hierarchy() {
        let pure = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate";
        let own = own_directory(pure, "0::/system.slice/mpswarden.service\n").unwrap();
        assert_eq!(own, Path::new("/sys/fs/cgroup/system.slice/mpswarden.service"));
        let hybrid = "31 30 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      32 30 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";
        assert_eq!(own_directory(hybrid, "4:memory:/x\n0::/\n").unwrap(), Path::new("/sys/fs/cgroup/unified/"));
        let inside = "30 23 0:26 /docker/ab /sys/fs/cgroup ro - cgroup2 cgroup rw";
        assert_eq!(own_directory(inside, "0::/docker/ab/c\n").unwrap(), Path::new("/sys/fs/cgroup/c"));
        assert_eq!(own_directory(inside, "0::/elsewhere\n"), None);
        assert_eq!(own_directory(pure, "0::/../outside\n"), None);
        assert_eq!(own_directory("", ""), None);
    }

    #[test]
    fn what_is_no_cgroup_file_system_is_refused_with_the_reason_and_left_clean() {
        let directory = tempfile::tempdir().unwrap();
        let why = Cgroups::below(directory.path()).unwrap_err();
        assert!(why.contains("cgroup.procs"), "{why}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        assert!(Cgroups::below(Path::new("/no/such/place")).unwrap_err().contains("/no/such/place"));
    }

    #[test]
    fn the_oom_killers_work_is_counted_where_the_memory_controller_is() {
        let directory = tempfile::tempdir().unwrap();
        let cgroup = Cgroup::at(directory.path());
        assert_eq!(cgroup.oom_kills(), None);
        let events = "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n";
        fs::write(directory.path().join("memory.events"), events).unwrap();
        assert_eq!(cgroup.oom_kills(), Some(2));
        assert_eq!(count_of("oom_kill", "oom 1\noom_kill\noom_kill many\n"), None);
        assert_eq!(count_of("oom_kill", ""), None);
    }

    #[test]
    fn processes_of_cgroups_below_are_counted_in() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("below")).unwrap();
        fs::write(directory.path().join("cgroup.procs"), "1\n2\n").unwrap();
        fs::write(directory.path().join("below/cgroup.procs"), "3\n").unwrap();
        assert_eq!(Cgroup::at(directory.path()).processes().unwrap(), [1, 2, 3]);
        assert_eq!(Cgroup::at(Path::new("/no/such/place")).processes().unwrap(), [] as [u32; 0]);
    }

    #[test]
    fn only_what_is_ours_makes_room_for_a_limit() {
        let directory = tempfile::tempdir().unwrap();
        let own = std::process::id();
        fs::write(directory.path().join("cgroup.procs"), format!("1\n{own}\n")).unwrap();
        let cgroups = Cgroups { own: directory.path().to_owned(), base: directory.path().join("base") };
        assert_eq!(cgroups.our_processes().unwrap(), [own]);
    }

    #[test]
    fn empty_ones_of_dead_watchdogs_are_removed_and_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let own = std::process::id();
        for name in
            [&format!("mpswarden.{own}"), "mpswarden.7", "mpswarden.8/g.e0", "mpswarden.9/g.e0", "mpswarden.x", "g"]
        {
            fs::create_dir_all(directory.path().join(name)).unwrap();
        }
        // Stands for a process: such a directory can't be removed.
        fs::write(directory.path().join("mpswarden.9/g.e0/cgroup.procs"), "5").unwrap();
        let cgroups = Cgroups { own: directory.path().to_owned(), base: directory.path().join("base") };
        cgroups.remove_those_of_the_dead(|pid| pid == 7);
        let entries = fs::read_dir(directory.path()).unwrap();
        let mut left: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        let mut expected =
            ["g", &format!("mpswarden.{own}"), "mpswarden.7", "mpswarden.9", "mpswarden.x"].map(str::to_owned);
        expected.sort();
        assert_eq!(left, expected);
    }

    #[test]
    fn a_limit_that_can_not_be_set_names_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let cgroups = Cgroups { own: directory.path().to_owned(), base: directory.path().join("base") };
        let (cgroup, why) = cgroups.create("g.e", Some(1 << 30)).unwrap();
        let why = why.unwrap();
        assert!(why.contains("g.e/memory.max is not there"), "{why}");
        fs::write(cgroup.path().join("memory.max"), "max").unwrap();
        assert_eq!(cgroups.create("g.e", Some(1 << 30)).unwrap().1, None);
        assert_eq!(fs::read_to_string(cgroup.path().join("memory.max")).unwrap(), (1 << 30).to_string());
    }
}
