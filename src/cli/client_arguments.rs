//! The command line of those who ask a running mpswarden: what they want becomes a `Request`. Touches nothing.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::incident_arguments::IncidentOptions;
use super::names::{EngineWord, Meant, Names, Target};
use crate::config::units;
use crate::model::{GroupName, Request, Tier};

/// The longest reason of a hold, in bytes: it is shown in one line.
const LONGEST_REASON: usize = 200;

/// What is asked of a running mpswarden.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum ClientCommand {
    /// Show the groups, their engines and what is wrong.
    Status(StatusOptions),
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
        /// GROUP, GROUP/ENGINE, or ENGINE where one has that name; GROUP/ is the group alone.
        #[arg(required_unless_present = "all")]
        target: Option<Target>,
        /// Every group; then nothing of mpswarden's uses the driver, until one is started.
        #[arg(long, conflicts_with = "target")]
        all: bool,
        /// How it is ordered.
        #[command(flatten)]
        how: OrderOptions,
    },
    /// Start a group or an engine that was stopped, or that waits in its back-off.
    Start {
        /// GROUP, GROUP/ENGINE, or ENGINE where one has that name; GROUP/ is the group alone.
        #[arg(required_unless_present = "all")]
        target: Option<Target>,
        /// Every group that is stopped.
        #[arg(long, conflicts_with = "target")]
        all: bool,
        /// How it is ordered.
        #[command(flatten)]
        how: OrderOptions,
    },
    /// Take one engine out without harm to its siblings and start it again.
    Evict {
        /// GROUP/ENGINE, or ENGINE where one has that name.
        engine: EngineWord,
        /// How it is ordered.
        #[command(flatten)]
        how: OrderOptions,
    },
    /// Take one engine out for good.
    Quarantine {
        /// GROUP/ENGINE, or ENGINE where one has that name.
        engine: EngineWord,
        /// How it is ordered.
        #[command(flatten)]
        how: OrderOptions,
    },
    /// Let a quarantined engine start again.
    Release {
        /// GROUP/ENGINE, or ENGINE where one has that name.
        engine: EngineWord,
        /// How it is ordered.
        #[command(flatten)]
        how: OrderOptions,
    },
    /// Do nothing by itself in a group: only say what would be done. Outlives a restart of mpswarden.
    #[command(visible_alias = "pause")]
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

/// What of the status is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Args)]
pub struct StatusOptions {
    /// The document of /api/v1/status.
    #[arg(long)]
    pub json: bool,
    /// Show it anew each second, until Ctrl-C.
    #[arg(long)]
    pub watch: bool,
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

impl ClientCommand {
    /// How an order is given; `None` for what only asks.
    pub fn how(&self) -> Option<OrderOptions> {
        match self {
            ClientCommand::Status(_) | ClientCommand::Incidents(_) => None,
            ClientCommand::Restart { how, .. }
            | ClientCommand::Stop { how, .. }
            | ClientCommand::Start { how, .. }
            | ClientCommand::Evict { how, .. }
            | ClientCommand::Quarantine { how, .. }
            | ClientCommand::Release { how, .. }
            | ClientCommand::Hold { how, .. }
            | ClientCommand::Resume { how, .. }
            | ClientCommand::Reload { how } => Some(*how),
        }
    }

    /// Whether a name in it says what is meant only where one knows which names there are.
    pub(super) fn has_bare_name(&self) -> bool {
        match self {
            ClientCommand::Stop { target, .. } | ClientCommand::Start { target, .. } => {
                matches!(target, Some(Target::Bare(_)))
            }
            ClientCommand::Evict { engine, .. }
            | ClientCommand::Quarantine { engine, .. }
            | ClientCommand::Release { engine, .. } => matches!(engine, EngineWord::Bare(_)),
            ClientCommand::Status(_)
            | ClientCommand::Incidents(_)
            | ClientCommand::Restart { .. }
            | ClientCommand::Hold { .. }
            | ClientCommand::Resume { .. }
            | ClientCommand::Reload { .. } => false,
        }
    }

    /// The order in it, where these names are there; `None` for `reload` and for what only asks. The error: which name
    /// is not one, and the cure.
    pub(super) fn request(self, names: &Names) -> Result<Option<Request>, String> {
        Ok(Some(match self {
            ClientCommand::Status(_) | ClientCommand::Incidents(_) | ClientCommand::Reload { .. } => return Ok(None),
            ClientCommand::Restart { group, tier, .. } => Request::Restart { group, tier: tier.into() },
            ClientCommand::Stop { target, .. } => match target.map(|target| names.target(target)).transpose()? {
                None => Request::StopGroups,
                Some(Meant::Group(group)) => Request::StopGroup(group),
                Some(Meant::Engine(engine)) => Request::StopEngine(engine),
            },
            ClientCommand::Start { target, .. } => match target.map(|target| names.target(target)).transpose()? {
                None => Request::StartGroups,
                Some(Meant::Group(group)) => Request::StartGroup(group),
                Some(Meant::Engine(engine)) => Request::StartEngine(engine),
            },
            ClientCommand::Evict { engine, .. } => Request::Evict(names.engine(engine)?),
            ClientCommand::Quarantine { engine, .. } => Request::Quarantine(names.engine(engine)?),
            ClientCommand::Release { engine, .. } => Request::Release(names.engine(engine)?),
            ClientCommand::Hold { scope, lasts, reason, .. } => Request::Hold { group: scope.group, lasts, reason },
            ClientCommand::Resume { scope, .. } => Request::Resume { group: scope.group },
        }))
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

/// Checks that a name is one that a configuration may spell.
pub(super) fn name(text: &str) -> Result<&str, String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    match (1..=64).contains(&text.len()) && text.chars().all(fine) {
        true => Ok(text),
        false => Err("a name is 1 to 64 of A-Z a-z 0-9 . _ -".to_owned()),
    }
}

pub(super) fn group(text: &str) -> Result<GroupName, String> {
    if text.contains('/') {
        return Err("a group alone, as in small-llms".to_owned());
    }
    name(text).map(GroupName::from)
}

pub(super) fn length(text: &str) -> Result<Duration, String> {
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
    use crate::model::EngineKey;

    fn read(words: &[&str]) -> Result<ClientCommand, ExitStatus> {
        let argv: Vec<OsString> = ["mpswarden"].iter().chain(words).map(OsString::from).collect();
        Arguments::read(&argv).map(|arguments| match arguments.command {
            Command::Client(command) => command,
            other => panic!("{other:?}"),
        })
    }

    fn request(words: &[&str]) -> Request {
        read(words).unwrap().request(&Names::default()).unwrap().unwrap()
    }

    #[test]
    fn every_order_becomes_its_request() {
        let (group, key) = (GroupName::from("g"), EngineKey { group: "g".into(), engine: "e".into() });
        assert_eq!(request(&["restart", "g"]), Request::Restart { group: group.clone(), tier: Tier::Clients });
        let daemon = Request::Restart { group: group.clone(), tier: Tier::Daemon };
        assert_eq!(request(&["restart", "g", "--tier", "daemon"]), daemon);
        assert_eq!(request(&["stop", "g/"]), Request::StopGroup(group.clone()));
        assert_eq!(request(&["stop", "g/e"]), Request::StopEngine(key.clone()));
        assert_eq!(request(&["start", "g/"]), Request::StartGroup(group.clone()));
        assert_eq!(request(&["start", "g/e"]), Request::StartEngine(key.clone()));
        assert_eq!(request(&["evict", "g/e"]), Request::Evict(key.clone()));
        assert_eq!(request(&["quarantine", "g/e"]), Request::Quarantine(key.clone()));
        assert_eq!(request(&["release", "g/e"]), Request::Release(key));
        let hold =
            Request::Hold { group: None, lasts: Some(Duration::from_secs(7200)), reason: "a new model".to_owned() };
        assert_eq!(request(&["hold", "--all", "--for", "2h", "--reason", "a new model"]), hold);
        let paused = Request::Hold { group: Some(group.clone()), lasts: None, reason: "x".to_owned() };
        assert_eq!(request(&["pause", "g", "--reason", "x"]), paused);
        assert_eq!(request(&["resume", "g"]), Request::Resume { group: Some(group) });
        assert_eq!(read(&["reload"]).unwrap().request(&Names::default()), Ok(None));
        assert_eq!(read(&["status"]).unwrap().how(), None);
    }

    #[test]
    fn only_a_name_that_leaves_its_group_out_makes_it_ask_which_names_there_are() {
        for (words, bare) in [
            (&["evict", "e"][..], true),
            (&["stop", "g"], true),
            (&["stop", "g/"], false),
            (&["evict", "g/e"], false),
            (&["restart", "g"], false),
            (&["reload"], false),
        ] {
            assert_eq!(read(words).unwrap().has_bare_name(), bare, "{words:?}");
        }
    }

    #[test]
    fn an_order_may_be_tried_waited_for_and_bounded() {
        let how = |words: &[&str]| read(words).unwrap().how().unwrap();
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
            &["evict", "g/"],
            &["evict", "/e"],
            &["stop", "/"],
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
