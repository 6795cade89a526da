//! Regular expressions over texts: ASCII's rules, and only places that are between two characters.

use std::ops::Range;

use regex::bytes::{Captures, Regex, RegexBuilder};

/// One expression. What is written in these files can be compiled: a test holds it; one that can't matches nothing.
pub(super) struct Pattern(Option<Regex>);

impl Pattern {
    pub(super) fn new(pattern: &str) -> Self {
        Pattern(RegexBuilder::new(pattern).unicode(false).build().ok())
    }

    pub(super) fn is_match(&self, text: &str) -> bool {
        self.0.as_ref().is_some_and(|regex| regex.is_match(text.as_bytes()))
    }

    pub(super) fn find(&self, text: &str) -> Option<Range<usize>> {
        let found = self.0.as_ref()?.find(text.as_bytes())?;
        Some(between(text, found.range()))
    }

    pub(super) fn find_all<'t>(&'t self, text: &'t str) -> impl Iterator<Item = Range<usize>> + 't {
        let all = self.0.as_ref().into_iter().flat_map(|regex| regex.find_iter(text.as_bytes()));
        all.map(|found| between(text, found.range()))
    }

    pub(super) fn capture<'t>(&self, text: &'t str) -> Option<Caught<'t>> {
        let captures = self.0.as_ref()?.captures(text.as_bytes())?;
        Some(Caught { text, captures })
    }

    pub(super) fn capture_all<'t>(&'t self, text: &'t str) -> impl Iterator<Item = Caught<'t>> + 't {
        let all = self.0.as_ref().into_iter().flat_map(|regex| regex.captures_iter(text.as_bytes()));
        all.map(move |captures| Caught { text, captures })
    }

    #[cfg(test)]
    pub(super) fn compiles(&self) -> bool {
        self.0.is_some()
    }
}

/// One match with its groups.
pub(super) struct Caught<'t> {
    text: &'t str,
    captures: Captures<'t>,
}

impl<'t> Caught<'t> {
    /// The whole match.
    pub(super) fn range(&self) -> Range<usize> {
        self.captures.get(0).map_or(0..0, |whole| between(self.text, whole.range()))
    }

    pub(super) fn group(&self, index: usize) -> Option<&'t str> {
        self.text.get(self.captures.get(index)?.range())
    }

    pub(super) fn named(&self, name: &str) -> Option<&'t str> {
        self.text.get(self.captures.name(name)?.range())
    }
}

fn between(text: &str, range: Range<usize>) -> Range<usize> {
    floor(text, range.start)..ceil(text, range.end)
}

/// The nearest place at or before `at` that is no character's middle.
pub(super) fn floor(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn ceil(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at += 1;
    }
    at
}

/// The last `most` bytes of `text` or a little more, and where they begin.
pub(super) fn near_end(text: &str, most: usize) -> (usize, &str) {
    let from = floor(text, text.len().saturating_sub(most));
    (from, &text[from..])
}
