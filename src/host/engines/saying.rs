//! What a line says. Pure; whether it is true is decided elsewhere, by facts.

use std::sync::LazyLock;

use regex::bytes::Regex;

use super::dialect::{ALLOCATED, MAY_BE_ALLOCATED, QUOTES, all};
use super::errors::{any_in, errors_in};
use super::json;
use super::line::{Level, head, json_level, plain};
use super::pattern::Pattern;
use super::place::Message;
use crate::host::pieces::{Part, Piece};
use crate::model::Saying;

/// Marks without any of which a line says nothing.
static MARKS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let marks: Vec<String> = all(|dialect| dialect.marks).into_iter().map(regex::escape).collect();
    Regex::new(&format!("(?-u)(?i:cud)|{}", marks.join("|"))).ok()
});

/// A program that wanted a number and found a GPU's UUID.
static BY_INDEX: LazyLock<Pattern> = LazyLock::new(|| {
    Pattern::new(concat!(
        r#"invalid literal for int\(\) with base 10: b?['"]?(?:GPU|MIG)-"#,
        r#"|Invalid device string: ['"]?cuda:(?:GPU|MIG)-"#,
        r#"|strconv\.(?:Atoi|ParseInt): parsing "(?:GPU|MIG)-"#
    ))
});

/// Whether any line in these bytes may say something. Costs one pass.
pub fn may_say(bytes: &[u8]) -> bool {
    // Colours may stand within a mark.
    memchr::memchr(0x1b, bytes).is_some() || MARKS.as_ref().is_none_or(|marks| marks.is_match(bytes))
}

/// What `line`, a whole line of an engine's output, says. `None`: nothing that matters here.
pub fn said_in(line: &str) -> Option<Saying> {
    if !may_say(line.as_bytes()) {
        return None;
    }
    let line = plain(line);
    if !any_in(&line) && !BY_INDEX.is_match(&line) && !MAY_BE_ALLOCATED.is_match(&line) {
        return None;
    }
    let (level, message) = head(&line);
    said_by(level, message)
}

fn said_by(level: Level, message: &str) -> Option<Saying> {
    if !message.starts_with('{') {
        return said(level, message);
    }
    match json::own_words(message) {
        Some((inner, words)) => words.iter().find_map(|words| {
            let (own, message) = head(words);
            // What an object of level INFO repeats is no error, whatever level its words have.
            let level = first(inner, level);
            said(if level == Level::Chatter { level } else { first(own, level) }, message)
        }),
        None => said(first(level, json_level(message).unwrap_or_default()), message),
    }
}

fn first(one: Level, other: Level) -> Level {
    if one == Level::Unsaid { other } else { one }
}

fn said(level: Level, message: &str) -> Option<Saying> {
    if ALLOCATED.is_match(message) {
        return Some(Saying::Allocated);
    }
    if level == Level::Chatter || QUOTES.is_match(message) {
        return None;
    }
    said_in_message(&Message::new(message, level, true), message)
}

fn said_in_message(message: &Message, text: &str) -> Option<Saying> {
    if BY_INDEX.find_all(text).any(|found| message.is_said_at(found.start)) {
        return Some(Saying::WantsGpuByIndex);
    }
    errors_in(text)
        .find(|found| found.begins.iter().any(|at| message.is_said_at(*at)))
        .map(|found| Saying::Error(found.code))
}

/// Reads the pieces of one file's lines in their order. What the beginning of a very long line says of its kind holds
/// for the windows after it, and no line says the same thing twice.
#[derive(Default)]
pub struct LineReader {
    /// The rest of the line is chatter, or a user's.
    harmless: bool,
    said: Vec<Saying>,
}

impl LineReader {
    /// What this piece says that its line has not said yet.
    pub fn read(&mut self, piece: &Piece) -> Option<Saying> {
        if piece.part == Part::First {
            self.said.clear();
        }
        let saying = match piece.part {
            Part::More => self.window(piece.text),
            Part::First | Part::Again => {
                self.harmless = !piece.ended && is_harmless(piece.text);
                said_in(piece.text)
            }
        };
        let new = saying.filter(|saying| !self.said.contains(saying))?;
        self.said.push(new);
        Some(new)
    }

    /// A window into a line, with its beginning out of sight.
    fn window(&mut self, text: &str) -> Option<Saying> {
        if self.harmless || !may_say(text.as_bytes()) {
            return None;
        }
        let text = plain(text);
        let message = Message::new(&text, Level::Unsaid, false);
        self.harmless = message.ends_in_quotes();
        said_in_message(&message, &text)
    }
}

/// Whether nothing that comes later in a line that begins so can be an error.
fn is_harmless(beginning: &str) -> bool {
    let line = plain(beginning);
    let (level, message) = head(&line);
    let level = first(level, json_level(message).filter(|_| message.starts_with('{')).unwrap_or_default());
    level == Level::Chatter || QUOTES.is_match(message) || Message::new(message, level, true).ends_in_quotes()
}

#[cfg(test)]
pub(super) fn compiles() -> bool {
    MARKS.is_some() && BY_INDEX.compiles()
}
