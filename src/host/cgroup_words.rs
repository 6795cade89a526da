//! Why a cgroup can't do what is wanted of it here: which file, why, and the cure. Pure but for two small files.

use std::fs;
use std::io;
use std::path::Path;

use nix::libc::{EACCES, EBUSY, ENOENT, EOPNOTSUPP, EPERM, EROFS};

const DELEGATE: &str = "give mpswarden a cgroup of its own (systemd: Delegate=yes)";

/// An error of reading or writing in a cgroup, with its file, its reason and its cure.
pub(super) fn refused(file: &Path, error: &io::Error) -> String {
    let file = file.display();
    match error.raw_os_error() {
        Some(EBUSY) => {
            format!("{file}: other processes are in that cgroup, which then gives no controller on: {DELEGATE}")
        }
        Some(EROFS) => format!(
            "{file}: the cgroup file system is mounted read-only, as containers have it: mount it writable with a cgroup \
             namespace of its own, or set the limit of the container"
        ),
        Some(EACCES | EPERM) => format!("{file}: this user may not write it: {DELEGATE}"),
        Some(ENOENT) => {
            format!("{file}: the controller can't be had there, the cgroup above does not give it on: {DELEGATE}")
        }
        Some(EOPNOTSUPP) => {
            format!("{file}: that cgroup is a threaded one, which has no memory controller: {DELEGATE}")
        }
        _ => format!("{file}: {error}"),
    }
}

/// Why there is no memory controller in the cgroup at `own`; `None`: there is.
pub(super) fn no_memory_controller(own: &Path, limit: &Path) -> Option<String> {
    let available = fs::read_to_string(own.join("cgroup.controllers")).unwrap_or_default();
    if available.split_whitespace().any(|controller| controller == "memory") {
        return None;
    }
    let ours = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let controllers = fs::read_to_string("/proc/cgroups").unwrap_or_default();
    Some(explain(&ours, &controllers, &own.join("cgroup.controllers"), limit))
}

/// Why the memory controller is missing, by /proc/self/cgroup and /proc/cgroups.
fn explain(ours: &str, controllers: &str, available: &Path, limit: &Path) -> String {
    let (limit, available) = (limit.display(), available.display());
    if in_version_1(ours, "memory") {
        return format!(
            "{limit} is not there: the memory controller is in cgroup version 1 here (a hybrid hierarchy), and only one \
             of both has it: boot with systemd.unified_cgroup_hierarchy=1, or limit the memory of the whole service from \
             outside"
        );
    }
    let off = controllers.lines().any(|line| line.starts_with("memory\t") && line.trim_end().ends_with("\t0"));
    if off || !controllers.lines().any(|line| line.starts_with("memory\t")) {
        return format!(
            "{limit} is not there: this kernel's memory controller is off: boot without cgroup_disable=memory"
        );
    }
    format!("{limit} is not there: {available} has no `memory`, the cgroup above does not give it on: {DELEGATE}")
}

/// Why there is no cgroup of version 2 to work in, from /proc/self/mountinfo and /proc/self/cgroup.
pub(super) fn no_version_2(mountinfo: &str, ours: &str) -> String {
    let mounted = |kind: &str| {
        let kinds = mountinfo.lines().filter_map(|line| line.split_once(" - ")?.1.split(' ').next());
        kinds.into_iter().any(|found| found == kind)
    };
    if mounted("cgroup2") {
        return "the cgroup2 file system that is mounted does not show our own cgroup (another cgroup namespace): mount \
                it anew in the container, or run it with a cgroup namespace of its own"
            .to_owned();
    }
    match mounted("cgroup") || ours.lines().any(|line| !line.starts_with("0::") && line.contains(':')) {
        true => "cgroups are wholly version 1 here, and version 2 is needed: boot with \
                 systemd.unified_cgroup_hierarchy=1"
            .to_owned(),
        false => "no cgroup2 file system is mounted: mount it at /sys/fs/cgroup".to_owned(),
    }
}

/// A line of version 1 is `number:controllers:path`; that of version 2 is `0::path`.
fn in_version_1(ours: &str, controller: &str) -> bool {
    let lists = ours.lines().filter_map(|line| line.split(':').nth(1));
    lists.into_iter().any(|list| list.split(',').any(|found| found == controller))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ON: &str = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t0\t9\t1\nmemory\t0\t99\t1\n";

    fn told(ours: &str, controllers: &str) -> String {
        explain(ours, controllers, Path::new("/c/cgroup.controllers"), Path::new("/c/g.e/memory.max"))
    }

    #[test]
    fn a_missing_memory_controller_is_told_by_file_and_reason() {
        let hybrid = told("4:cpu,memory:/x\n0::/\n", ON);
        assert!(hybrid.starts_with("/c/g.e/memory.max is not there") && hybrid.contains("version 1"), "{hybrid}");
        let off = told("0::/x\n", "cpu\t0\t9\t1\nmemory\t0\t1\t0\n");
        assert!(off.contains("cgroup_disable=memory"), "{off}");
        let above = told("0::/x\n", ON);
        assert!(above.contains("/c/cgroup.controllers has no `memory`") && above.contains("Delegate=yes"), "{above}");
    }

    #[test]
    fn what_a_cgroup_refuses_is_told_by_file_reason_and_cure() {
        let words = |number| refused(Path::new("/c/f"), &io::Error::from_raw_os_error(number));
        for (number, word) in [
            (EBUSY, "other processes"),
            (EROFS, "read-only"),
            (EACCES, "may not write"),
            (EPERM, "Delegate=yes"),
            (ENOENT, "does not give it on"),
            (EOPNOTSUPP, "threaded"),
        ] {
            let told = words(number);
            assert!(told.starts_with("/c/f: ") && told.contains(word), "{told}");
        }
    }

    #[test]
    fn hosts_without_version_2_are_told_apart() {
        let version_1 = "31 30 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu";
        assert!(no_version_2(version_1, "4:memory:/x\n").contains("wholly version 1"));
        assert!(
            no_version_2("30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw", "0::/../x\n").contains("namespace")
        );
        assert!(no_version_2("", "").contains("no cgroup2 file system"));
    }
}
