//! The forms in which logs of the kernel come: what stands before the kernel's text, and whose line it is. Pure. The
//! times in it are not needed. A line that another program wrote is never taken for the kernel's.

use std::borrow::Cow;

use serde_json::Value;

use super::stamps::{after_brackets, after_dmesg_iso, after_iso, after_syslog, after_unix, after_weekday};

/// A line, without what stands before its text.
#[derive(Debug, PartialEq)]
pub(super) enum Line<'a> {
    /// The kernel said this.
    Kernel(Cow<'a, str>),
    /// A line in a form that is known, and not the kernel's.
    Other,
    /// Nothing that is known stands before it: `dmesg -t` prints such lines, and so does any program.
    Bare(&'a str),
}

/// Facilities as `dmesg -x` and busybox name them; the first is the kernel's own.
const FACILITIES: [&str; 12] =
    ["kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp"];
const LEVELS: [&str; 11] =
    ["emerg", "alert", "crit", "err", "warn", "notice", "info", "debug", "error", "warning", "panic"];

/// The first line of a text, in whichever form it is.
pub(super) fn line(text: &str) -> Line<'_> {
    let text = text.lines().next().unwrap_or_default();
    let text = text.strip_prefix("data: ").unwrap_or(text).trim_start_matches('\u{1e}');
    let known = match text.bytes().next() {
        Some(b'{') => journal(text),
        Some(b'<') => with_priority(text),
        Some(b'[') => after_brackets(text).map(monotonic),
        Some(b'0'..=b'9') => record(text).or_else(|| dated(text)).or_else(|| protocol(text, None)),
        _ => decoded(text).or_else(|| dated(text)),
    };
    known.unwrap_or(Line::Bare(text))
}

fn kernel(text: &str) -> Line<'_> {
    let text = text.trim_start();
    Line::Kernel(Cow::Borrowed(after_brackets(text).unwrap_or(text)))
}

/// Whose it is by its priority: what a program writes into /dev/kmsg never gets the kernel's own facility.
fn by_facility(priority: u32, text: &str) -> Line<'_> {
    if priority >> 3 == 0 { kernel(text) } else { Line::Other }
}

/// A record of /dev/kmsg: `6,339,5140900,-;NVRM: ...`, perhaps with more fields before the semicolon.
fn record(text: &str) -> Option<Line<'_>> {
    let (head, text) = text.split_once(';')?;
    let mut fields = head.split(',');
    let mut number = || fields.next()?.parse::<u64>().ok();
    let (priority, _, _) = (number()?, number()?, number()?);
    fields.next().filter(|flags| flags.len() <= 2)?;
    // The text stands as it is: a bracket in it is the kernel's.
    let kernels = u32::try_from(priority).is_ok_and(|priority| priority >> 3 == 0);
    Some(if kernels { Line::Kernel(Cow::Borrowed(text)) } else { Line::Other })
}

/// `<6>...`: `dmesg -r`, syslog(2), and syslog files that keep the priority.
fn with_priority(text: &str) -> Option<Line<'_>> {
    let (number, rest) = text.strip_prefix('<')?.split_once('>')?;
    let priority: u32 = number.parse().ok().filter(|priority| *priority < 1024)?;
    if let Some(entry) = protocol(rest, Some(priority)) {
        return Some(entry);
    }
    match dated(rest) {
        Some(_) if priority >> 3 != 0 => Some(Line::Other),
        Some(entry) => Some(entry),
        None => Some(by_facility(priority, rest)),
    }
}

/// `dmesg -x`: `kern  :info  : [   38.047175] NVRM: ...`.
fn decoded(text: &str) -> Option<Line<'_>> {
    let (facility, rest) = text.split_once(':')?;
    let (level, rest) = rest.split_once(':')?;
    let facility = facility.trim_end();
    if !is_facility(facility) || !LEVELS.contains(&level.trim_end()) {
        return None;
    }
    let rest = rest.strip_prefix(' ').unwrap_or(rest);
    let text = after_dmesg_iso(rest).unwrap_or(rest);
    Some(if facility == FACILITIES[0] { kernel(text) } else { Line::Other })
}

fn is_facility(word: &str) -> bool {
    FACILITIES.contains(&word) || word.strip_prefix("local").is_some_and(|number| number.len() == 1)
}

/// What follows a bracket with a time: the kernel's text, or host and tag before it, as `journalctl -o
/// short-monotonic` has them. No text of the kernel's begins with a word and then its own tag.
fn monotonic(text: &str) -> Line<'_> {
    let after_host = || text.split_once(' ').and_then(|(_, rest)| rest.strip_prefix("kernel: "));
    kernel(text.strip_prefix("kernel: ").or_else(after_host).unwrap_or(text))
}

/// A time of day first: files of syslog daemons, `journalctl`, `dmesg --time-format iso`.
fn dated(text: &str) -> Option<Line<'_>> {
    if let Some(text) = after_dmesg_iso(text) {
        return Some(kernel(text));
    }
    if let Some(rest) = after_syslog(text) {
        // Nobody else writes such times: whatever follows is some program's.
        return Some(entry(rest, Times::Syslogs).unwrap_or(Line::Other));
    }
    let rest = after_iso(text).or_else(|| after_weekday(text)).or_else(|| after_unix(text))?;
    entry(rest, Times::Anybodys)
}

/// Who writes times like those that stand before an entry.
#[derive(Clone, Copy, PartialEq)]
enum Times {
    Syslogs,
    Anybodys,
}

/// `HOST kernel: TEXT` after the time; busybox has the priority in words between the two, or no host. `None`: neither
/// a tag nor a priority stands there.
fn entry(text: &str, times: Times) -> Option<Line<'_>> {
    let mut rest = text.trim_start();
    for host_may_come in [true, false] {
        if let Some(text) = rest.strip_prefix("kernel:") {
            return Some(kernel(text));
        }
        let (word, after) = rest.split_once(' ')?;
        if let Some(facility) = spelled(word) {
            let tagged = after.strip_prefix("kernel:").filter(|_| facility == FACILITIES[0]);
            return Some(tagged.map_or(Line::Other, kernel));
        }
        if !host_may_come {
            return word.ends_with(':').then_some(Line::Other);
        }
        if times == Times::Anybodys && !is_host(word) {
            return None;
        }
        rest = after;
    }
    None
}

/// Other logs have a level, or what they tell, where syslog has a host.
fn is_host(word: &str) -> bool {
    let in_brackets = word.starts_with('[') && !word.contains(':');
    !in_brackets && !word.starts_with(['{', '"']) && !LEVELS.contains(&word.to_ascii_lowercase().as_str())
}

/// The facility in `kern.info`.
fn spelled(word: &str) -> Option<&str> {
    let (facility, level) = word.split_once('.')?;
    (is_facility(facility) && LEVELS.contains(&level)).then_some(facility)
}

/// RFC 5424: `1 TIME HOST APP PROCID MSGID DATA TEXT`. The kernel has no process number.
fn protocol(text: &str, priority: Option<u32>) -> Option<Line<'_>> {
    let rest = text.strip_prefix("1 ")?;
    let rest = match rest.strip_prefix("- ") {
        Some(timeless) => timeless,
        None => after_iso(rest)?,
    };
    let mut words = rest.splitn(5, ' ');
    let (_host, program, process, _kind) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let text = after_data(words.next()?)?;
    let kernels = program == "kernel" && process == "-" && priority.is_none_or(|priority| priority >> 3 == 0);
    Some(if kernels { kernel(text.strip_prefix('\u{feff}').unwrap_or(text)) } else { Line::Other })
}

/// What follows RFC 5424's structured data, `-` or `[id name="value"]...`.
fn after_data(text: &str) -> Option<&str> {
    if let Some(rest) = text.strip_prefix('-') {
        return Some(rest.strip_prefix(' ').unwrap_or(rest));
    }
    let (mut quoted, mut escaped, mut inside) = (false, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' if inside => quoted = !quoted,
            '[' if !quoted && !inside => inside = true,
            ']' if !quoted && inside => inside = false,
            ' ' if !inside => return Some(&text[at + 1..]),
            _ if !inside => return None,
            _ => {}
        }
    }
    None
}

/// `journalctl -o json`. Journald itself says by which way an entry came; no program can.
fn journal(text: &str) -> Option<Line<'_>> {
    let entry: Value = serde_json::from_str(text).ok()?;
    if entry.get("_TRANSPORT")?.as_str()? != "kernel" {
        return Some(Line::Other);
    }
    let text = match entry.get("MESSAGE") {
        Some(Value::String(text)) => text.clone(),
        // Bytes that are no text.
        Some(Value::Array(bytes)) => {
            let bytes = bytes.iter().filter_map(Value::as_u64).filter_map(|byte| u8::try_from(byte).ok());
            String::from_utf8_lossy(&bytes.collect::<Vec<u8>>()).into_owned()
        }
        _ => return Some(Line::Other),
    };
    Some(Line::Kernel(Cow::Owned(text.lines().next().unwrap_or_default().to_owned())))
}

#[cfg(test)]
#[path = "forms_tests.rs"]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
