//! Lines that are one JSON object: which of its strings are the program's own words.

use serde_json::{Map, Value};

use super::line::{Level, level_named};

/// Keys of what a program says. All others may carry what users sent or got.
const OWN: &[&str] = &[
    "message",
    "msg",
    "event",
    "error",
    "err",
    "errors",
    "exc_info",
    "exc_text",
    "exception",
    "traceback",
    "stack",
    "stack_trace",
    "stacktrace",
    "stack_info",
    "detail",
    "details",
    "reason",
    "cause",
    "error_message",
    "error_msg",
    "log",
    "line",
    "fields",
    "record",
    "value",
    "description",
];

/// Keys of an object's level.
const LEVELS: &[&str] = &["level", "levelname", "severity", "lvl", "log.level", "log_level", "loglevel", "levelno"];

/// The level and the program's own words of the object that `text` is. `None`: it is none, or not whole.
pub(super) fn own_words(text: &str) -> Option<(Level, Vec<String>)> {
    let object: Map<String, Value> = serde_json::from_str(text).ok()?;
    let mut words = Vec::new();
    gather(&object, &mut words);
    Some((level(&object).unwrap_or_default(), words))
}

fn level(object: &Map<String, Value>) -> Option<Level> {
    LEVELS
        .iter()
        .find_map(|key| match object.get(*key)? {
            Value::String(word) => level_named(word),
            Value::Number(number) => level_named(&number.to_string()),
            Value::Object(inner) => level_named(inner.get("name")?.as_str()?),
            Value::Null | Value::Bool(_) | Value::Array(_) => None,
        })
        .or_else(|| level(object.get("record")?.as_object()?))
}

fn gather(object: &Map<String, Value>, words: &mut Vec<String>) {
    // Somebody's message in a conversation.
    if object.contains_key("role") {
        return;
    }
    for (key, value) in object.iter().filter(|(key, _)| OWN.contains(&key.to_ascii_lowercase().as_str())) {
        // `value` is an exception's text only beside its type.
        if key != "value" || object.contains_key("type") {
            gather_value(value, words);
        }
    }
}

fn gather_value(value: &Value, words: &mut Vec<String>) {
    match value {
        Value::String(text) => words.extend(text.lines().map(str::to_owned)),
        Value::Object(object) => gather(object, words),
        Value::Array(values) => values.iter().for_each(|value| gather_value(value, words)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
