//! What kind of line it is: its level, and where its message begins behind processes, times and places.

use std::borrow::Cow;
use std::sync::LazyLock;

use super::pattern::{Caught, Pattern, floor};

/// How much a line matters, as the line itself says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Level {
    /// INFO and below.
    Chatter,
    /// A warning.
    Warning,
    /// An error and above.
    Error,
    /// The line has no level.
    #[default]
    Unsaid,
}

/// Length of the longest header.
const HEAD: usize = 400;

/// A finished progress bar: the next line begins right behind it.
static PROGRESS: LazyLock<Pattern> =
    LazyLock::new(|| Pattern::new(r"^[^|]*\|[^|]*\|\s*[\d.]+\S*/[\d.?]+\S* \[[^\]]*\]"));

/// What stands before a message, piece by piece.
static HEADER: LazyLock<Pattern> = LazyLock::new(|| {
    Pattern::new(concat!(
        r"(?x)^(?:",
        r"  [\s|.:>*-]+",
        r"| \([^()]*(?:pid|rank)[^()]*\)",
        r"| <[a-z]+>",
        r"| \[(?P<bracket>[^\[\]]*)\]",
        // glog: I1129 14:34:30.302810 12 file.cc:12]
        r"| (?P<glog>[IWEFDV])\d{4}\s[^\]]*\]",
        // llama.cpp: 0.00.129.365 I
        r"| \d+\.\d\d\.\d{3}\.\d{3}\s+(?P<letter>[IWEDTV])\s",
        r#"| (?P<key>time|ts|t|level|lvl|severity|source|caller|logger|module|component|pid)=(?P<value>"[^"]*"|[^\s"]+)\s+"#,
        r"| (?P<word>INFO|DEBUG|TRACE|VERBOSE|NOTICE|WARNING|WARN|ERROR|ERR|CRITICAL|FATAL|SEVERE)(?:[\s:|\])-]|$)",
        r"| (?P<label>(?i:info|debug|trace|warning|warn|error|critical|fatal(?:\x20error)?)):",
        // The name of a container, a place in a file.
        r"| [\w.-]+\s+\|\s | [\w./-]+\.[a-z]{1,4}:\d+\]?:?\s+",
        r"| (?P<time>\d[\d:.,/+TZ-]*)(?:\s+|$)",
        // Python's logging with a logger's name before the level.
        r"| (?P<named>(?:[a-z_][\w./:-]*|[-|]|\d+|[A-Z][a-z]\w+)\s+){1,6}?",
        r"  (?P<late>INFO|DEBUG|TRACE|WARNING|WARN|ERROR|CRITICAL|FATAL)(?:[\s:|\])-]|$)",
        r")"
    ))
});

/// NCCL's own header. What it prints as a warning is what then ends it.
static NCCL: LazyLock<Pattern> = LazyLock::new(|| {
    Pattern::new(
        r"^(?:[\w.-]+:\d+(?::\d+)?\s+)?(?:\[\d+\]\s+)?(?:[\w./-]+:\d+\s+)?(?:\(\w+\)\s+)?NCCL (WARN|INFO|TRACE|VERSION)\s*",
    )
});

/// The level in a JSON line that can't be read whole.
static JSON_LEVEL: LazyLock<Pattern> =
    LazyLock::new(|| Pattern::new(r#""(?:level|levelname|severity|lvl|log_level)"\s*:\s*"?(\w+)"#));

/// What a terminal obeys and does not show.
static CODES: LazyLock<Pattern> =
    LazyLock::new(|| Pattern::new(r"\x1b(?:\[[0-9;:?<=>]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-Z^-~])?"));

/// A level's word within brackets.
static BRACKETED: LazyLock<Pattern> = LazyLock::new(|| {
    Pattern::new(concat!(
        r"^(?i:(info|debug|trace|warning|warn|error|critical|fatal))$|^([IWEFDVT])(?:\d{4}\b|\s|$)",
        r"|\b(INFO|DEBUG|TRACE|WARNING|WARN|ERROR|CRITICAL|FATAL)\b"
    ))
});

/// The line's level, and its message.
pub(super) fn head(line: &str) -> (Level, &str) {
    let mut rest = PROGRESS.find(near_start(line)).map_or(line, |bar| &line[bar.end..]);
    let (mut level, mut timed) = (None, false);
    while let Some(caught) = HEADER.capture(near_start(rest)) {
        // A word in front of a level is a logger's name only behind a time.
        if caught.named("late").is_some() && (!timed || level.is_some()) {
            break;
        }
        timed |= caught.named("time").is_some() || caught.named("bracket").is_some();
        level = level.or_else(|| level_of(&caught));
        rest = &rest[caught.range().end..];
    }
    nccl(level.unwrap_or_default(), rest.trim_start())
}

/// The part of a text in which a header ends.
fn near_start(text: &str) -> &str {
    &text[..floor(text, text.len().min(HEAD))]
}

fn level_of(caught: &Caught) -> Option<Level> {
    let word = ["word", "label", "late", "glog", "letter"].iter().find_map(|name| caught.named(name));
    let keyed = || caught.named("value").filter(|_| matches!(caught.named("key"), Some("level" | "lvl" | "severity")));
    let bracket = || {
        let found = BRACKETED.capture(caught.named("bracket")?)?;
        (1..=3).find_map(|group| found.group(group))
    };
    word.or_else(keyed).or_else(bracket).and_then(level_named)
}

fn nccl(level: Level, message: &str) -> (Level, &str) {
    match NCCL.capture(near_start(message)) {
        None => (level, message),
        Some(found) if found.group(1) == Some("WARN") && level != Level::Chatter => {
            (Level::Error, &message[found.range().end..])
        }
        Some(found) => (Level::Chatter, &message[found.range().end..]),
    }
}

/// The level in the text of a JSON line that can't be read whole.
pub(super) fn json_level(text: &str) -> Option<Level> {
    level_named(JSON_LEVEL.capture(near_start(text))?.group(1)?)
}

/// A level by its word, letter or number: Python's and pino's numbers agree where it matters.
pub(super) fn level_named(word: &str) -> Option<Level> {
    let word = word.trim_matches('"');
    if let Ok(number) = word.parse::<u32>() {
        return Some(match number {
            ..=20 => Level::Chatter,
            21..=39 => Level::Warning,
            40.. => Level::Error,
        });
    }
    Some(match word.to_ascii_uppercase().as_str() {
        "INFO" | "INFORMATION" | "DEBUG" | "TRACE" | "VERBOSE" | "NOTICE" | "I" | "D" | "T" | "V" => Level::Chatter,
        "WARNING" | "WARN" | "W" => Level::Warning,
        "ERROR" | "ERR" | "CRITICAL" | "FATAL" | "FATAL ERROR" | "SEVERE" | "PANIC" | "E" | "F" => Level::Error,
        _ => return None,
    })
}

/// The line without the codes that colour it.
pub(super) fn plain(line: &str) -> Cow<'_, str> {
    if memchr::memchr(0x1b, line.as_bytes()).is_none() {
        return Cow::Borrowed(line);
    }
    let (mut kept, mut from) = (String::with_capacity(line.len()), 0);
    for code in CODES.find_all(line) {
        kept.push_str(&line[from..code.start]);
        from = code.end;
    }
    kept.push_str(&line[from..]);
    Cow::Owned(kept)
}

#[cfg(test)]
pub(super) fn compiles() -> bool {
    [&PROGRESS, &HEADER, &NCCL, &JSON_LEVEL, &CODES, &BRACKETED].iter().all(|pattern| pattern.compiles())
}
