//! The command line of `mpswarden incidents`: whom it asks, and what it shows or writes. Touches nothing.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::client_arguments::{group, length};
use crate::model::GroupName;

/// Options of `incidents`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct IncidentOptions {
    /// The incident that is shown: its ID or the beginning of it, its number in the list, or `latest`.
    pub id: Option<String>,
    /// Only incidents that went on in the last DURATION: 2h, 30m.
    #[arg(long, value_name = "DURATION", value_parser = length)]
    pub since: Option<Duration>,
    /// Only incidents of this group.
    #[arg(long, value_name = "GROUP", value_parser = group)]
    pub group: Option<GroupName>,
    /// The document of /api/v1/incidents.
    #[arg(long)]
    pub json: bool,
    /// Write everything that is known of it to FILE, a .tar.gz: the incident, the status, the configuration and the
    /// end of the control daemon's log, with what looks like a secret hidden. Look through it before you send it.
    #[arg(long, value_name = "FILE", requires = "id", conflicts_with = "json")]
    pub bundle: Option<PathBuf>,
    /// Include the ends of the engines' logs: prompts of users, and answers to them, may stand there.
    #[arg(long, requires = "bundle")]
    pub with_engine_logs: bool,
    /// Write over FILE.
    #[arg(long, requires = "bundle")]
    pub force: bool,
    /// Ask no watchdog: read what is on disk, where this configuration has it.
    #[arg(long, value_name = "FILE", conflicts_with = "control_socket")]
    pub config: Option<PathBuf>,
    /// Ask no watchdog: read what is on disk in this state directory.
    #[arg(long, value_name = "DIRECTORY", conflicts_with_all = ["config", "bundle", "control_socket"])]
    pub state_directory: Option<PathBuf>,
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::wildcard_enum_match_arm)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::cli::{Arguments, ClientCommand, Command, ExitStatus};

    fn read(line: &str) -> Result<IncidentOptions, ExitStatus> {
        let argv: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        Arguments::read(&argv).map(|arguments| match arguments.command {
            Command::Client(ClientCommand::Incidents(options)) => options,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn incidents_are_asked_for_read_from_disk_or_bundled() {
        assert_eq!(read("mpswarden incidents").unwrap(), IncidentOptions::default());
        let options = read("mpswarden incidents x --bundle b.tar.gz --force --config c.toml").unwrap();
        assert_eq!((options.id.as_deref(), options.force, options.with_engine_logs), (Some("x"), true, false));
        assert!(read("mpswarden incidents x --bundle b --with-engine-logs").unwrap().with_engine_logs);
        assert_eq!((options.bundle, options.config), (Some("b.tar.gz".into()), Some("c.toml".into())));
        let options = read("mpswarden incidents latest --since 2h --group g").unwrap();
        assert_eq!((options.since, options.group), (Some(Duration::from_secs(7200)), Some("g".into())));
        assert_eq!(read("mpswarden incidents --state-directory /x").unwrap().state_directory, Some("/x".into()));
    }

    #[test]
    fn what_does_not_go_together_ends_with_64() {
        for wrong in [
            "--bundle b.tar.gz",
            "x --force",
            "--since soon",
            "--group g/e",
            "x --with-engine-logs",
            "x --bundle b --json",
            "--config c --state-directory d",
            "x --bundle b --state-directory d",
            "--config c --control-socket s",
        ] {
            assert_eq!(read(&format!("mpswarden incidents {wrong}")).unwrap_err(), ExitStatus::Usage, "{wrong}");
        }
    }
}
