//! The labels of a sample. Pure.

use std::hash::{DefaultHasher, Hash, Hasher};

use memchr::{memchr, memchr2};

use crate::text::plain;

/// The labels of a sample that matter.
#[derive(Default)]
pub(super) struct Labels<'a> {
    /// The model's name as it stands there.
    pub model: Option<&'a [u8]>,
    /// It counts a part of what another series counts whole.
    pub part: bool,
    /// Which state the sample is of.
    pub sleep_state: Option<&'a [u8]>,
    /// The same for all copies of one series, whatever order its labels have.
    pub series: u64,
}

impl<'a> Labels<'a> {
    /// What stands between a name and its value, and what follows. `None`: these are no labels.
    pub(super) fn parse(text: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let mut labels = Labels::default();
        let Some(mut rest) = text.strip_prefix(b"{") else { return Some((labels, text)) };
        loop {
            rest = rest.trim_ascii_start();
            if let Some(after) = rest.strip_prefix(b"}") {
                return Some((labels, after));
            }
            let (name, after) = rest.split_at(memchr(b'=', rest)?);
            let (value, after) = quoted(after[1..].trim_ascii_start())?;
            labels.take(name.trim_ascii(), value);
            rest = after.trim_ascii_start();
            rest = rest.strip_prefix(b",").unwrap_or(rest);
        }
    }

    fn take(&mut self, name: &'a [u8], value: &'a [u8]) {
        match name {
            b"model_name" if !value.is_empty() => self.model = Some(value),
            // SGLang shows each priority's part beside the whole, which has an empty priority.
            b"priority" => self.part = !value.is_empty(),
            b"sleep_state" => self.sleep_state = Some(value),
            _ => {}
        }
        if !tells_copies_apart(name) {
            let mut hasher = DefaultHasher::new();
            (name, value).hash(&mut hasher);
            self.series = self.series.wrapping_add(hasher.finish());
        }
    }
}

/// Ranks of one model show the same requests, and so do processes that each write what they know. Ranks of data
/// parallelism have requests of their own.
fn tells_copies_apart(name: &[u8]) -> bool {
    let own = matches!(name, b"dp_rank" | b"attn_dp_rank" | b"data_parallel_rank");
    name == b"pid" || (name.ends_with(b"_rank") && !own)
}

/// What stands between two quotes, escapes and all, and what follows.
fn quoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.strip_prefix(b"\"")?;
    let mut end = 0;
    loop {
        end += memchr2(b'"', b'\\', text.get(end..)?)?;
        if text[end] == b'"' {
            return Some((&text[..end], &text[end + 1..]));
        }
        end += 2;
    }
}

/// A label's value with its escapes undone, cut after `longest` characters. Bytes that are no UTF-8 become U+FFFD, and
/// so does what would drive a terminal.
pub(super) fn unescape(quoted: &[u8], longest: usize) -> String {
    let mut bytes = quoted.iter();
    let mut value = Vec::new();
    while let Some(byte) = bytes.next() {
        let escaped = if *byte == b'\\' { bytes.next() } else { None };
        value.push(match escaped {
            Some(b'n') => b'\n',
            other => *other.unwrap_or(byte),
        });
    }
    plain::one_line(&String::from_utf8_lossy(&value)).chars().take(longest).collect()
}
