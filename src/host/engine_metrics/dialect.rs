//! What engines differ in: how they name their figures, and how they are asked for a token.

use crate::model::EngineKind;

use super::token::Form;
use super::{llama_cpp, sglang, transformers, vllm};

/// One engine's ways.
#[derive(Debug)]
pub(super) struct MetricsDialect {
    pub kind: EngineKind,
    /// Every series of its own begins so.
    pub prefix: &'static str,
    /// The rest of the names that are read. Of a figure with several, the first that is there counts: an older name
    /// may stand beside the newer one, with the same value.
    pub names: &'static [(&'static str, Figure)],
    /// Requests for one token, each tried where the one before it is not known there.
    pub forms: &'static [Form],
}

/// A figure that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Figure {
    Running,
    Waiting,
    KvCache,
    PromptTokens,
    GenerationTokens,
    Requests,
    /// A count that grows while it works.
    Steps,
    /// A figure that changes while it works, and may go up and down.
    Pace,
    /// 1 in one of several states, of which "awake" is one.
    Sleep,
}

/// Those whose figures are known.
const DIALECTS: [&MetricsDialect; 3] = [&vllm::DIALECT, &sglang::DIALECT, &llama_cpp::DIALECT];

/// The dialect that has this series; `None`: none that is known.
pub(super) fn of_series(name: &[u8]) -> Option<&'static MetricsDialect> {
    DIALECTS.into_iter().find(|dialect| name.starts_with(dialect.prefix.as_bytes()))
}

/// How an engine of this kind is asked for a token.
pub(super) fn forms_of(kind: EngineKind) -> &'static [Form] {
    match DIALECTS.into_iter().find(|dialect| dialect.kind == kind) {
        Some(dialect) => dialect.forms,
        None => transformers::FORMS,
    }
}

impl MetricsDialect {
    /// The place of a series among its names.
    pub(super) fn place(&self, name: &[u8]) -> Option<usize> {
        let name = name.strip_prefix(self.prefix.as_bytes())?;
        self.names.iter().position(|(known, _)| known.as_bytes() == name)
    }
}
