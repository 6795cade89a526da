//! Where the kernel probe's library and its socket are, in the state directory, and whether an engine's user gets
//! there. Writes the library; whether an engine is given it is decided elsewhere.

use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{Gid, User, getgrouplist};

use super::probe_socket::LONGEST_PATH;
use crate::files::{self, Links};
use crate::probe::LIBRARY;

/// The directory of both.
#[derive(Clone, Debug)]
pub struct ProbePlace {
    directory: PathBuf,
}

/// Who an engine runs as, for the file system.
struct Account {
    user: u32,
    groups: Vec<Gid>,
}

impl ProbePlace {
    /// The place below this state directory, named by an absolute path. Makes nothing.
    pub fn of(state_directory: &Path) -> Self {
        ProbePlace { directory: state_directory.join("probe") }
    }

    /// Value for CUDA_INJECTION64_PATH.
    pub fn library(&self) -> PathBuf {
        self.directory.join("libmpswarden_probe.so")
    }

    /// Value for MPSWARDEN_PROBE_SOCKET.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("probe.sock")
    }

    /// Makes the directory, open to every user.
    pub fn make(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o755).create(&self.directory)?;
        // Whatever the umask took.
        fs::set_permissions(&self.directory, Permissions::from_mode(0o755))
    }

    /// Writes the library where it is not there as it should be, and sees that an engine of `user` (`None`: the
    /// watchdog's own) can load it and connect. Otherwise why not, with the cure: CUDA must not be given a library
    /// that it can't load.
    pub fn ready_for(&self, user: Option<&User>) -> Result<(), String> {
        let length = self.socket().as_os_str().len();
        if length > LONGEST_PATH {
            let socket = self.socket();
            return Err(format!(
                "the path {} is {length} bytes long, {LONGEST_PATH} at most: name a shorter state_directory",
                socket.display()
            ));
        }
        self.unpack(LIBRARY).map_err(|error| {
            format!("can't write the probe's library {}: {error}; make it writable", self.library().display())
        })?;
        self.refuse_noexec()?;
        user.map_or(Ok(()), |user| self.refuse_unreachable(user))
    }

    /// Writes the library and renames it into place: an engine may have the old one mapped, and a start at the same
    /// time finds one of both whole.
    fn unpack(&self, library: &[u8]) -> io::Result<()> {
        self.make()?;
        let path = self.library();
        if is_there(&path, library) {
            return Ok(());
        }
        let beside = self.directory.join(format!(".library-{}", std::process::id()));
        files::replace(&path, &beside, library, 0o644, false)?;
        // Whatever the umask took.
        fs::set_permissions(&path, Permissions::from_mode(0o644))
    }

    fn refuse_noexec(&self) -> Result<(), String> {
        let flags = statvfs(&self.directory).map(|found| found.flags()).unwrap_or(FsFlags::empty());
        if flags.contains(FsFlags::ST_NOEXEC) {
            let directory = self.directory.display();
            return Err(format!("{directory} is mounted noexec: name a state_directory on another file system"));
        }
        Ok(())
    }

    fn refuse_unreachable(&self, user: &User) -> Result<(), String> {
        let account =
            Account::of(user).map_err(|error| format!("can't read the groups of `{}`: {error}", user.name))?;
        for directory in self.directory.ancestors() {
            let found = fs::metadata(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
            if !account.enters(&found) {
                let (name, mode) = (&user.name, found.mode() & 0o7777);
                return Err(format!(
                    "user `{name}` can't enter {0} (mode {mode:04o}): chmod o+x {0} (under systemd StateDirectoryMode=0711), or name another state_directory",
                    directory.display()
                ));
            }
        }
        Ok(())
    }
}

fn is_there(path: &Path, library: &[u8]) -> bool {
    let mode = |found: Metadata| found.is_file() && found.mode() & 0o777 == 0o644;
    fs::symlink_metadata(path).is_ok_and(mode)
        && files::read(path, Links::Refused, library.len() as u64).is_ok_and(|there| there == library)
}

impl Account {
    fn of(user: &User) -> io::Result<Self> {
        let name = std::ffi::CString::new(user.name.as_str())?;
        Ok(Account { user: user.uid.as_raw(), groups: getgrouplist(&name, user.gid)? })
    }

    /// Whether the account may enter, by owner, group and others, as the kernel asks; access control lists are not
    /// read.
    fn enters(&self, directory: &Metadata) -> bool {
        let class = if directory.uid() == self.user {
            0o100
        } else if self.groups.contains(&Gid::from_raw(directory.gid())) {
            0o010
        } else {
            0o001
        };
        self.user == 0 || directory.mode() & class != 0
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use nix::unistd::{Uid, getuid};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_library_is_written_once_and_readable_by_all() {
        let state = tempfile::tempdir().unwrap();
        let place = ProbePlace::of(state.path());
        place.unpack(b"one").unwrap();
        assert_eq!((mode(&state.path().join("probe")), mode(&place.library())), (0o755, 0o644));
        let first = fs::metadata(place.library()).unwrap().ino();
        place.unpack(b"one").unwrap();
        assert_eq!(fs::metadata(place.library()).unwrap().ino(), first);
    }

    #[test]
    fn another_library_takes_its_place_and_whoever_has_the_old_one_keeps_it() {
        let state = tempfile::tempdir().unwrap();
        let place = ProbePlace::of(state.path());
        place.unpack(b"old").unwrap();
        let mapped = fs::File::open(place.library()).unwrap();
        place.unpack(b"newer").unwrap();
        assert_eq!(io::read_to_string(mapped).unwrap(), "old");
        assert_eq!(fs::read(place.library()).unwrap(), b"newer");
        assert_eq!(names(&state.path().join("probe")), ["libmpswarden_probe.so"]);
    }

    #[test]
    fn a_library_that_others_can_not_read_is_written_anew() {
        let state = tempfile::tempdir().unwrap();
        let place = ProbePlace::of(state.path());
        place.unpack(b"one").unwrap();
        fs::set_permissions(place.library(), Permissions::from_mode(0o600)).unwrap();
        place.unpack(b"one").unwrap();
        assert_eq!(mode(&place.library()), 0o644);
    }

    #[test]
    fn a_user_who_can_not_enter_the_state_directory_is_named_with_the_cure() {
        let state = tempfile::tempdir().unwrap();
        fs::set_permissions(state.path(), Permissions::from_mode(0o700)).unwrap();
        let place = ProbePlace::of(state.path());
        // Neither root nor the owner.
        let other = Uid::from_raw(getuid().as_raw() + 12_345);
        let user = User { uid: other, name: "no-such-user".into(), ..User::from_uid(getuid()).unwrap().unwrap() };
        let user = User { gid: Gid::from_raw(54_321), ..user };
        let why = place.ready_for(Some(&user)).unwrap_err();
        let cure = format!("chmod o+x {}", state.path().display());
        assert!(why.contains("user `no-such-user` can't enter") && why.contains(&cure), "{why}");
        fs::set_permissions(state.path(), Permissions::from_mode(0o711)).unwrap();
        assert_eq!(place.ready_for(Some(&user)), Ok(()));
        assert_eq!(place.ready_for(None), Ok(()));
    }

    #[test]
    fn the_owner_and_the_group_enter_by_their_own_bits() {
        let directory = tempfile::tempdir().unwrap();
        let found = |bits| {
            fs::set_permissions(directory.path(), Permissions::from_mode(bits)).unwrap();
            fs::metadata(directory.path()).unwrap()
        };
        let group = Gid::from_raw(found(0o700).gid());
        let stranger = found(0o700).uid() + 12_345;
        let member = Account { user: stranger, groups: vec![group] };
        assert!(member.enters(&found(0o710)) && !member.enters(&found(0o701)));
        let other = Account { user: stranger, groups: vec![] };
        assert!(other.enters(&found(0o701)) && !other.enters(&found(0o710)));
        assert!(Account { user: 0, groups: vec![] }.enters(&found(0o600)));
    }

    #[test]
    fn a_socket_whose_path_is_too_long_is_refused_before_anything_is_written() {
        let state = tempfile::tempdir().unwrap();
        let deep = state.path().join("d".repeat(LONGEST_PATH));
        let why = ProbePlace::of(&deep).ready_for(None).unwrap_err();
        assert!(why.contains("107 at most: name a shorter state_directory"), "{why}");
        assert!(!deep.exists());
    }

    #[test]
    fn a_place_that_can_not_be_written_is_told_with_the_cure() {
        let state = tempfile::tempdir().unwrap();
        fs::write(state.path().join("probe"), "a file").unwrap();
        let why = ProbePlace::of(state.path()).ready_for(None).unwrap_err();
        assert!(why.contains("can't write the probe's library"), "{why}");
    }
}
