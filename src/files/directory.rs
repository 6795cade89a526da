//! Whether a directory can be trusted: none but root and this user owns it or one above it, or may put other files in
//! the place of ours there. As sshd's StrictModes.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Group, Uid, User, getegid, geteuid};

/// Links within links that are followed.
const MOST_LINKS: u32 = 16;
const STICKY: u32 = 0o1000;
/// Groups below are the system's own: Debian and Ubuntu let some of them write to /var/log.
const FIRST_USERS_GROUP: u32 = 1000;

/// Why a directory is not used, and the cure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} `{wanted}` is not safe to use: {why}")]
pub struct Untrusted {
    /// Which one, in the configuration's words.
    pub what: &'static str,
    /// The directory that was to be used.
    pub wanted: PathBuf,
    /// What is wrong, where, and the cure.
    pub why: String,
}

impl From<Untrusted> for io::Error {
    fn from(untrusted: Untrusted) -> Self {
        io::Error::new(io::ErrorKind::PermissionDenied, untrusted.why)
    }
}

/// What a directory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Files that are written and believed: no other user may put another in their place.
    Files,
    /// Sockets that others connect to: its owner may have opened the directory to all.
    Sockets,
}

/// Looks at a directory that need not be there yet, at those above it, and at where links on the way lead. Links of
/// root and of this user are followed. Makes and changes nothing.
pub fn check_directory(what: &'static str, path: &Path, holds: Holds) -> Result<(), Untrusted> {
    let ours = Ours { holds, user: geteuid().as_raw(), group: getegid().as_raw(), beyond: user_beyond() };
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    ours.check(&whole, true, 0).map_err(|why| Untrusted { what, wanted: path.to_owned(), why })
}

/// Whom nothing has to be feared from.
struct Ours {
    holds: Holds,
    user: u32,
    group: u32,
    /// The number that stands for everybody outside, in a user namespace.
    beyond: Option<u32>,
}

impl Ours {
    fn check(&self, path: &Path, last: bool, links: u32) -> Result<(), String> {
        let mut above: Vec<&Path> = path.ancestors().collect();
        above.reverse();
        for (index, &directory) in above.iter().enumerate() {
            let found = match fs::symlink_metadata(directory) {
                Ok(found) => found,
                // What is made below a trusted directory is ours; what can't be seen can't be used, as will be
                // reported.
                Err(_) => return Ok(()),
            };
            let last = last && index + 1 == above.len();
            if found.is_symlink() {
                self.check_link(directory, &found, last, links)?;
            } else if found.is_dir() {
                self.check_owner(directory, &found, last)?;
                self.check_mode(directory, &found, last)?;
            } else {
                // The function that makes what is below it reports that.
                return Ok(());
            }
        }
        Ok(())
    }

    fn check_link(&self, path: &Path, found: &Metadata, last: bool, links: u32) -> Result<(), String> {
        let place = path.display();
        if !self.trusts(found.uid(), last) {
            let owner = user(found.uid());
            return Err(format!("`{place}` is a link, which {owner} made: remove it, or name another directory"));
        }
        let to = fs::read_link(path).map_err(|error| format!("`{place}` is a link that can't be read: {error}"))?;
        let to = path.parent().unwrap_or(Path::new("/")).join(to);
        if links >= MOST_LINKS {
            return Err(format!("`{place}` is a link that leads in a circle: name a directory"));
        }
        if fs::metadata(path).is_err() {
            return Err(format!(
                "`{place}` is a link to `{}`, which is not there: make it, or name another",
                to.display()
            ));
        }
        self.check(&lexical(&to), last, links + 1)
    }

    fn check_owner(&self, path: &Path, found: &Metadata, last: bool) -> Result<(), String> {
        if self.trusts(found.uid(), last) {
            return Ok(());
        }
        let (place, owner, we) = (path.display(), user(found.uid()), user(self.user));
        Err(format!(
            "`{place}` belongs to {owner}, who can put anything there: `chown {} {place}`, or name a directory of {we}",
            self.user
        ))
    }

    fn check_mode(&self, path: &Path, found: &Metadata, last: bool) -> Result<(), String> {
        let (mode, place) = (found.mode(), path.display());
        let sticky = mode & STICKY != 0;
        // Below a sticky directory ours stays ours; in it others may make a file before we do.
        if sticky && !last || last && self.holds == Holds::Sockets {
            return Ok(());
        }
        if mode & 0o002 != 0 {
            let cure =
                if sticky { "name one below it".to_owned() } else { format!("`chmod o-w {place}`, or name another") };
            return Err(format!("everybody may write to `{place}` (mode {:04o}): {cure}", mode & 0o7777));
        }
        // Above it, distributions let groups of their own write; in it only our files are.
        let systems = !last && (found.gid() == 0 || found.gid() < FIRST_USERS_GROUP && found.uid() == 0);
        if mode & 0o020 != 0 && !systems && !self.alone_in(found.gid()) {
            let group = group(found.gid());
            return Err(format!(
                "{group} may write to `{place}` (mode {:04o}): `chmod g-w {place}`, or name another directory",
                mode & 0o7777
            ));
        }
        Ok(())
    }

    fn trusts(&self, owner: u32, last: bool) -> bool {
        owner == 0 || owner == self.user || !last && self.beyond == Some(owner)
    }

    /// The group of this user's own name, as many distributions make one for each: no other user is in it.
    fn alone_in(&self, gid: u32) -> bool {
        gid == self.group && gid == self.user && gid != 0
    }
}

/// The number that stands for everybody outside a user namespace; in the machine's own every number is known.
fn user_beyond() -> Option<u32> {
    let map = fs::read_to_string("/proc/self/uid_map").ok()?;
    let whole = map.split_whitespace().eq(["0", "0", "4294967295"]);
    let number = || fs::read_to_string("/proc/sys/kernel/overflowuid").ok()?.trim().parse().ok();
    if whole { None } else { number() }
}

fn user(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => format!("user `{}`", user.name),
        _ => format!("user {uid}"),
    }
}

fn group(gid: u32) -> String {
    match Group::from_gid(gid.into()) {
        Ok(Some(group)) => format!("group `{}`", group.name),
        _ => format!("group {gid}"),
    }
}

/// The path without `.` and `..`: of a link's target, whose directories are looked at as they are named.
fn lexical(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => drop(plain.pop()),
            std::path::Component::CurDir => {}
            part @ (std::path::Component::Prefix(_)
            | std::path::Component::RootDir
            | std::path::Component::Normal(_)) => plain.push(part),
        }
    }
    plain
}
