//! What the file of one dialect holds, and all dialects together. What any engine was seen to print is recognized in
//! every engine's output: wrappers, plugins and libraries are shared, and no configuration has to say what an engine
//! is.

use std::sync::LazyLock;

use super::pattern::Pattern;
use super::{llama_cpp, other, sglang, transformers, vllm};

/// One dialect. All are regular expressions, but `marks`.
pub(super) struct Dialect {
    /// Texts without which no line of it says anything: only lines with one of them are looked at.
    pub marks: &'static [&'static str],
    /// How a message begins that says that all GPU memory is allocated; a function's name may stand before it.
    pub allocated: &'static [&'static str],
    /// Device memory that ran out, anywhere in a message.
    pub out_of_memory: &'static [&'static str],
    /// How a message begins that repeats what users sent or got.
    pub quotes: &'static [&'static str],
}

/// All of them.
const DIALECTS: [Dialect; 5] =
    [vllm::DIALECT, sglang::DIALECT, llama_cpp::DIALECT, transformers::DIALECT, other::DIALECT];

/// All texts of one kind.
pub(super) fn all(kind: fn(&Dialect) -> &'static [&'static str]) -> Vec<&'static str> {
    DIALECTS.iter().flat_map(kind).copied().collect()
}

/// Lines that say that everything is allocated.
pub(super) static ALLOCATED: LazyLock<Pattern> = LazyLock::new(|| {
    let texts = all(|dialect| dialect.allocated).join("|");
    Pattern::new(&format!(r"^(?:[\w.:/-]+:?\s+){{0,3}}(?:{texts})"))
});

/// Whether a line has such words anywhere.
pub(super) static MAY_BE_ALLOCATED: LazyLock<Pattern> =
    LazyLock::new(|| Pattern::new(&all(|dialect| dialect.allocated).join("|")));

/// Messages that repeat what users sent or got.
pub(super) static QUOTES: LazyLock<Pattern> = LazyLock::new(|| {
    let texts = all(|dialect| dialect.quotes).join("|");
    Pattern::new(&format!("^(?:{texts})"))
});
