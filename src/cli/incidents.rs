//! `mpswarden incidents`: from a running watchdog, or from disk where none runs; shown, or as a bundle.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::config::{self, Configuration};
use crate::control::{Call, Client, Failure, Incidents, Kind};
use crate::host::incident_store::{IncidentStore, StoredIncidents};
use crate::model::{Incident, Setup};

use super::bundle::{self, Evidence, Wishes};
use super::choice::{Listed, Numbered, choose, numbered};
use super::incident_arguments::IncidentOptions;
use super::terminal::{Ended, Terminal};

/// Shows incidents, or writes a bundle of one.
pub(super) async fn incidents(options: IncidentOptions, socket: &Path) -> Result<Ended, Failure> {
    let terminal = Terminal::at(socket, options.json);
    let client = Client::of(socket);
    let source = Source::of(&options)?;
    let document = match &source {
        Source::Watchdog => client.ask(Call::Incidents { id: None }).await?,
        Source::Disk { store, .. } => on_disk(&terminal, store)?,
    };
    let listed = Listed { since: options.since, group: options.group.clone() };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let known: Incidents = client.read_value(&document)?;
    let shown: Vec<Numbered> =
        numbered(known.incidents).into_iter().filter(|(_, incident)| listed.has(incident, now)).collect();
    let Some(word) = &options.id else {
        return Ok(match options.json {
            true => terminal.json(&only(document, &shown).to_string()),
            false => terminal.show_incidents(&shown, &listed.words()),
        });
    };
    let chosen = choose(word, &shown).map_err(|why| Failure::new(Kind::Refused, why))?;
    let Some(file) = &options.bundle else {
        return Ok(match options.json {
            true => terminal.json(&only(document, std::slice::from_ref(chosen)).to_string()),
            false => terminal.show_incident(&chosen.1),
        });
    };
    let evidence = match source {
        Source::Watchdog => from_watchdog(&client, &chosen.1).await,
        Source::Disk { configuration, .. } => from_disk(&chosen.1, options.config.as_deref(), configuration),
    };
    let wishes = Wishes { engine_logs: options.with_engine_logs, force: options.force };
    let written = bundle::write(evidence, file, wishes).map_err(|error| unwritten(file, &error))?;
    terminal.say(&written);
    Ok(Ended::Done)
}

/// The document with these incidents alone, each as it came.
fn only(mut document: Value, shown: &[Numbered]) -> Value {
    if let Some(incidents) = document.get_mut("incidents").and_then(Value::as_array_mut) {
        let mut number = 0;
        incidents.retain(|_| {
            number += 1;
            shown.iter().any(|(kept, _)| *kept == number)
        });
    }
    document
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

/// The document of all on disk. Files that can't be read are reported.
fn on_disk(terminal: &Terminal, store: &IncidentStore) -> Result<Value, Failure> {
    let StoredIncidents { incidents, bad } = store.load().map_err(|error| unreadable(store.directory(), &error))?;
    bad.iter().for_each(|bad| terminal.warn(&format!("can't be read: {bad}")));
    let known = Incidents { incidents: incidents.into_iter().map(Arc::new).collect() };
    serde_json::to_value(known)
        .map_err(|error| Failure::new(Kind::Unavailable, format!("no JSON can be made: {error}")))
}

async fn from_watchdog(client: &Client, incident: &Incident) -> Evidence {
    let why = |failure: Failure| failure.to_string();
    let setup: Result<Setup, String> = client.ask(Call::Setup).await.map_err(why);
    let file = setup.as_ref().map_or(Some(Err("the watchdog does not say where it is".to_owned())), |setup| {
        setup.file.as_deref().map(|file| config::load(file).map_err(|problems| problems.to_string()))
    });
    Evidence {
        incident: incident.clone(),
        status: client.ask(Call::Status).await.map_err(why),
        version: client.ask(Call::Version).await.map_err(why),
        setup,
        configuration: file,
    }
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
