//! `mpswarden incidents`: from a running watchdog, or from disk where none runs; shown, or as a bundle.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{self, Configuration};
use crate::control::{Call, Client, Failure, Incidents, Kind};
use crate::host::incident_store::{IncidentStore, StoredIncidents};
use crate::model::{Incident, Setup};

use super::bundle::{self, Evidence, Wishes};
use super::incident_arguments::IncidentOptions;
use super::terminal::{Ended, Terminal};

/// Shows incidents, or writes a bundle of one.
pub(super) async fn incidents(options: IncidentOptions, socket: &Path) -> Result<Ended, Failure> {
    let terminal = Terminal::at(socket, options.json);
    let source = Source::of(&options)?;
    let (Some(file), Some(id)) = (&options.bundle, &options.id) else {
        return match source {
            Source::Watchdog => terminal.incidents(options.id).await,
            Source::Disk { store, .. } => {
                let known = Incidents { incidents: found(&terminal, &store, options.id.as_deref())? };
                terminal.show_incidents(&known, options.id.is_some())
            }
        };
    };
    let evidence = match source {
        Source::Watchdog => from_watchdog(&Client::of(socket), id).await?,
        Source::Disk { store, configuration } => {
            let incident = found(&terminal, &store, Some(id))?.remove(0);
            from_disk(&incident, options.config.as_deref(), configuration)
        }
    };
    let wishes = Wishes { engine_logs: options.with_engine_logs, force: options.force };
    let written = bundle::write(evidence, file, wishes).map_err(|error| unwritten(file, &error))?;
    terminal.say(&written);
    Ok(Ended::Done)
}

/// Who knows of incidents.
enum Source {
    /// The one that runs.
    Watchdog,
    /// The disk, and the configuration that names it.
    Disk { store: IncidentStore, configuration: Option<Box<Configuration>> },
}

impl Source {
    fn of(options: &IncidentOptions) -> Result<Source, Failure> {
        let (directory, configuration) = match (&options.config, &options.state_directory) {
            (Some(file), _) => {
                let configuration = config::load(file).map_err(|problems| Failure::new(Kind::Refused, problems))?;
                (configuration.state_directory.clone(), Some(Box::new(configuration)))
            }
            (None, Some(directory)) => (directory.clone(), None),
            (None, None) => return Ok(Source::Watchdog),
        };
        // An empty list would be taken for good news.
        std::fs::metadata(&directory).map_err(|error| unreadable(&directory, &error))?;
        Ok(Source::Disk { store: IncidentStore::of(&directory), configuration })
    }
}

/// All on disk, newest first, or that one. Files that can't be read are reported.
fn found(terminal: &Terminal, store: &IncidentStore, id: Option<&str>) -> Result<Vec<Arc<Incident>>, Failure> {
    let StoredIncidents { mut incidents, bad } = store.load().map_err(|error| unreadable(store.directory(), &error))?;
    bad.iter().for_each(|bad| terminal.warn(&format!("can't be read: {bad}")));
    if let Some(id) = id {
        incidents.retain(|incident| incident.id == id);
        if incidents.is_empty() {
            let text = format!("no incident {id:?} is in {}: leave the ID out for a list", store.directory().display());
            return Err(Failure::new(Kind::Refused, text));
        }
    }
    Ok(incidents.into_iter().map(Arc::new).collect())
}

async fn from_watchdog(client: &Client, id: &str) -> Result<Evidence, Failure> {
    let known: Incidents = client.ask(Call::Incidents { id: Some(id.to_owned()) }).await?;
    let Some(incident) = known.incidents.first() else {
        return Err(Failure::new(Kind::Unavailable, "the watchdog answered without the incident: see its log"));
    };
    let why = |failure: Failure| failure.to_string();
    let setup: Result<Setup, String> = client.ask(Call::Setup).await.map_err(why);
    let file = setup.as_ref().map_or(Some(Err("the watchdog does not say where it is".to_owned())), |setup| {
        setup.file.as_deref().map(|file| config::load(file).map_err(|problems| problems.to_string()))
    });
    Ok(Evidence {
        incident: Incident::clone(incident),
        status: client.ask(Call::Status).await.map_err(why),
        version: client.ask(Call::Version).await.map_err(why),
        setup,
        configuration: file,
    })
}

fn from_disk(incident: &Incident, file: Option<&Path>, configuration: Option<Box<Configuration>>) -> Evidence {
    let nobody = || Err("no watchdog was asked, only the disk".to_owned());
    let none = || "no configuration was named".to_owned();
    Evidence {
        incident: incident.clone(),
        status: nobody(),
        version: nobody(),
        setup: configuration.as_ref().ok_or_else(none).and_then(|known| known.setup(file.map(PathBuf::from))),
        configuration: configuration.map(|known| Ok(*known)),
    }
}

fn unreadable(directory: &Path, error: &io::Error) -> Failure {
    let text = format!("{} can't be read: {error}", directory.display());
    Failure::new(kind(error), text)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "io::ErrorKind is foreign and grows")]
fn unwritten(file: &Path, error: &io::Error) -> Failure {
    let file = file.display();
    let text = match error.kind() {
        io::ErrorKind::AlreadyExists => format!("{file} is there already: name another, or add --force"),
        _ => format!("{file} can't be written: {error}"),
    };
    Failure::new(kind(error), text)
}

fn kind(error: &io::Error) -> Kind {
    if error.kind() == io::ErrorKind::PermissionDenied { Kind::Denied } else { Kind::Refused }
}
