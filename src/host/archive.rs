//! A .tar.gz that is there whole or not at all, its owner's alone. What goes into it is others' business.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, Header};
use tempfile::NamedTempFile;

use super::clock;

/// One that is being written, beside its place. Dropped before its end it leaves nothing.
pub struct Archive {
    parts: Builder<GzEncoder<File>>,
    /// Mode 0600 from its first moment.
    beside: NamedTempFile,
    path: PathBuf,
    folder: String,
    made_at: u64,
}

impl Archive {
    /// Begins an archive at `path` with all parts in `folder`. Nothing is at `path` before [`Archive::finish`].
    pub fn create(path: &Path, folder: &str) -> io::Result<Archive> {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let beside = NamedTempFile::new_in(directory)?;
        let parts = Builder::new(GzEncoder::new(beside.reopen()?, Compression::default()));
        let made_at = clock::since_1970().as_secs();
        Ok(Archive { parts, beside, path: path.to_owned(), folder: folder.to_owned(), made_at })
    }

    /// Adds a file of this name.
    pub fn add(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(self.made_at);
        self.parts.append_data(&mut header, Path::new(&self.folder).join(name), content)
    }

    /// Puts it into its place; over what is there only with `force`.
    pub fn finish(self, force: bool) -> io::Result<()> {
        let mut file = self.parts.into_inner()?.finish()?;
        file.flush()?;
        file.sync_all()?;
        let placed = if force { self.beside.persist(&self.path) } else { self.beside.persist_noclobber(&self.path) };
        placed.map(drop).map_err(|refused| refused.error)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn what_was_added_is_in_it_and_it_is_its_owners_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bundle.tar.gz");
        let mut archive = Archive::create(&path, "an-incident").unwrap();
        archive.add("MANIFEST", b"one part").unwrap();
        archive.add("logs/x.log", &vec![b'x'; 100_000]).unwrap();
        assert!(!path.exists());
        archive.finish(false).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let mut found = Vec::new();
        for part in tar::Archive::new(GzDecoder::new(File::open(&path).unwrap())).entries().unwrap() {
            let mut part = part.unwrap();
            let mut content = Vec::new();
            part.read_to_end(&mut content).unwrap();
            found.push((part.path().unwrap().display().to_string(), content.len()));
        }
        assert_eq!(found, [("an-incident/MANIFEST".to_owned(), 8), ("an-incident/logs/x.log".to_owned(), 100_000)]);
    }

    #[test]
    fn what_is_there_stays_unless_forced_and_nothing_half_done_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bundle.tar.gz");
        fs::write(&path, "mine").unwrap();
        let refused = Archive::create(&path, "x").unwrap().finish(false).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        drop(Archive::create(&path, "x").unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        Archive::create(&path, "x").unwrap().finish(true).unwrap();
        assert_ne!(fs::read(&path).unwrap(), b"mine");
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error() {
        assert!(Archive::create(Path::new("/nonexistent/bundle.tar.gz"), "x").is_err());
    }
}
