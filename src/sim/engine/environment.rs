//! What `setproctitle` does to a process's environment: a reader of /proc finds NULs, while the process and its
//! children have their variables as before.

use std::env;
use std::fs;
use std::io;

use crate::Args;

/// Overwrites the environment, unless the engine is a plain one. To be called while there is one thread.
pub(super) fn wipe(args: &Args) -> io::Result<()> {
    if args.has("plain") {
        return Ok(());
    }
    let (begin, end) = area()?;
    for (name, value) in env::vars_os() {
        // SAFETY: no other thread is there. The C library keeps a variable that is set in memory of its own, so that
        // nothing refers to the area any more.
        unsafe { env::set_var(name, value) };
    }
    // SAFETY: the kernel says where this process's own environment lies; it is writable, and no variable is in it now.
    unsafe { std::ptr::write_bytes(begin as *mut u8, 0, end - begin) };
    Ok(())
}

/// Where the kernel put the environment at the process's start: `env_start` and `env_end` of proc_pid_stat(5).
fn area() -> io::Result<(usize, usize)> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    bounds(&stat).ok_or_else(|| io::Error::other("/proc/self/stat does not say where the environment lies"))
}

/// Fields 50 and 51; the second is a name in parentheses, the third the first after them.
fn bounds(stat: &str) -> Option<(usize, usize)> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(50 - 3).map_while(|field| field.parse().ok());
    let (begin, end) = (fields.next()?, fields.next()?);
    (begin > 0 && begin < end).then_some((begin, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_area_is_found_behind_any_name() {
        let numbers: Vec<String> = (4..=52).map(|field| (field * 1000).to_string()).collect();
        let stat = format!("17 (a) b (c) S {}", numbers.join(" "));
        assert_eq!(bounds(&stat), Some((50_000, 51_000)));
        assert_eq!(bounds("17 (a) S 1 2 3"), None);
        assert_eq!(bounds(&stat.replace("50000", "0").replace("51000", "0")), None);
    }
}
