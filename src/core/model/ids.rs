//! Names that two functions could confuse, each a type of its own.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

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

/// What the name of a group's second side ends with. The configuration refuses `~` in names.
const APART: &str = "~apart";

impl GroupName {
    /// The name of the group's second side on the same GPU, where suspects run. It is never shown: outside there
    /// is one group.
    pub fn apart(&self) -> GroupName {
        GroupName::from(format!("{}{APART}", self.home()))
    }

    /// The name that the configuration has.
    pub fn home(&self) -> GroupName {
        self.as_str().strip_suffix(APART).map_or_else(|| self.clone(), GroupName::from)
    }

    /// Whether it names a second side.
    pub fn is_apart(&self) -> bool {
        self.as_str().ends_with(APART)
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

/// Names one action from its order to its outcome; never reused within a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ActionId(pub u64);

impl fmt::Display for ActionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}
