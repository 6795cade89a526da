//! The times that stand before a line of a log: recognized and passed over, never read. Pure.

/// The longest that stands between brackets before a text.
const LONGEST: usize = 64;

/// What follows one or more times in brackets: `[   38.047175]`, `[Tue Nov  3 10:11:12 2026]`, `[  +0.000012]`,
/// `[Nov 3 10:11]`, `[   38.047175 <    0.000012>]`, and who printed it, `[ T123]`.
pub(super) fn after_brackets(text: &str) -> Option<&str> {
    let mut rest = text;
    while let Some((inside, after)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        if !is_time(inside) && !is_caller(inside) {
            break;
        }
        rest = after.strip_prefix(' ').unwrap_or(after);
    }
    // Brackets follow brackets without a blank, and the text after one.
    (rest.len() < text.len()).then(|| rest.trim_start())
}

/// Seconds and differences, or a date in any language: that begins with the name of a day or a month. Other programs
/// put `2026-11-03 10:11:12` there.
fn is_time(inside: &str) -> bool {
    let seconds = |c: char| c.is_ascii_digit() || " .+-<>".contains(c);
    let date = |c: char| c.is_alphanumeric() || " .:+<>".contains(c);
    let joined = |mark: u8| {
        let at = |place: usize| inside.as_bytes().get(place).is_some_and(u8::is_ascii_digit);
        inside.bytes().enumerate().any(|(place, byte)| byte == mark && place > 0 && at(place - 1) && at(place + 1))
    };
    inside.len() <= LONGEST
        && match inside.starts_with(char::is_alphabetic) {
            true => inside.chars().all(date) && joined(b':'),
            false => inside.chars().all(seconds) && joined(b'.'),
        }
}

/// A thread or a processor, where the kernel prints it.
fn is_caller(inside: &str) -> bool {
    let inside = inside.trim();
    inside.strip_prefix(['T', 'C']).is_some_and(|number| !number.is_empty() && all_digits(number))
}

fn all_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// What follows `2026-11-03T10:11:12.123456+00:00 `. The zone may be missing, and a blank may stand for the T.
pub(super) fn after_iso(text: &str) -> Option<&str> {
    let rest = after_date(text)?.strip_prefix(['T', ' '])?;
    let rest = after_zone(after_clock(rest)?).strip_prefix(' ')?;
    // Some put a blank before the zone.
    let zoneless = after_zone(rest);
    Some(if zoneless.len() < rest.len() { zoneless.strip_prefix(' ').unwrap_or(rest) } else { rest })
}

/// What follows `2026-11-03T10:11:12,123456+00:00 `: only dmesg writes it so.
pub(super) fn after_dmesg_iso(text: &str) -> Option<&str> {
    let rest = after_clock(after_date(text)?.strip_prefix('T')?)?.strip_prefix(',')?;
    let zoned = after_digits(rest, 6)?;
    let rest = after_zone(zoned);
    (rest.len() < zoned.len()).then_some(rest)?.strip_prefix(' ')
}

fn after_date(text: &str) -> Option<&str> {
    let rest = after_digits(text, 4)?.strip_prefix('-')?;
    after_digits(after_digits(rest, 2)?.strip_prefix('-')?, 2)
}

/// `10:11:12`, perhaps with a fraction.
fn after_clock(text: &str) -> Option<&str> {
    let rest = after_digits(text, 2)?.strip_prefix(':')?;
    let rest = after_digits(after_digits(rest, 2)?.strip_prefix(':')?, 2)?;
    Some(rest.strip_prefix('.').map_or(rest, |fraction| fraction.trim_start_matches(|c: char| c.is_ascii_digit())))
}

/// `Z`, `+00:00`, `+0000` or `+00`, if one is there.
fn after_zone(text: &str) -> &str {
    if let Some(rest) = text.strip_prefix(['Z', 'z']) {
        return rest;
    }
    let Some(rest) = text.strip_prefix(['+', '-']).and_then(|rest| after_digits(rest, 2)) else { return text };
    let minutes = rest.strip_prefix(':').unwrap_or(rest);
    after_digits(minutes, 2).unwrap_or(rest)
}

/// `Nov  3 10:11:12 `, RFC 3164's, perhaps with a year before or after the time; in any language.
pub(super) fn after_syslog(text: &str) -> Option<&str> {
    let rest = after_word(text)?.trim_start();
    let day = rest.find(|c: char| !c.is_ascii_digit()).filter(|length| (1..=2).contains(length))?;
    let rest = rest[day..].strip_prefix(' ')?;
    let rest = after_digits(rest, 4).and_then(|rest| rest.strip_prefix(' ')).unwrap_or(rest);
    let rest = after_clock(rest)?.strip_prefix(' ')?;
    Some(after_digits(rest, 4).and_then(|rest| rest.strip_prefix(' ')).unwrap_or(rest))
}

/// `Tue 2026-11-03 10:11:12 UTC `, as `journalctl -o short-full` has it.
pub(super) fn after_weekday(text: &str) -> Option<&str> {
    let rest = after_date(after_word(text)?)?.strip_prefix(' ')?;
    let zone = after_clock(rest)?.strip_prefix(' ')?;
    let (_, rest) = zone.split_once(' ')?;
    // Where no zone is given, the host was taken for it.
    Some(if rest.starts_with("kernel:") || is_tag(rest) { zone } else { rest })
}

/// Whether a tag, not a host, begins it.
fn is_tag(text: &str) -> bool {
    text.split(' ').next().is_some_and(|word| word.ends_with(':'))
}

/// `1793700672.123456 `, as `journalctl -o short-unix` has it.
pub(super) fn after_unix(text: &str) -> Option<&str> {
    let (seconds, rest) = text.split_once('.')?;
    let (fraction, rest) = rest.split_once(' ')?;
    let fine = seconds.len() >= 9 && all_digits(seconds) && !fraction.is_empty() && all_digits(fraction);
    fine.then_some(rest)
}

/// A month or a weekday, and one blank.
fn after_word(text: &str) -> Option<&str> {
    let end = text.find(|c: char| !c.is_alphabetic()).filter(|end| (2..=12).contains(end))?;
    text[end..].strip_prefix('.').unwrap_or(&text[end..]).strip_prefix(' ')
}

fn after_digits(text: &str, count: usize) -> Option<&str> {
    let rest = text.get(count..)?;
    all_digits(&text[..count]).then_some(rest)
}
