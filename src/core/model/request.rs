//! What an operator asks of a running watchdog, and what it answers before it does it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::words::words;
use super::{EngineKey, EngineName, GroupName, Tier};

/// An order. `None` for a group means every group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// End all groups in order, engines in reverse, then the daemons; the watchdog ends then.
    Stop,
    /// End all groups at once; the watchdog ends then.
    StopNow,
    /// Restart a whole group as a fault would; the tier is `clients` unless it says more.
    Restart {
        /// Name of the group.
        group: GroupName,
        /// `clients` or `daemon`.
        tier: Tier,
    },
    /// Stop a group in order; it stays stopped until it is started.
    StopGroup(GroupName),
    /// Start a group that was stopped.
    StartGroup(GroupName),
    /// Stop all groups in order; the watchdog runs on. Each stays stopped until it is started.
    StopGroups,
    /// Start all groups that were stopped.
    StartGroups,
    /// Stop one engine; it stays stopped until it is started.
    StopEngine(EngineKey),
    /// Start one engine that was stopped.
    StartEngine(EngineKey),
    /// Take one engine out without harm to its siblings and start it again.
    Evict(EngineKey),
    /// Take one engine out for good.
    Quarantine(EngineKey),
    /// Let a quarantined engine start again, with its budget given back.
    Release(EngineKey),
    /// Do nothing by itself for a while: only say what it would do.
    Hold {
        /// Name of the group; `None`: all groups.
        group: Option<GroupName>,
        /// Duration of the hold; `None`: until `Resume`.
        lasts: Option<Duration>,
        /// Reason for people.
        reason: String,
    },
    /// End a hold, and go on with a group that is held; it gets its budget back.
    Resume {
        /// Name of the group; `None`: all groups.
        group: Option<GroupName>,
    },
}

/// The verb of an order, as people type it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// End all groups and the watchdog itself; a signal says so, or the end of a demo: it is read from nobody.
    #[serde(rename = "stop", skip_deserializing)]
    End,
    /// Stop a group or an engine.
    Stop,
    /// Restart a group.
    Restart,
    /// Start a group or an engine that was stopped.
    Start,
    /// Take an engine out and start it again.
    Evict,
    /// Take an engine out for good.
    Quarantine,
    /// Let a quarantined engine start again.
    Release,
    /// Do nothing by itself for a while.
    Hold,
    /// End a hold, and go on with a group that is held.
    Resume,
}

impl Verb {
    /// The one spelling of the verb.
    pub const fn as_str(self) -> &'static str {
        match self {
            Verb::End | Verb::Stop => "stop",
            Verb::Restart => "restart",
            Verb::Start => "start",
            Verb::Evict => "evict",
            Verb::Quarantine => "quarantine",
            Verb::Release => "release",
            Verb::Hold => "hold",
            Verb::Resume => "resume",
        }
    }
}

impl std::fmt::Display for Verb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What an order comes to, as things stand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// What would be done, a sentence each, in order.
    pub steps: Vec<String>,
    /// What the world looks like once it is done.
    pub goals: Vec<Awaited>,
}

/// A state to wait for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "FlatAwaited", try_from = "FlatAwaited")]
pub enum Awaited {
    /// The group serves, in this generation or a later one.
    GroupServes {
        /// Name of the group.
        group: GroupName,
        /// First generation that counts.
        generation: u32,
    },
    /// The group is stopped.
    GroupStopped(GroupName),
    /// Nothing of the watchdog's uses the driver.
    DriverLetGo,
    /// The engine serves, in this incarnation or a later one.
    EngineServes {
        /// The engine.
        engine: EngineKey,
        /// First incarnation that counts.
        incarnation: u32,
    },
    /// The engine has no process and gets none.
    EngineStopped(EngineKey),
}

/// A goal as JSON has it: flat, with a word for what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct FlatAwaited {
    /// The state that is waited for.
    goal: AwaitedWord,
    /// The group that it is about; left out: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<GroupName>,
    /// The engine that it is about; left out: the whole group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    engine: Option<EngineName>,
    /// The generation from which on it counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    generation: Option<u32>,
    /// The incarnation from which on it counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    incarnation: Option<u32>,
}

words!(
    /// What a goal waits for.
    AwaitedWord {
        /// A group that serves.
        GroupServes = "group_serves",
        /// A group that is stopped.
        GroupStopped = "group_stopped",
        /// A driver that nothing of ours uses.
        DriverLetGo = "driver_let_go",
        /// An engine that serves.
        EngineServes = "engine_serves",
        /// An engine that is stopped.
        EngineStopped = "engine_stopped",
    }
);

impl From<Awaited> for FlatAwaited {
    fn from(goal: Awaited) -> FlatAwaited {
        let of_all = |goal| FlatAwaited { goal, group: None, engine: None, generation: None, incarnation: None };
        let of_group = |goal, group| FlatAwaited { group: Some(group), ..of_all(goal) };
        let of_engine =
            |goal, engine: EngineKey| FlatAwaited { engine: Some(engine.engine), ..of_group(goal, engine.group) };
        match goal {
            Awaited::GroupServes { group, generation } => {
                FlatAwaited { generation: Some(generation), ..of_group(AwaitedWord::GroupServes, group) }
            }
            Awaited::GroupStopped(group) => of_group(AwaitedWord::GroupStopped, group),
            Awaited::DriverLetGo => of_all(AwaitedWord::DriverLetGo),
            Awaited::EngineServes { engine, incarnation } => {
                FlatAwaited { incarnation: Some(incarnation), ..of_engine(AwaitedWord::EngineServes, engine) }
            }
            Awaited::EngineStopped(engine) => of_engine(AwaitedWord::EngineStopped, engine),
        }
    }
}

impl TryFrom<FlatAwaited> for Awaited {
    type Error = &'static str;

    fn try_from(words: FlatAwaited) -> Result<Awaited, &'static str> {
        let FlatAwaited { goal, group, engine, generation, incarnation } = words;
        let key = |engine: Option<EngineName>| Some(EngineKey { group: group.clone()?, engine: engine? });
        match goal {
            AwaitedWord::GroupServes => {
                group.zip(generation).map(|(group, generation)| Awaited::GroupServes { group, generation })
            }
            AwaitedWord::GroupStopped => group.map(Awaited::GroupStopped),
            AwaitedWord::DriverLetGo => Some(Awaited::DriverLetGo),
            AwaitedWord::EngineServes => {
                key(engine).zip(incarnation).map(|(engine, incarnation)| Awaited::EngineServes { engine, incarnation })
            }
            AwaitedWord::EngineStopped => key(engine).map(Awaited::EngineStopped),
        }
        .ok_or("a goal lacks its group, its engine, its generation or its incarnation")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_flat_in_json_and_reads_back_as_the_same() {
        let engine = EngineKey { group: "g".into(), engine: "e".into() };
        for (goal, written) in [
            (
                Awaited::GroupServes { group: "g".into(), generation: 3 },
                r#"{"goal":"group_serves","group":"g","generation":3}"#,
            ),
            (Awaited::GroupStopped("g".into()), r#"{"goal":"group_stopped","group":"g"}"#),
            (Awaited::DriverLetGo, r#"{"goal":"driver_let_go"}"#),
            (
                Awaited::EngineServes { engine: engine.clone(), incarnation: 2 },
                r#"{"goal":"engine_serves","group":"g","engine":"e","incarnation":2}"#,
            ),
            (Awaited::EngineStopped(engine), r#"{"goal":"engine_stopped","group":"g","engine":"e"}"#),
        ] {
            assert_eq!(serde_json::to_string(&goal).unwrap(), written);
            assert_eq!(serde_json::from_str::<Awaited>(written).unwrap(), goal);
        }
        assert!(serde_json::from_str::<Awaited>(r#"{"goal":"engine_stopped","group":"g"}"#).is_err());
    }
}
