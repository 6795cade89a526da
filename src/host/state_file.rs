//! Small files that must survive a crash of the watchdog: written whole or not at all, void after a
//! reboot, kept aside when they can't be read. What is in them is others' business.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::procfs::Procfs;
use crate::files::{self, Links};

/// Most bytes of a state: what is larger is not ours.
const LARGEST: u64 = 16 << 20;

/// What a state file held.
#[derive(Debug, PartialEq)]
pub enum Loaded<T> {
    /// There is no file.
    Nothing,
    /// It is of an earlier boot: no process and no moment in it means anything.
    OtherBoot,
    /// What was saved last.
    Saved(T),
    /// It could not be read and was moved there.
    Bad {
        /// Where it is kept.
        kept_as: PathBuf,
        /// Reason for people.
        why: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    boot_id: String,
    content: T,
}

/// Writes `content` in the place of what was there. A crash at any line leaves the old or the new whole;
/// there is no fsync, since a crash of the machine voids the file anyway.
pub fn save<T: Serialize>(path: &Path, content: &T) -> io::Result<()> {
    let text = serde_json::to_vec(&Envelope { boot_id: boot_id()?, content })?;
    files::replace(path, &path.with_extension("tmp"), &text, 0o600, false)
}

/// Reads what `save` wrote in this boot.
pub fn load<T: DeserializeOwned>(path: &Path) -> io::Result<Loaded<T>> {
    let text = match files::read(path, Links::Refused, LARGEST) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Loaded::Nothing),
        // A FIFO, a link, something without an end: not what was saved.
        Err(error) if error.kind() == io::ErrorKind::Other => return keep_aside(path, error.to_string()),
        Err(error) => return Err(error),
    };
    // The boot is read first: another version's content, void by now, is not worth a complaint.
    let parsed = serde_json::from_slice::<Envelope<serde::de::IgnoredAny>>(&text);
    match parsed {
        Ok(envelope) if envelope.boot_id != boot_id()? => return Ok(Loaded::OtherBoot),
        _ => {}
    }
    match serde_json::from_slice::<Envelope<T>>(&text) {
        Ok(envelope) => Ok(Loaded::Saved(envelope.content)),
        Err(error) => keep_aside(path, error.to_string()),
    }
}

fn keep_aside<T>(path: &Path, why: String) -> io::Result<Loaded<T>> {
    let kept_as = path.with_extension("bad");
    fs::rename(path, &kept_as)?;
    Ok(Loaded::Bad { kept_as, why })
}

fn boot_id() -> io::Result<String> {
    Procfs::new(Path::new("/proc")).boot_id()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_comes_back_and_only_the_file_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("memory.json");
        assert_eq!(load::<u32>(&path).unwrap(), Loaded::Nothing);
        save(&path, &7).unwrap();
        save(&path, &8).unwrap();
        assert_eq!(load(&path).unwrap(), Loaded::Saved(8));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_of_another_boot_is_void() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("memory.json");
        fs::write(&path, r#"{"boot_id":"another","content":"of another shape"}"#).unwrap();
        assert_eq!(load::<u32>(&path).unwrap(), Loaded::OtherBoot);
    }

    #[test]
    fn what_blocks_never_ends_or_leads_elsewhere_is_kept_aside_and_told() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let path = at("memory.json");
        let bad = |what: &str| {
            let Loaded::Bad { kept_as, why } = load::<u32>(&path).unwrap() else { panic!("{what}") };
            assert!(why.contains(what), "{why}");
            assert_eq!((kept_as, path.exists()), (at("memory.bad"), false));
            save(&path, &7).unwrap();
            assert_eq!(load(&path).unwrap(), Loaded::Saved(7));
            fs::remove_file(&path).unwrap();
        };
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        bad("it is a FIFO");
        fs::write(at("other"), "precious").unwrap();
        std::os::unix::fs::symlink(at("other"), &path).unwrap();
        bad("it is a link");
        fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
        bad("it is over 16 MiB");
        assert_eq!(fs::read_to_string(at("other")).unwrap(), "precious");
    }

    #[test]
    fn a_truncated_file_is_kept_aside_and_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("memory.json");
        save(&path, &"something long").unwrap();
        let text = fs::read(&path).unwrap();
        for length in 0..text.len() {
            fs::write(&path, &text[..length]).unwrap();
            let Loaded::Bad { kept_as, .. } = load::<String>(&path).unwrap() else { panic!("{length}") };
            assert_eq!(fs::read(kept_as).unwrap(), &text[..length]);
            assert!(!path.exists());
        }
    }
}
