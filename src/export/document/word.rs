//! The core's words in a document: strings of which the schema knows every spelling.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::model::gpu::{ComputeMode, RecoveryAction};
use crate::model::{
    AdviceReason, BaselineSource, Doubt, EngineIsolation, EngineKind, EngineState, Fault, GroupState, HeldReason,
    ManagedBy, Mode, ProbeState, Question, Reason, RecoveryStep, ServerState, Slot, Source, SourceState, Strength,
    Tier,
};

/// What has one fixed spelling for each of its values.
pub(super) trait Spelled: Copy + 'static {
    /// Name of its definition in a schema.
    const NAME: &'static str;

    /// The spelling of this value.
    fn spelling(self) -> &'static str;

    /// Every spelling that there is.
    fn spellings() -> Vec<&'static str>;
}

/// One of the core's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word<T>(pub T);

impl<T: Spelled> Serialize for Word<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.0.spelling())
    }
}

impl<T: Spelled> JsonSchema for Word<T> {
    fn schema_name() -> Cow<'static, str> {
        T::NAME.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": T::spellings() })
    }
}

macro_rules! spelled {
    ($($word:ident),+ $(,)?) => {
        $(impl Spelled for $word {
            const NAME: &'static str = stringify!($word);

            fn spelling(self) -> &'static str {
                self.as_str()
            }

            fn spellings() -> Vec<&'static str> {
                $word::ALL.iter().map(|word| word.as_str()).collect()
            }
        })+
    };
}

spelled!(
    AdviceReason,
    BaselineSource,
    ComputeMode,
    Doubt,
    EngineIsolation,
    EngineKind,
    EngineState,
    Fault,
    GroupState,
    HeldReason,
    ManagedBy,
    Mode,
    ProbeState,
    Question,
    RecoveryAction,
    RecoveryStep,
    ServerState,
    Slot,
    Source,
    SourceState,
    Strength,
    Tier,
);

impl Spelled for Reason {
    const NAME: &'static str = "Reason";

    fn spelling(self) -> &'static str {
        self.as_str()
    }

    fn spellings() -> Vec<&'static str> {
        Fault::ALL.iter().map(|fault| fault.as_str()).chain([Reason::Operator.as_str()]).collect()
    }
}
