//! The command line of those who ask a running mpswarden: what they want becomes a `Request`. Touches nothing.

use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::incident_arguments::IncidentOptions;
use crate::config::units;
use crate::model::{EngineKey, GroupName, Request, Tier};

/// The longest reason of a hold, in bytes: it is shown in one line.
const LONGEST_REASON: usize = 200;

/// What is asked of a running mpswarden.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum ClientCommand {
    /// Show the groups, their engines and what is wrong.
    Status {
        /// The document of /api/v1/status.
        #[arg(long)]
        json: bool,
    },
    /// Show the last incidents, or one with its evidence and time line.
    Incidents(IncidentOptions),
    /// Restart a whole group, as a fault would.
    Restart {
        /// Name of the group.
        #[arg(value_parser = group)]
        group: GroupName,
        /// How far to go.
        #[arg(long, value_enum, default_value_t = TierChoice::Clients)]
        tier: TierChoice,
        /// How it is ordered.
        #[command(flatten)]
        how: OrderOptions,
    },
    /// Stop a group or one engine in order; it stays stopped until it is started.
    Stop {
        /// GROUP or GROUP/ENGINE.
        target: Target,
        /// How it is ordered.
        #[command(flatten)]
        how: OrderOptions,
    },
    /// Start a group or an engine that was stopped.
    Start {
        /// GROUP or GROUP/ENGINE.
        target: Target,
        /// How it is ordered.
        #[command(flatten)]
        how: OrderOptions,
    },
    /// Take one engine out without harm to its siblings and start it again.
    Evict {
        /// The engine, as GROUP/ENGINE.
        #[arg(value_parser = engine)]
        engine: EngineKey,
        /// How it is ordered.
        #[command(flatten)]
        how: OrderOptions,
    },
    /// Take one engine out for good.
    Quarantine {
        /// The engine, as GROUP/ENGINE.
        #[arg(value_parser = engine)]
        engine: EngineKey,
        /// How it is ordered.
        #[command(flatten)]
        how: OrderOptions,
    },
    /// Let a quarantined engine start again.
    Release {
        /// The engine, as GROUP/ENGINE.
        #[arg(value_parser = engine)]
        engine: EngineKey,
        /// How it is ordered.
        #[command(flatten)]
        how: OrderOptions,
    },
    /// Do nothing by itself in a group: only say what would be done. Outlives a restart of mpswarden.
    Hold {
        /// The groups that are held.
        #[command(flatten)]
        scope: Scope,
        /// Duration of the hold; without it until `resume`.
        #[arg(long = "for", value_name = "DURATION", value_parser = length)]
        lasts: Option<Duration>,
        /// Reason, for people who see the hold.
        #[arg(long, value_name = "TEXT", value_parser = reason)]
        reason: String,
        /// How it is ordered.
        #[command(flatten)]
        how: OrderOptions,
    },
    /// End a hold, and let a group that is held go on.
    Resume {
        /// The groups that are resumed.
        #[command(flatten)]
        scope: Scope,
        /// How it is ordered.
        #[command(flatten)]
        how: OrderOptions,
    },
    /// Take up the changed configuration: only what changed is restarted.
    Reload {
        /// How it is ordered.
        #[command(flatten)]
        how: OrderOptions,
    },
}

/// How an order is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Args)]
pub struct OrderOptions {
    /// Only say what it would come to.
    #[arg(long)]
    pub dry_run: bool,
    /// Wait until it is done.
    #[arg(long, conflicts_with = "dry_run")]
    pub wait: bool,
    /// How long to wait at most.
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = length)]
    pub timeout: Duration,
    /// The answer as JSON.
    #[arg(long)]
    pub json: bool,
}

/// One group or all.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[group(required = true, multiple = false)]
pub struct Scope {
    /// Name of the group.
    #[arg(value_parser = group)]
    group: Option<GroupName>,
    /// Every group.
    #[arg(long)]
    all: bool,
}

/// The tiers that can be ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TierChoice {
    /// All clients of the server.
    Clients,
    /// All clients, the server and the control daemon.
    Daemon,
}

/// A group or one engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A group, written `GROUP`.
    Group(GroupName),
    /// An engine, written `GROUP/ENGINE`.
    Engine(EngineKey),
}

impl ClientCommand {
    /// The order in it with the way it is given; the order is `None` for `reload`, and all of it for what
    /// only asks.
    pub fn order(self) -> Option<(Option<Request>, OrderOptions)> {
        let (request, how) = match self {
            ClientCommand::Status { .. } | ClientCommand::Incidents(_) => return None,
            ClientCommand::Reload { how } => return Some((None, how)),
            ClientCommand::Restart { group, tier, how } => (Request::Restart { group, tier: tier.into() }, how),
            ClientCommand::Stop { target: Target::Group(group), how } => (Request::StopGroup(group), how),
            ClientCommand::Stop { target: Target::Engine(engine), how } => (Request::StopEngine(engine), how),
            ClientCommand::Start { target: Target::Group(group), how } => (Request::StartGroup(group), how),
            ClientCommand::Start { target: Target::Engine(engine), how } => (Request::StartEngine(engine), how),
            ClientCommand::Evict { engine, how } => (Request::Evict(engine), how),
            ClientCommand::Quarantine { engine, how } => (Request::Quarantine(engine), how),
            ClientCommand::Release { engine, how } => (Request::Release(engine), how),
            ClientCommand::Hold { scope, lasts, reason, how } => {
                (Request::Hold { group: scope.group, lasts, reason }, how)
            }
            ClientCommand::Resume { scope, how } => (Request::Resume { group: scope.group }, how),
        };
        Some((Some(request), how))
    }
}

impl From<TierChoice> for Tier {
    fn from(choice: TierChoice) -> Tier {
        match choice {
            TierChoice::Clients => Tier::Clients,
            TierChoice::Daemon => Tier::Daemon,
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        match text.contains('/') {
            true => engine(text).map(Target::Engine),
            false => group(text).map(Target::Group),
        }
    }
}

/// Checks that a name is one that a configuration may spell.
fn name(text: &str) -> Result<&str, String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    match (1..=64).contains(&text.len()) && text.chars().all(fine) {
        true => Ok(text),
        false => Err("a name is 1 to 64 of A-Z a-z 0-9 . _ -".to_owned()),
    }
}

fn group(text: &str) -> Result<GroupName, String> {
    if text.contains('/') {
        return Err("a group alone, as in small-llms".to_owned());
    }
    name(text).map(GroupName::from)
}

fn engine(text: &str) -> Result<EngineKey, String> {
    let (group, engine) = text.split_once('/').ok_or("GROUP/ENGINE, as in small-llms/qwen-a")?;
    Ok(EngineKey { group: name(group)?.into(), engine: name(engine)?.into() })
}

fn length(text: &str) -> Result<Duration, String> {
    let length = units::duration(text).filter(|length| !length.is_zero());
    length.ok_or_else(|| units::DURATION_HINT.to_owned())
}

fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    match (1..=LONGEST_REASON).contains(&text.len()) && !text.chars().any(char::is_control) {
        true => Ok(text.to_owned()),
        false => Err(format!("one line of 1 to {LONGEST_REASON} bytes, for people who find the group held")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::wildcard_enum_match_arm)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::cli::{Arguments, Command, ExitStatus};

    fn read(words: &[&str]) -> Result<ClientCommand, ExitStatus> {
        let argv: Vec<OsString> = ["mpswarden"].iter().chain(words).map(OsString::from).collect();
        Arguments::read(&argv).map(|arguments| match arguments.command {
            Command::Client(command) => command,
            other => panic!("{other:?}"),
        })
    }

    fn request(words: &[&str]) -> Request {
        read(words).unwrap().order().unwrap().0.unwrap()
    }

    #[test]
    fn every_order_becomes_its_request() {
        let (group, key) = (GroupName::from("g"), EngineKey { group: "g".into(), engine: "e".into() });
        assert_eq!(request(&["restart", "g"]), Request::Restart { group: group.clone(), tier: Tier::Clients });
        let daemon = Request::Restart { group: group.clone(), tier: Tier::Daemon };
        assert_eq!(request(&["restart", "g", "--tier", "daemon"]), daemon);
        assert_eq!(request(&["stop", "g"]), Request::StopGroup(group.clone()));
        assert_eq!(request(&["stop", "g/e"]), Request::StopEngine(key.clone()));
        assert_eq!(request(&["start", "g"]), Request::StartGroup(group.clone()));
        assert_eq!(request(&["start", "g/e"]), Request::StartEngine(key.clone()));
        assert_eq!(request(&["evict", "g/e"]), Request::Evict(key.clone()));
        assert_eq!(request(&["quarantine", "g/e"]), Request::Quarantine(key.clone()));
        assert_eq!(request(&["release", "g/e"]), Request::Release(key));
        let hold =
            Request::Hold { group: None, lasts: Some(Duration::from_secs(7200)), reason: "a new model".to_owned() };
        assert_eq!(request(&["hold", "--all", "--for", "2h", "--reason", "a new model"]), hold);
        assert_eq!(request(&["resume", "g"]), Request::Resume { group: Some(group) });
        assert_eq!(read(&["reload"]).unwrap().order().map(|(request, _)| request), Some(None));
        assert_eq!(read(&["status"]).unwrap().order(), None);
    }

    #[test]
    fn an_order_may_be_tried_waited_for_and_bounded() {
        let how = |words: &[&str]| read(words).unwrap().order().unwrap().1;
        let plain = OrderOptions { dry_run: false, wait: false, timeout: Duration::from_secs(900), json: false };
        assert_eq!(how(&["evict", "g/e"]), plain);
        let waits = OrderOptions { wait: true, timeout: Duration::from_secs(5), ..plain };
        assert_eq!(how(&["evict", "g/e", "--wait", "--timeout", "5s"]), waits);
        assert_eq!(how(&["reload", "--dry-run", "--json"]), OrderOptions { dry_run: true, json: true, ..plain });
    }

    #[test]
    fn what_names_nothing_ends_with_64() {
        for wrong in [
            &["restart"][..],
            &["restart", "g/e"],
            &["restart", "g", "--tier", "engine"],
            &["evict", "g"],
            &["evict", "g/"],
            &["stop", "g/e/x"],
            &["stop", "a b"],
            &["hold", "g"],
            &["hold", "g", "--reason", " "],
            &["hold", "--reason", "x"],
            &["hold", "g", "--all", "--reason", "x"],
            &["hold", "g", "--for", "soon", "--reason", "x"],
            &["hold", "g", "--for", "0s", "--reason", "x"],
            &["resume"],
            &["resume", "g", "--dry-run", "--wait"],
        ] {
            assert_eq!(read(wrong).unwrap_err(), ExitStatus::Usage, "{wrong:?}");
        }
    }

    #[test]
    fn the_socket_may_be_named_before_the_command_or_after_it() {
        for words in [["--control-socket", "/x", "status"], ["status", "--control-socket", "/x"]] {
            let argv: Vec<OsString> = ["mpswarden"].iter().chain(&words).map(OsString::from).collect();
            assert_eq!(Arguments::read(&argv).unwrap().control_socket, Some("/x".into()));
        }
    }
}
