//! Names that two functions could confuse, each a type of its own.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::words::words;

macro_rules! name {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                $name(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                $name(text.into())
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name!(
    /// A group's name, from the configuration.
    GroupName
);
name!(
    /// An engine's name, unique within its group.
    EngineName
);
name!(
    /// A GPU's UUID as NVML spells it, `GPU-...`.
    GpuUuid
);

name!(
    /// Where an engine answers HTTP: `http://host:port`, `https://host:port` or `unix:/path`, as configured.
    EngineAddress
);

words!(
    /// Which of a group's fault domains.
    Slot {
        /// The one that every group has.
        Main = "main",
        /// The one that a group has while engines run isolated from their siblings.
        Isolation = "isolation",
    }
);

/// What the directory names of a group's second domain end with. The configuration refuses `~` in names.
const ISOLATION_ENDING: &str = "~apart";

/// One fault domain: a control daemon, its server, and the engines that die together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct DomainId {
    /// Name of the group.
    pub group: GroupName,
    /// Which of the group's domains.
    pub slot: Slot,
}

impl DomainId {
    /// The domain that every group has.
    pub fn main(group: &GroupName) -> Self {
        DomainId { group: group.clone(), slot: Slot::Main }
    }

    /// The domain in which suspects of a group run.
    pub fn isolation(group: &GroupName) -> Self {
        DomainId { group: group.clone(), slot: Slot::Isolation }
    }

    /// The spelling of directories, cgroups and files that outlive the watchdog.
    pub fn directory_name(&self) -> String {
        match self.slot {
            Slot::Main => self.group.to_string(),
            Slot::Isolation => format!("{}{ISOLATION_ENDING}", self.group),
        }
    }

    /// An engine of it.
    pub fn member(&self, engine: &EngineName) -> Member {
        Member::new(self, engine)
    }
}

/// Reads the spelling of directories.
impl From<&str> for DomainId {
    fn from(name: &str) -> Self {
        match name.strip_suffix(ISOLATION_ENDING) {
            Some(group) => DomainId::isolation(&group.into()),
            None => DomainId::main(&name.into()),
        }
    }
}

impl From<String> for DomainId {
    fn from(name: String) -> Self {
        DomainId::from(name.as_str())
    }
}

impl From<DomainId> for String {
    fn from(id: DomainId) -> Self {
        id.directory_name()
    }
}

/// Prints it for people: the group's name alone, with the slot where that is not the main one.
impl fmt::Display for DomainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.slot {
            Slot::Main => write!(f, "{}", self.group),
            slot => write!(f, "{}:{slot}", self.group),
        }
    }
}

/// One engine of one group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EngineKey {
    /// The group that the engine belongs to.
    pub group: GroupName,
    /// The engine's name in it.
    pub engine: EngineName,
}

impl EngineKey {
    /// The engine `engine` of `group`.
    pub fn new(group: &GroupName, engine: &EngineName) -> Self {
        EngineKey { group: group.clone(), engine: engine.clone() }
    }
}

impl fmt::Display for EngineKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.group, self.engine)
    }
}

/// One engine in one of its group's domains: where it runs. What it is called outside is its key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Member {
    /// The domain that it runs in.
    #[serde(rename = "group")]
    pub domain: DomainId,
    /// The engine's name in its group.
    pub engine: EngineName,
}

impl Member {
    /// The engine `engine` in `domain`.
    pub fn new(domain: &DomainId, engine: &EngineName) -> Self {
        Member { domain: domain.clone(), engine: engine.clone() }
    }

    /// The engine, wherever it runs.
    pub fn key(&self) -> EngineKey {
        EngineKey::new(&self.domain.group, &self.engine)
    }

    /// One incarnation of it.
    pub fn instance(&self, incarnation: u32) -> InstanceId {
        InstanceId { engine: self.key(), slot: self.domain.slot, incarnation }
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.domain, self.engine)
    }
}

/// One incarnation of an engine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "(Member, u32)", into = "(Member, u32)")]
pub struct InstanceId {
    /// The engine.
    pub engine: EngineKey,
    /// Slot of the domain that it runs in.
    pub slot: Slot,
    /// Its number, counted from 1.
    pub incarnation: u32,
}

impl InstanceId {
    /// The domain that it runs in.
    pub fn domain(&self) -> DomainId {
        DomainId { group: self.engine.group.clone(), slot: self.slot }
    }

    /// Where it runs, whichever incarnation it is.
    pub fn member(&self) -> Member {
        Member { domain: self.domain(), engine: self.engine.engine.clone() }
    }
}

impl From<(Member, u32)> for InstanceId {
    fn from((member, incarnation): (Member, u32)) -> Self {
        member.instance(incarnation)
    }
}

impl From<InstanceId> for (Member, u32) {
    fn from(instance: InstanceId) -> Self {
        (instance.member(), instance.incarnation)
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} #{}", self.member(), self.incarnation)
    }
}

/// Names one action from its order to its outcome; never reused within a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ActionId(pub u64);

impl fmt::Display for ActionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn isolated() -> DomainId {
        DomainId::isolation(&"small".into())
    }

    #[test]
    fn a_domain_is_spelled_for_people_and_for_directories() {
        let main = DomainId::main(&"small".into());
        assert_eq!((main.to_string(), main.directory_name()), ("small".to_owned(), "small".to_owned()));
        assert_eq!(
            (isolated().to_string(), isolated().directory_name()),
            ("small:isolation".to_owned(), "small~apart".to_owned())
        );
    }

    #[test]
    fn what_was_written_before_domains_had_a_slot_is_still_read() {
        let written = r#"[{"group":"small~apart","engine":"a"},3]"#;
        let instance: InstanceId = serde_json::from_str(written).unwrap();
        assert_eq!(instance, isolated().member(&"a".into()).instance(3));
        assert_eq!(serde_json::to_string(&instance).unwrap(), written);
        assert_eq!(serde_json::from_str::<DomainId>(r#""small""#).unwrap(), DomainId::main(&"small".into()));
    }
}
