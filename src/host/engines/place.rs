//! Whether words stand where an exception's text stands, or in prose or quotes.

use std::cell::OnceCell;
use std::ops::Range;
use std::sync::LazyLock;

use super::line::Level;
use super::pattern::{Pattern, near_end};

/// Keys and labels of what users sent or got.
const USERS: &str = concat!(
    r"(?i:(?:(?:user|input|prompt|request|response|generated|model|raw|system|chat|message|output)_)?",
    r"(?:prompts?|texts?|contents?|messages|inputs?|outputs?|body|arguments?|args|user|query|queries|",
    r"completions?|responses?|requests?|questions?|answers?|generated|generation|reasoning|instructions?|system|",
    r"assistant|payload|chat|conversation|documents?|passages?|tool_calls?|delta|choices|out)",
    r"(?:_(?:text|body|content|str|json|tokens?))?)"
);

/// A user's key right before a quote, or before words without one.
static USERS_KEY: LazyLock<Pattern> =
    LazyLock::new(|| Pattern::new(&format!(r#"(?:^|[^\w])(?:{USERS})["'\\]*\s*[:=]\s*(?:[\[{{(]\s*)*[brf]?$"#)));

/// What stands right before a quote in which the program's own words are.
static OWN_QUOTE: LazyLock<Pattern> = LazyLock::new(|| {
    Pattern::new(concat!(
        r"(?:(?i:error|exception|failure|fault|exit)\(",
        r#"|(?i:error|err|exception|exc_info|msg|message|reason|cause|details?|description|what\(\)|stderr|failed|"#,
        r#"failure|status)["'\\]*\s*[:=(])\s*b?$"#
    ))
});

/// An exception's class, a place in a file, a status: whatever stands right before an exception's text. A class may
/// have its text in quotes, as Python's `repr` has it.
static LEAD: LazyLock<Pattern> = LazyLock::new(|| {
    Pattern::new(concat!(
        r"(?:(?:[\w.:]*(?:Error|Exception|Failure|Exit)(?: [Cc]ode \d+)?|[a-z_]\w*\.(?:\w+\.)*[A-Z]\w*",
        r"|[\w./+-]+\.(?:cuh?|cc|cpp|cxx|c|h|hpp|py|rs|go|inl)(?:[:(]\d+)+\)?|\bINTERNAL)",
        r"(?:\[[^\]]*\])?(?:\([^()]*\))?\s*[:\]]|[\w.:]*(?:Error|Exception)\(b?|\bValue error,|\bNCCL WARN)",
        r#"\s*['"]?$"#
    ))
});

/// An exception's class, a function's name.
static CLASS: LazyLock<Pattern> = LazyLock::new(|| Pattern::new(r"\b(?:[\w.:]*(?:Error|Exception)|[a-z]\w*_\w+):"));

/// How people begin who ask, and no program.
static PEOPLE: LazyLock<Pattern> = LazyLock::new(|| {
    Pattern::new(
        r"^(?i:why|what(?:'s)?|how|my|i|i'm|i've|we|our|please|hi|hello|hey|help|does|do you|some(?:one|body))[ ,]",
    )
});

/// Words of prose about an error.
static OF_ERRORS: LazyLock<Pattern> = LazyLock::new(|| {
    Pattern::new(concat!(
        r"(?i)error|exception|fail|fatal|abort|crash|terminat|panic|\bdied|\bdead|caught|raise|unable|cannot|can't",
        r"|could not|assert|\boom\b|ran out|traceback|\bstatus|rank ?\d|worker|what\(\)|code=|process|device \d|gpu ?\d"
    ))
});

/// A function's name, a path or a call: no prose.
static MACHINE: LazyLock<Pattern> = LazyLock::new(|| {
    Pattern::new(concat!(
        r"^\S+$|^\S*(?:_|::|\.|\(\))\S*:(?:\s|$)|\.(?:cuh?|cc|cpp|cxx|c|h|hpp|py|rs|go|inl)[:(]\d+",
        r"|\w\([^)]*\)\s*:?$"
    ))
});

/// Length of the text before some words that is looked at.
const NEAR: usize = 200;

/// Length up to which a label is no prose.
const SHORT: usize = 40;

/// Length of the longest "word" that is one.
const LONGEST_WORD: usize = 25;

/// One message in which words were found.
pub(super) struct Message<'a> {
    text: &'a str,
    level: Level,
    /// Its line's beginning is known; else it is a window into a very long line.
    whole: bool,
    quotes: OnceCell<Vec<Range<usize>>>,
}

impl<'a> Message<'a> {
    pub(super) fn new(text: &'a str, level: Level, whole: bool) -> Self {
        Message { text, level, whole, quotes: OnceCell::new() }
    }

    /// Whether the words at `at` stand where an exception's text stands.
    pub(super) fn is_said_at(&self, at: usize) -> bool {
        if self.quotes().iter().any(|quote| quote.contains(&at)) {
            return false;
        }
        let (before, led) = without_leads(&self.text[..at]);
        match self.level {
            Level::Chatter => false,
            Level::Unsaid if self.whole && PEOPLE.is_match(self.text) => false,
            Level::Warning => before.is_empty() && self.whole,
            _ if before.is_empty() || !self.whole => true,
            Level::Error | Level::Unsaid => self.ends_a_label(before, led),
        }
    }

    /// Whether the message ends inside of what a user sent or got.
    pub(super) fn ends_in_quotes(&self) -> bool {
        self.quotes().last().is_some_and(|quote| quote.end > self.text.len())
    }

    /// Whether `before`, which may end in an exception's class (`led`), is what a program says before an error's text.
    fn ends_a_label(&self, before: &str, led: bool) -> bool {
        let error = self.level == Level::Error;
        let (_, near) = near_end(before, NEAR);
        if !error && is_retold(before) {
            return false;
        }
        let known = || error || OF_ERRORS.is_match(before) || MACHINE.is_match(before);
        match before.bytes().next_back() {
            Some(b':' | b'=') if USERS_KEY.is_match(near) => false,
            Some(b'=') => true,
            Some(b':') => known() || before.len() <= SHORT,
            Some(b'`') => names_in_advice(before),
            Some(b'\'' | b'"') => before.len() == 1 || OWN_QUOTE.is_match(&near[..near.len() - 1]),
            Some(b',' | b'?' | b'!') => false,
            Some(last) if last.is_ascii_punctuation() => known(),
            _ => is_no_word(before) || error && (led || OF_ERRORS.is_match(before)),
        }
    }

    fn quotes(&self) -> &[Range<usize>] {
        self.quotes.get_or_init(|| quotes(self.text, self.level))
    }
}

/// `before` without exceptions' classes and places at its end, and whether there were any.
fn without_leads(before: &str) -> (&str, bool) {
    let (mut rest, mut led) = (before.trim_end(), false);
    loop {
        let (from, near) = near_end(rest, NEAR);
        let Some(lead) = LEAD.find(near).filter(|lead| !lead.is_empty()) else { return (rest, led) };
        rest = rest[..from + lead.start].trim_end();
        led = true;
    }
}

/// Whether prose leads over to the first exception or function: "Why do I get RuntimeError: ... failed:".
fn is_retold(before: &str) -> bool {
    let words = CLASS.find(before).map(|class| before[..class.start].trim_end());
    words.is_some_and(|words| words.ends_with(char::is_alphabetic) && !is_no_word(words))
}

/// PyTorch's second line: "Search for `cudaErrorIllegalAddress' in ...".
fn names_in_advice(before: &str) -> bool {
    let rest = before.strip_suffix("Search for `").map(str::trim_end);
    rest.is_some_and(|rest| rest.is_empty() || rest.ends_with(|last: char| last.is_ascii_punctuation()))
}

/// Whether the last word is no word of a language: a figure, a bar of dots, a blob.
fn is_no_word(before: &str) -> bool {
    let last = before.rsplit(char::is_whitespace).next().unwrap_or_default();
    let place = || last.contains(':') && last.ends_with(|last: char| last.is_ascii_digit());
    last.len() > LONGEST_WORD || !last.chars().any(char::is_alphabetic) || place()
}

/// What stands in quotes that are not the program's own, the last one open to beyond the end where a user's key
/// opened it. One pass.
fn quotes(text: &str, level: Level) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let (mut found, mut at, mut open) = (Vec::new(), 0, [true; 2]);
    while let Some(next) = memchr::memchr2(b'\'', b'"', &bytes[at..]).map(|next| at + next) {
        at = next + 1;
        let (_, before) = near_end(&text[..next], NEAR);
        let opens = before.bytes().next_back().is_none_or(|last| b" \t=:([{,\\".contains(&last));
        let users = opens && USERS_KEY.is_match(before.trim_end_matches('\\'));
        let own = OWN_QUOTE.is_match(before) || level == Level::Error && text[..next].trim().is_empty();
        let kind = &mut open[usize::from(bytes[next] == b'"')];
        if !opens || (own && !users) || !(*kind || users) {
            continue;
        }
        match closes(bytes, next).filter(|_| *kind) {
            Some(end) => {
                found.push(next + 1..end);
                at = end + 1;
            }
            None if users => {
                found.push(next + 1..text.len() + 1);
                break;
            }
            // None of this kind closes any more.
            None => *kind = false,
        }
    }
    found
}

/// Where the quote that opens at `open` closes: at the same mark, not escaped, with no word right after it.
fn closes(bytes: &[u8], open: usize) -> Option<usize> {
    let mark = bytes[open];
    let mut at = open + 1;
    while let Some(next) = memchr::memchr2(mark, b'\\', &bytes[at..]).map(|next| at + next) {
        if bytes[next] == b'\\' {
            // An escaped mark closes what an escaped one opened.
            let ends = open > 0 && bytes[open - 1] == b'\\' && bytes.get(next + 1) == Some(&mark);
            if ends && !bytes.get(next + 2).is_some_and(u8::is_ascii_alphanumeric) {
                return Some(next);
            }
            at = (next + 2).min(bytes.len());
        } else if bytes.get(next + 1).is_some_and(u8::is_ascii_alphanumeric) {
            at = next + 1;
        } else {
            return Some(next);
        }
    }
    None
}

#[cfg(test)]
pub(super) fn compiles() -> bool {
    [&CLASS, &PEOPLE, &USERS_KEY, &OWN_QUOTE, &LEAD, &OF_ERRORS, &MACHINE].iter().all(|pattern| pattern.compiles())
}
