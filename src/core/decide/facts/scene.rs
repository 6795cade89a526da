//! What is known of one fault domain and of the engines in it. What it is about to do is not here.

use std::collections::BTreeMap;

use crate::decide::facts::around::{Around, Departed};
use crate::decide::facts::engine::Engine;
use crate::decide::facts::{ControlFacts, ServerFacts};
use crate::decide::policy::GroupPolicy;
use crate::model::{DomainId, EngineName, Fault, Known, Moment};

/// Everything that is known of one fault domain.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    pub id: DomainId,
    pub policy: GroupPolicy,
    pub control: ControlFacts,
    pub server: ServerFacts,
    pub engines: Vec<Engine>,
    /// Engines' processes were looked for at least once.
    pub trees_seen: Known<()>,
    /// Faults that are there, and since when.
    pub faults: BTreeMap<(Option<EngineName>, Fault), Moment>,
    /// Whoever else is on its GPU and its host.
    pub around: Around,
    /// Clients that left its server.
    pub departed: Departed,
}
