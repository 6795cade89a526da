//! A bundle of an incident: what a person would ask for, in one file, made by the client with its own eyes: the
//! watchdog gives what it has in memory, and neither reads nor waits for anything. What is missing is said in it.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::config::Configuration;
use crate::export::document::IncidentDocument;
use crate::host::archive::Archive;
use crate::host::evidence;
use crate::host::kernel_log::KernelLog;
use crate::model::{Incident, Setup};
use crate::text::screen::Screen;
use crate::text::secrets::Secrets;

use super::incident_text::incident_text;
use super::known_secrets::{Known, known};

/// The output of a control daemon and of MPS itself; every other log in its directory is an engine's.
const DAEMON_LOG: &str = "daemon.log";
/// Bytes of each log's end that are taken.
const LOG_END: u64 = 256 * 1024;
/// Upper bound for a program to print what it knows.
const PROGRAM_BOUND: Duration = Duration::from_secs(5);

/// What is known of the incident, and where the rest is.
pub(super) struct Evidence {
    pub incident: Incident,
    /// The document of the status, or why there is none.
    pub status: Result<Value, String>,
    /// Version of the watchdog that answered, or why none did.
    pub version: Result<Value, String>,
    pub setup: Result<Setup, String>,
    /// The same as read from its file, to know its secrets; `None`: it has no file.
    pub configuration: Option<Result<Configuration, String>>,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wishes {
    /// The ends of the engines' logs too, in which prompts and answers may stand.
    pub engine_logs: bool,
    /// Write over what is there.
    pub force: bool,
}

/// An archive with its list of contents.
struct Bundle<'a> {
    archive: Archive,
    wishes: Wishes,
    secrets: &'a Secrets,
    manifest: String,
}

/// Writes it to `path`. What was written, in a sentence.
pub(super) fn write(evidence: Evidence, path: &Path, wishes: Wishes) -> io::Result<String> {
    let looks = Secrets::new().map_err(io::Error::other)?;
    let Known { values, summary } = known(evidence.configuration.as_ref(), &looks);
    let secrets = looks.knowing(values);
    let incident = &evidence.incident;
    let archive = Archive::create(path, &format!("mpswarden-{}", incident.id))?;
    let mut bundle = Bundle { archive, wishes, secrets: &secrets, manifest: heading(incident) };
    bundle.known_of(&evidence)?;
    bundle.logs_of(incident, &evidence.setup)?;
    bundle.machine(evidence.setup.as_ref().map_or(Path::new("/dev/kmsg"), |setup| &setup.kernel_log))?;
    bundle.finish(&summary)?;
    Ok(format!("{} written; look through it before you send it: its MANIFEST says what is in it", path.display()))
}

fn heading(incident: &Incident) -> String {
    format!("What is known of incident {}, by mpswarden {}.\n\n", incident.id, env!("CARGO_PKG_VERSION"))
}

impl Bundle<'_> {
    /// Adds a text without its secrets, or says why it is missing.
    fn text(&mut self, name: &str, text: Result<String, impl ToString>) -> io::Result<()> {
        let text = match text {
            Ok(text) => self.secrets.text(&text),
            Err(why) => {
                let why = self.secrets.text(&why.to_string());
                self.manifest.push_str(&format!("missing  {name}: {why}\n"));
                return Ok(());
            }
        };
        self.add(name, &text)
    }

    /// A document stays one: only its strings are looked at.
    fn document(&mut self, name: &str, document: Result<Value, String>) -> io::Result<()> {
        match document {
            Ok(mut document) => {
                self.secrets.json(&mut document);
                self.add(name, &format!("{document:#}\n"))
            }
            Err(why) => self.text(name, Err::<String, String>(why)),
        }
    }

    fn add(&mut self, name: &str, text: &str) -> io::Result<()> {
        self.manifest.push_str(&format!("{:>7}  {name}\n", text.len()));
        self.archive.add(name, text.as_bytes())
    }

    /// The incident for programs and for people, and what the watchdog said.
    fn known_of(&mut self, evidence: &Evidence) -> io::Result<()> {
        let incident = &evidence.incident;
        self.document("incident.json", Ok(serde_json::to_value(IncidentDocument::of(incident))?))?;
        self.text("incident.txt", Ok::<_, String>(incident_text(incident, &Screen::plain())))?;
        self.document("status.json", evidence.status.clone())?;
        self.document("version.json", evidence.version.clone())?;
        let configuration = evidence.setup.as_ref().map(|setup| setup.configuration.clone());
        self.text("configuration.toml", configuration)
    }

    /// The ends of the logs of its group: of the control daemons of both its sides and of MPS itself, and those of the
    /// engines where they are wished for. What was recognized in those is in the incident.
    fn logs_of(&mut self, incident: &Incident, setup: &Result<Setup, String>) -> io::Result<()> {
        let directories = match setup {
            Ok(setup) => setup.logs.get(&incident.group).ok_or("its group is not in the configuration any more"),
            Err(why) => Err(why.as_str()),
        };
        let [first, apart] = match directories {
            Ok(directories) => directories,
            Err(why) => return self.text("logs", Err::<String, _>(why)),
        };
        self.logs_in("logs", first)?;
        // Only a group that was once in two has the other.
        if apart.is_dir() { self.logs_in("logs/apart", apart) } else { Ok(()) }
    }

    fn logs_in(&mut self, name: &str, directory: &Path) -> io::Result<()> {
        let logs = match evidence::logs_in(directory) {
            Ok(logs) => logs,
            Err(error) => {
                return self.text(name, Err::<String, _>(format!("{} can't be read: {error}", directory.display())));
            }
        };
        for log in logs {
            let file = log.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let name = format!("{name}/{file}");
            match file == DAEMON_LOG || self.wishes.engine_logs {
                true => self.text(&name, evidence::tail(&log, LOG_END))?,
                false => self.manifest.push_str(&format!("left out {name}: --with-engine-logs adds it\n")),
            }
        }
        Ok(())
    }

    /// What the kernel and the driver say.
    fn machine(&mut self, kernel_log: &Path) -> io::Result<()> {
        let lines = KernelLog::read_back(kernel_log, is_of_interest, LOG_END as usize);
        self.text("kernel.log", lines)?;
        let version = evidence::whole(Path::new("/proc/sys/kernel/osrelease"), LOG_END);
        self.text("kernel-version", version)?;
        // Files of /proc have no length, and are regular all the same.
        self.text("driver-version", evidence::whole(Path::new("/proc/driver/nvidia/version"), LOG_END))?;
        self.text("nvidia-smi.txt", evidence::printed("nvidia-smi", &["-q"], PROGRAM_BOUND, LOG_END))
    }

    /// What it means that engines' logs are in it, or are not.
    fn engine_logs(&self) -> &'static str {
        match self.wishes.engine_logs {
            true => {
                "The engines' logs are in it, as --with-engine-logs asked for: prompts of users, and answers to them, \
                 may stand there."
            }
            false => {
                "The engines' logs are not in it, since prompts of users, and answers to them, may stand there; what was \
                 recognized in them is in the incident. --with-engine-logs adds them."
            }
        }
    }

    fn finish(mut self, summary: &str) -> io::Result<()> {
        self.manifest.push_str(&format!(
            "\nSizes are in bytes. Of each log there are the last {} KiB. {}\n\nHidden, as [redacted]: the value of every \
             variable in the configuration, and wherever they stand what follows names like api-key, token, secret \
             and password, headers for authorization, user and password in URLs, private keys, and keys by the shapes \
             of their makers. {summary}\nA secret that looks like nothing is not found: look through it before you send \
             it.\n",
            LOG_END / 1024,
            self.engine_logs(),
        ));
        let manifest = std::mem::take(&mut self.manifest);
        self.archive.add("MANIFEST", manifest.as_bytes())?;
        self.archive.finish(self.wishes.force)
    }
}

/// What the driver says, and whom the kernel killed for want of memory.
fn is_of_interest(line: &str) -> bool {
    ["NVRM", "nvidia", "Out of memory", "oom-kill", "oom_reaper", "Killed process"]
        .iter()
        .any(|part| line.contains(part))
}
