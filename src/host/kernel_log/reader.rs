//! Reads a kernel log line by line: whose each line is, what it says, and whether the log's form is known at all. One
//! reader goes with a log for as long as that is followed, also over its rotations. Pure.

use std::borrow::Cow;

use super::forms::{self, Line};
use super::words::{self, KernelLine};

/// Number of lines in a row of no known form that make a log one that is not understood.
const STRANGE: u32 = 20;
/// Number of lines below which a file's form can't be known.
const YOUNG: usize = 3;
/// How much of a line is shown, in characters.
const SHOWN: usize = 60;
/// What stands before the first `: ` of a line of the kernel's is not longer.
const LONGEST_SUBSYSTEM: usize = 48;

/// The meaning of a line.
#[derive(Debug, PartialEq)]
pub(super) enum LineMeaning {
    /// A line in a known form, and what it says, if anything of interest.
    Understood(Option<KernelLine>),
    /// Nothing about the log's form: an empty line, or one that goes on with the one before.
    Nothing,
    /// A line in no known form; so are many before it, if `Some`: then one of them, shortened.
    Strange(Option<String>),
}

/// What is remembered of the lines before.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// Some line had a known form of its own: one that has none is not the kernel's then, but the rest of a program's.
    stamped: bool,
    /// Lines of no known form in a row.
    strange: u32,
    /// Inside what `dmesg --json` prints: whether the entry is the kernel's.
    json: Option<bool>,
}

impl Reader {
    /// Takes a line or a record.
    pub(super) fn take(&mut self, line: &str) -> LineMeaning {
        let plain = without_colours(line);
        match forms::line(&plain) {
            Line::Kernel(text) => {
                self.stamped = true;
                self.understood(words::said(&text))
            }
            Line::Other => {
                self.stamped = true;
                self.understood(None)
            }
            Line::Bare(text) => self.bare(text),
        }
    }

    fn understood(&mut self, said: Option<KernelLine>) -> LineMeaning {
        self.strange = 0;
        LineMeaning::Understood(said)
    }

    fn bare(&mut self, text: &str) -> LineMeaning {
        if text.trim().is_empty() || text.starts_with("-- ") {
            return LineMeaning::Nothing;
        }
        if let Some(told) = self.json_of_dmesg(text.trim()) {
            return told;
        }
        match self.stamped {
            true if text.starts_with(char::is_whitespace) => LineMeaning::Nothing,
            false if words::said(text).is_some() => self.understood(words::said(text)),
            false if looks_like_the_kernels(text) => self.understood(None),
            _ => {
                self.strange = self.strange.saturating_add(1);
                LineMeaning::Strange((self.strange >= STRANGE).then(|| text.chars().take(SHOWN).collect()))
            }
        }
    }

    /// `dmesg --json` prints an entry in several lines: `"fac": "kern",` or `"pri": 6,`, then `"msg": "..."`.
    fn json_of_dmesg(&mut self, text: &str) -> Option<LineMeaning> {
        if text == "\"dmesg\": [" {
            self.json = Some(false);
            return Some(self.understood(None));
        }
        let kernels = self.json?;
        let value = |key: &str| text.strip_prefix(key).map(|value| value.trim_start().trim_end_matches(','));
        if let Some(facility) = value("\"fac\":") {
            self.json = Some(facility == "\"kern\"");
        } else if let Some(priority) = value("\"pri\":").and_then(|priority| priority.parse::<u32>().ok()) {
            self.json = Some(priority >> 3 == 0);
        } else if let Some(text) = value("\"msg\":").filter(|_| kernels) {
            let said = serde_json::from_str::<String>(text).ok().and_then(|text| words::said(&text));
            return Some(self.understood(said));
        } else if !text.starts_with(['{', '}', '"', ']']) {
            return None;
        }
        Some(self.understood(None))
    }
}

/// `subsystem: text`, as most lines of the kernel's are; the name of a level stands there in other programs' logs.
fn looks_like_the_kernels(text: &str) -> bool {
    let levels = ["info", "warning", "warn", "error", "debug", "critical", "trace", "fatal", "notice", "panic"];
    let known = ["[drm", "[Firmware Bug]", "Linux version ", "Command line: ", "Call Trace:", "---[ "];
    if known.iter().any(|known| text.starts_with(known)) {
        return true;
    }
    let Some((subsystem, _)) = text.split_once(": ") else { return false };
    let fine = |c: char| c.is_ascii_alphanumeric() || " ._/()#+-".contains(c);
    let dated = || subsystem.bytes().filter(u8::is_ascii_digit).count() > 8;
    subsystem.len() <= LONGEST_SUBSYSTEM
        && subsystem.starts_with(|c: char| c.is_ascii_alphabetic())
        && subsystem.chars().all(fine)
        && !dated()
        && !levels.contains(&subsystem.split(' ').next().unwrap_or_default().to_ascii_lowercase().as_str())
}

/// `dmesg --color` marks words; the kernel's own text holds no such bytes.
fn without_colours(line: &str) -> Cow<'_, str> {
    if !line.contains("\u{1b}[") {
        return Cow::Borrowed(line);
    }
    let mut pieces = line.split("\u{1b}[");
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let end = piece.find(|c: char| !c.is_ascii_digit() && c != ';').unwrap_or(piece.len());
        plain.push_str(piece[end..].strip_prefix(['m', 'K']).unwrap_or(&piece[end..]));
    }
    Cow::Owned(plain)
}

/// The number and the beginning of the last line, where so many lines of a log are in no known form that it can't be a
/// kernel log. `None`: it can be, or that is not known yet.
pub(super) fn is_no_kernel_log<'a>(lines: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut reader = Reader::default();
    let (mut understood, mut strange) = (0, Vec::new());
    for line in lines {
        match reader.take(line) {
            LineMeaning::Understood(_) => understood += 1,
            LineMeaning::Strange(_) => strange.push(line),
            LineMeaning::Nothing => {}
        }
    }
    // What only looks like the kernel's proves little: any log has such lines.
    let enough = if reader.stamped { understood > 0 } else { understood * 2 >= strange.len() };
    let last = strange.last().filter(|_| !enough && understood + strange.len() >= YOUNG)?;
    Some(last.trim_end().chars().take(SHOWN).collect())
}

#[cfg(test)]
#[path = "reader_tests.rs"]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
