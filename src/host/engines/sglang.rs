//! SGLang: `[2026-11-29 14:34:30 TP0] message`, without a level for its own messages. `--log-requests` repeats prompts
//! and answers.

use super::dialect::Dialect;

pub(super) const DIALECT: Dialect = Dialect {
    marks: &["KV Cache is allocated", "Memory pool end", "Not enough memory"],
    allocated: &[r"KV Cache is allocated\.", r"Memory pool end\."],
    // The weights left nothing of its share for the cache.
    out_of_memory: &[r"Not enough memory\. Please try to increase --mem-fraction-static"],
    quotes: &[r"(?:Receive|Finish)(?:d|ed)?(?: request)?: (?:obj|rid|text)=", r"Request (?:received|finished)\b"],
};
