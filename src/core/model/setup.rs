//! What is in force, as far as a bundle of an incident needs it. Nothing in it is secret.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::GroupName;

/// A configuration in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// Where it was read; `None`: it was made by `demo`.
    pub file: Option<PathBuf>,
    /// The effective one as TOML, secrets hidden.
    pub configuration: String,
    /// Where the kernel log is.
    pub kernel_log: PathBuf,
    /// Where each group's logs are, and where those of its second side are, should it ever have had one.
    pub logs: BTreeMap<GroupName, [PathBuf; 2]>,
}
