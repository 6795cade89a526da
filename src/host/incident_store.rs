//! Incidents on disk: `incidents/ID.json` in the state directory, each written whole or not at all, bounded in
//! number and in size. When one is written is others' business.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::files::{self, Links};
use crate::model::Incident;

/// Number of incidents that are kept, the newest.
pub const KEPT: usize = 100;
/// Bytes of one file. The lines of the middle go first.
const LARGEST: usize = 256 * 1024;

/// The directory of incidents.
#[derive(Clone, Debug)]
pub struct IncidentStore {
    directory: PathBuf,
}

/// What was found there.
#[derive(Debug, Default)]
pub struct StoredIncidents {
    /// Newest first.
    pub incidents: Vec<Incident>,
    /// Files that can't be read, each with why; they stay where they are until newer ones take their place.
    pub bad: Vec<String>,
}

impl IncidentStore {
    /// The store in this state directory; nothing need be there yet.
    pub fn of(state_directory: &Path) -> IncidentStore {
        IncidentStore { directory: state_directory.join("incidents") }
    }

    /// Directory of the incidents.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Writes an incident in the place of what was there of it, and removes the oldest over [`KEPT`]. A crash at any
    /// line, also of the machine, leaves the old or the new whole.
    pub fn save(&self, incident: &Incident) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        let name = file_name(&incident.id)?;
        // Two watchdogs never share a state directory: there is one writer.
        let temporary = self.directory.join("incident.tmp");
        files::replace(&self.directory.join(&name), &temporary, &text(incident)?, 0o600, true)?;
        File::open(&self.directory)?.sync_all()?;
        self.prune(&name)
    }

    /// Everything that is kept. That there is no directory yet is no error.
    pub fn load(&self) -> io::Result<StoredIncidents> {
        let mut found = StoredIncidents::default();
        for name in self.names()?.iter().rev().take(KEPT) {
            match read(&self.directory.join(name)) {
                Ok(incident) if file_name(&incident.id).is_ok_and(|own| own == *name) => found.incidents.push(incident),
                Ok(incident) => found.bad.push(format!("{name}: it holds the incident {:?}", incident.id)),
                Err(error) => found.bad.push(format!("{name}: {error}")),
            }
        }
        Ok(found)
    }

    /// Names of files, oldest first: identifiers begin with their time.
    fn names(&self) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            names.extend(entry?.file_name().into_string().ok().filter(|name| name.ends_with(".json")));
        }
        names.sort_unstable();
        Ok(names)
    }

    /// `written` stays, however old the clock says that it is.
    fn prune(&self, written: &str) -> io::Result<()> {
        let names = self.names()?;
        let excess = names.len().saturating_sub(KEPT);
        for name in names.iter().filter(|name| *name != written).take(excess) {
            fs::remove_file(self.directory.join(name))?;
        }
        Ok(())
    }
}

/// Names of groups come from the configuration, and those of later versions are not known: nothing that leads
/// out of the directory or hides in it is a name.
fn file_name(id: &str) -> io::Result<String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if !(1..=200).contains(&id.len()) || id.starts_with('.') || !id.chars().all(fine) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{id:?} is no name for a file")));
    }
    Ok(format!("{id}.json"))
}

/// The incident's text within [`LARGEST`], for people to read too.
fn text(incident: &Incident) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(incident)?;
    let mut shorter = incident.clone();
    while text.len() > LARGEST && !shorter.lines.is_empty() {
        let count = shorter.lines.len();
        let removed = shorter.lines.drain(count / 4..count - count / 4).len();
        shorter.omitted = shorter.omitted.saturating_add(u32::try_from(removed).unwrap_or(u32::MAX));
        text = serde_json::to_vec_pretty(&shorter)?;
    }
    Ok(text)
}

/// Those of later versions may be larger; one that never ends is none.
fn read(path: &Path) -> io::Result<Incident> {
    Ok(serde_json::from_slice(&files::read(path, Links::Refused, 4 * LARGEST as u64)?)?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::model::{Fault, IncidentLine};

    fn incident(id: &str) -> Incident {
        let begins = Incident::begins(id.to_owned(), "small-llms".into(), Fault::GpuFault, 1.0, 2.0);
        Incident { because: "evidence".to_owned(), ..begins }
    }

    fn store() -> (tempfile::TempDir, IncidentStore) {
        let directory = tempfile::tempdir().unwrap();
        let store = IncidentStore::of(&directory.path().join("state"));
        (directory, store)
    }

    fn files(store: &IncidentStore) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(store.directory())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_was_saved_comes_back_newest_first_and_is_its_owners_alone() {
        let (_directory, store) = store();
        assert!(store.load().unwrap().incidents.is_empty());
        let later = Incident { result: Some("serving".to_owned()), ..incident("2-b") };
        store.save(&incident("1-a")).unwrap();
        store.save(&incident("2-b")).unwrap();
        store.save(&later).unwrap();
        assert_eq!(store.load().unwrap().incidents, [later, incident("1-a")]);
        assert_eq!(files(&store), ["1-a.json", "2-b.json"]);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(store.directory()), mode(&store.directory().join("1-a.json"))), (0o700, 0o600));
    }

    #[test]
    fn the_oldest_go_but_not_the_one_just_written() {
        let (_directory, store) = store();
        (0..KEPT + 5).for_each(|n| store.save(&incident(&format!("{n:04}"))).unwrap());
        assert_eq!((files(&store).len(), files(&store)[0].as_str()), (KEPT, "0005.json"));
        store.save(&incident("0000-after-the-clock-was-set-back")).unwrap();
        assert_eq!((files(&store).len(), files(&store)[0].starts_with("0000-after")), (KEPT, true));
    }

    #[test]
    fn a_bad_file_is_named_and_hides_no_other() {
        let (_directory, store) = store();
        store.save(&incident("1")).unwrap();
        fs::write(store.directory().join("2.json"), b"{\"id\": tru").unwrap();
        fs::write(store.directory().join("3.json"), vec![b' '; 5 * LARGEST]).unwrap();
        fs::rename(store.directory().join("1.json"), store.directory().join("4.json")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", store.directory().join("5.json")).unwrap();
        store.save(&incident("6")).unwrap();
        let StoredIncidents { incidents, bad } = store.load().unwrap();
        assert_eq!(incidents, [incident("6")]);
        assert_eq!(bad.len(), 4, "{bad:?}");
        assert!(bad[1].starts_with("4.json: it holds the incident \"1\""), "{bad:?}");
    }

    #[test]
    fn what_a_later_version_adds_is_passed_over() {
        let (_directory, store) = store();
        store.save(&incident("1")).unwrap();
        let path = store.directory().join("1.json");
        let text = fs::read_to_string(&path).unwrap().replacen('{', "{\"weather\": {\"a\": []},", 1);
        fs::write(&path, text).unwrap();
        assert_eq!(store.load().unwrap().incidents, [incident("1")]);
    }

    #[test]
    fn no_name_leads_out_of_the_directory() {
        let (_directory, store) = store();
        for id in ["", "..", "../x", "a/b", ".hidden", "a\0b", &"x".repeat(201)] {
            assert!(store.save(&incident(id)).is_err(), "{id}");
        }
    }

    #[test]
    fn a_large_incident_keeps_its_beginning_and_its_end() {
        let (_directory, store) = store();
        let line = |n: usize| IncidentLine {
            at: n as f64,
            engine: None,
            word: "x".to_owned(),
            text: "\u{1}".repeat(500),
            took: None,
        };
        let large = Incident { lines: (0..200).map(line).collect(), ..incident("1") };
        store.save(&large).unwrap();
        assert!(fs::metadata(store.directory().join("1.json")).unwrap().len() <= LARGEST as u64);
        let kept = store.load().unwrap().incidents.remove(0);
        assert_eq!((kept.lines.first().unwrap().at, kept.lines.last().unwrap().at), (0.0, 199.0));
        assert_eq!(kept.lines.len() + kept.omitted as usize, 200);
    }

    #[test]
    fn a_file_in_the_place_of_the_directory_is_an_error() {
        let (directory, store) = store();
        fs::create_dir(directory.path().join("state")).unwrap();
        fs::write(store.directory(), "mine").unwrap();
        assert!(store.save(&incident("1")).is_err());
        assert!(store.load().is_err());
        assert_eq!(fs::read_to_string(store.directory()).unwrap(), "mine");
    }
}
