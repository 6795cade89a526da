//! The command line of `gate`.

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use super::units;

/// Text that `--help` prints.
pub(super) const HELP: &str = "\
Stands in front of an engine that others start, and becomes it once the MPS group is ready

Usage: gate [OPTIONS] [GROUP/ENGINE] -- COMMAND [ARGUMENT]...
       gate --ready [--url URL] [--within DURATION] [--or start|fail]

It waits until the control daemon is up, its server ACTIVE, no restart under way, enough memory free and its turn has
come; then it becomes COMMAND. Its watchdog is found by CUDA_MPS_PIPE_DIRECTORY. It starts nothing outside MPS: without a
control daemon it ends with 75.

Options:
  --within DURATION   How long it waits at most [default: 10m]
  --or start|fail     What then, where only memory, the turn or the watchdog is lacking [default: fail]
  --memory SIZE       Device memory that must be free: 40GiB
  --turn DURATION     How long the next engine waits at most until this one says that it is ready [default: 2m]
  --ready             Ends with 0 if the group is well and the engine answers, which passes the turn on; else with 75.
                      With --or start the engine alone counts while no watchdog answers and a control daemon is there
  --url URL           What the engine must answer with 200: http://127.0.0.1:8000/health
  -h, --help          Print this

Exit status: that of COMMAND; 64: the command line is wrong; 75: it did not pass; 126, 127: COMMAND can't be run";

/// One way of calling it.
#[derive(Debug, PartialEq)]
pub(super) enum Asked {
    /// The text above.
    Help,
    /// A wait, after which it becomes a command.
    Pass(PassWish),
    /// Whether an engine is ready.
    Ready(ReadyWish),
}

/// What happens at the end of the wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Otherwise {
    /// The engine starts if it still starts inside MPS.
    Start,
    /// The engine does not start.
    Fail,
}

/// Options of the wait.
#[derive(Debug, PartialEq)]
pub(super) struct PassWish {
    pub within: Duration,
    pub otherwise: Otherwise,
    pub memory: Option<u64>,
    pub turn: Duration,
    pub engine: Option<String>,
    pub command: Vec<OsString>,
}

/// Options of `--ready`.
#[derive(Debug, PartialEq)]
pub(super) struct ReadyWish {
    /// How long it is asked again; zero: once.
    pub within: Duration,
    pub url: Option<String>,
    /// What counts while no watchdog answers.
    pub otherwise: Otherwise,
}

/// All that may stand before `--`.
#[derive(Default)]
struct Given {
    within: Option<Duration>,
    otherwise: Option<Otherwise>,
    memory: Option<u64>,
    turn: Option<Duration>,
    ready: bool,
    url: Option<String>,
    engine: Option<String>,
}

/// The arguments, or what is wrong with them.
pub(super) fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Asked, String> {
    let mut arguments = arguments.peekable();
    let mut given = Given::default();
    let mut command = Vec::new();
    while let Some(argument) = arguments.next() {
        let text = argument.to_str().ok_or_else(|| format!("{} is no text", argument.display()))?;
        let (name, joined) = match text.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(OsString::from(value))),
            _ => (text, None),
        };
        match name {
            "--" => {
                command = arguments.collect();
                break;
            }
            "-h" | "--help" => return Ok(Asked::Help),
            "--ready" => given.ready = true,
            name if name.starts_with('-') => {
                let value = joined.or_else(|| arguments.next()).ok_or(format!("{name} needs a value"))?;
                given.take(name, &value)?;
            }
            engine if given.engine.is_none() => given.engine = Some(engine.to_owned()),
            other => return Err(format!("`{other}` is one argument too many: the command comes after `--`")),
        }
    }
    given.asked(command)
}

impl Given {
    fn take(&mut self, name: &str, value: &OsStr) -> Result<(), String> {
        let text = value.to_str().unwrap_or_default();
        let wrong = |wanted: &str| format!("{name} can't be `{}`: {wanted}", value.display());
        let duration = || units::duration(text).ok_or_else(|| wrong("a number with ms, s, m or h"));
        match name {
            "--within" => self.within = Some(duration()?),
            "--turn" => self.turn = Some(duration()?),
            "--memory" => self.memory = Some(units::size(text).ok_or_else(|| wrong("a size, as in 40GiB"))?),
            "--url" => self.url = Some(text.to_owned()),
            "--or" => {
                self.otherwise = Some(match text {
                    "start" => Otherwise::Start,
                    "fail" => Otherwise::Fail,
                    _ => return Err(wrong("start or fail")),
                });
            }
            _ => return Err(format!("there is no {name}")),
        }
        Ok(())
    }

    fn asked(self, command: Vec<OsString>) -> Result<Asked, String> {
        if self.ready {
            let otherwise = self.otherwise.unwrap_or(Otherwise::Fail);
            return match command.is_empty() {
                true => {
                    Ok(Asked::Ready(ReadyWish { within: self.within.unwrap_or_default(), url: self.url, otherwise }))
                }
                false => Err("--ready starts no command".to_owned()),
            };
        }
        if command.is_empty() {
            return Err("no command: it comes after `--`".to_owned());
        }
        Ok(Asked::Pass(PassWish {
            within: self.within.unwrap_or(Duration::from_secs(600)),
            otherwise: self.otherwise.unwrap_or(Otherwise::Fail),
            memory: self.memory,
            turn: self.turn.unwrap_or(Duration::from_secs(120)),
            engine: self.engine,
            command,
        }))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Asked, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn what_stands_behind_two_dashes_is_the_commands() {
        let Ok(Asked::Pass(wish)) = read("--within 5m --memory=40GiB g/e -- vllm serve --or start") else { panic!() };
        assert_eq!((wish.within, wish.memory), (Duration::from_secs(300), Some(40 << 30)));
        assert_eq!((wish.otherwise, wish.engine.as_deref()), (Otherwise::Fail, Some("g/e")));
        assert_eq!(wish.command, ["vllm", "serve", "--or", "start"]);
    }

    #[test]
    fn ready_starts_nothing() {
        let Ok(Asked::Ready(wish)) = read("--ready --url http://127.0.0.1:8000/health") else { panic!() };
        assert_eq!((wish.within, wish.url.as_deref()), (Duration::ZERO, Some("http://127.0.0.1:8000/health")));
        assert_eq!(wish.otherwise, Otherwise::Fail);
        let Ok(Asked::Ready(bold)) = read("--ready --or start") else { panic!() };
        assert_eq!(bold.otherwise, Otherwise::Start);
        assert!(read("--ready -- vllm").unwrap_err().contains("no command"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, why) in [
            ("", "no command"),
            ("a/b c/d -- x", "too many"),
            ("--within soon -- x", "--within can't be `soon`"),
            ("--or die -- x", "start or fail"),
            ("--turn", "needs a value"),
            ("--fly 7 -- x", "there is no --fly"),
        ] {
            assert!(read(line).unwrap_err().contains(why), "{line}");
        }
    }
}
