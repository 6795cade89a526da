//! What is said at a gate: one line of the caller, then lines of the watchdog until it may pass or the caller goes away.
//!
//! The caller: `mpswarden-gate 1 pass memory=42949672960 turn_ms=120000 engine=small-llms/qwen-a`, or `mpswarden-gate 1 ready`.
//! The watchdog, each second and at each change: `wait recovery WHY`, `pass`, or `refused WHY`.

use std::fmt;
use std::time::Duration;

/// Name of the socket in the pipe directory.
pub const SOCKET: &str = "mpswarden.gate";
/// Bytes of a line at most.
pub const LONGEST_LINE: usize = 1024;
/// Time between two lines of the watchdog at most.
pub const HEARTBEAT: Duration = Duration::from_secs(1);

const HELLO: &str = "mpswarden-gate 1";

/// What a caller waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lack {
    /// A watchdog that answers and knows the group.
    Watchdog,
    /// The control daemon.
    Daemon,
    /// A server that is ACTIVE.
    Server,
    /// The end of a restart of all engines.
    Recovery,
    /// Device memory.
    Memory,
    /// Its turn: another engine is starting.
    Turn,
}

impl Lack {
    const ALL: [(Lack, &'static str); 6] = [
        (Lack::Watchdog, "watchdog"),
        (Lack::Daemon, "daemon"),
        (Lack::Server, "server"),
        (Lack::Recovery, "recovery"),
        (Lack::Memory, "memory"),
        (Lack::Turn, "turn"),
    ];

    fn read(word: &str) -> Option<Lack> {
        Lack::ALL.iter().find(|(_, known)| *known == word).map(|(lack, _)| *lack)
    }

    /// Whether an engine that starts all the same is still inside MPS.
    pub fn can_be_given_up(self) -> bool {
        matches!(self, Lack::Memory | Lack::Turn)
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = Lack::ALL.iter().find(|(lack, _)| lack == self).map_or("", |(_, word)| word);
        f.pad(word)
    }
}

/// The line of a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// It wants to become an engine.
    Pass {
        /// Bytes of device memory that must be free; `None`: that is not asked.
        memory: Option<u64>,
        /// How long the next one waits at most until this engine is ready.
        turn: Duration,
        /// GROUP/ENGINE, for people.
        engine: Option<String>,
    },
    /// Its engine is ready, if the group is.
    Ready,
}

impl Call {
    /// Reads a caller's line. The error is for whoever said it.
    pub fn read(line: &str) -> Result<Call, String> {
        let rest = line.trim_end().strip_prefix(HELLO).ok_or(format!("this gate speaks `{HELLO}`"))?;
        let mut words = rest.split_whitespace();
        match words.next() {
            Some("ready") => Ok(Call::Ready),
            Some("pass") => {
                let (mut memory, mut turn, mut engine) = (None, Duration::ZERO, None);
                for word in words {
                    let (name, value) = word.split_once('=').ok_or(format!("`{word}` has no value"))?;
                    let number = || value.parse::<u32>().map_err(|_| format!("`{word}` is no number"));
                    match name {
                        "memory" => memory = Some(value.parse().map_err(|_| format!("`{word}` is no number"))?),
                        "turn_ms" => turn = Duration::from_millis(number()?.into()),
                        "engine" => engine = Some(value.to_owned()),
                        // A later version may say more.
                        _ => {}
                    }
                }
                Ok(Call::Pass { memory, turn, engine })
            }
            other => Err(format!("`{}` is no call", other.unwrap_or_default())),
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Call::Ready => write!(f, "{HELLO} ready"),
            Call::Pass { memory, turn, engine } => {
                write!(f, "{HELLO} pass turn_ms={}", turn.as_millis())?;
                memory.map_or(Ok(()), |memory| write!(f, " memory={memory}"))?;
                engine.as_ref().map_or(Ok(()), |engine| write!(f, " engine={engine}"))
            }
        }
    }
}

/// A line of the watchdog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Something is lacking, and why.
    Wait(Lack, String),
    /// The caller may pass; of `ready`: its engine is.
    Pass,
    /// It never may, and why.
    Refused(String),
}

impl Answer {
    /// Reads a watchdog's line; `None`: it can't be read.
    pub fn read(line: &str) -> Option<Answer> {
        let (word, rest) = line.trim_end().split_once(' ').unwrap_or((line.trim_end(), ""));
        match word {
            "pass" => Some(Answer::Pass),
            "refused" => Some(Answer::Refused(rest.to_owned())),
            "wait" => {
                let (lack, why) = rest.split_once(' ').unwrap_or((rest, ""));
                Some(Answer::Wait(Lack::read(lack)?, why.to_owned()))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Wait(lack, why) => write!(f, "wait {lack} {why}"),
            Answer::Pass => f.write_str("pass"),
            Answer::Refused(why) => write!(f, "refused {why}"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_read_back() {
        let turn = Duration::from_secs(120);
        let calls = [
            Call::Ready,
            Call::Pass { memory: None, turn, engine: None },
            Call::Pass { memory: Some(7), turn, engine: Some("g/e".to_owned()) },
        ];
        for call in calls {
            assert_eq!(Call::read(&format!("{call}\n")), Ok(call));
        }
        for (lack, _) in Lack::ALL {
            let answer = Answer::Wait(lack, "it is so, for 3 s".to_owned());
            assert_eq!(Answer::read(&format!("{answer}\n")), Some(answer));
        }
        for answer in [Answer::Pass, Answer::Refused("no".to_owned())] {
            assert_eq!(Answer::read(&answer.to_string()), Some(answer));
        }
    }

    #[test]
    fn what_is_not_understood_is_no_call_and_no_answer() {
        for line in
            ["", "GET / HTTP/1.1", "mpswarden-gate 2 pass", "mpswarden-gate 1 fly", "mpswarden-gate 1 pass turn_ms=x"]
        {
            assert!(Call::read(line).is_err(), "{line}");
        }
        assert!(Call::read("mpswarden-gate 1 pass turn_ms=9 colour=red").is_ok());
        for line in ["", "passed", "wait", "wait luck"] {
            assert_eq!(Answer::read(line), None, "{line}");
        }
    }

    #[test]
    fn only_turn_and_memory_can_be_given_up() {
        let given_up: Vec<Lack> =
            Lack::ALL.iter().map(|(lack, _)| *lack).filter(|lack| lack.can_be_given_up()).collect();
        assert_eq!(given_up, [Lack::Memory, Lack::Turn]);
    }
}
