//! Reads typed values from a spanned TOML tree and gathers every problem with its place.
//! Knows TOML, no key: what is asked for is known, everything else in a table is reported.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Place, Places, Problem, Weight};
use super::suggest::nearest;

/// Why a value is refused.
#[derive(Debug)]
pub(super) struct Wrong {
    /// What is wrong with it, to follow the key: `is not a duration`.
    pub what: String,
    /// The cure; empty: none.
    pub hint: String,
}

/// A value, or why it is refused.
pub(super) type Reading<T> = Result<T, Wrong>;

/// Shorthand for a refusal.
pub(super) fn wrong<T>(what: impl Into<String>, hint: impl Into<String>) -> Reading<T> {
    Err(Wrong { what: what.into(), hint: hint.into() })
}

/// A file being read: its text and what was found so far.
pub(super) struct Document<'t> {
    text: &'t str,
    /// Where each line begins, in bytes.
    lines: Vec<usize>,
    /// Lines whose syntax is wrong. If there are any, what is missing may only be unreadable.
    broken: BTreeSet<usize>,
    places: RefCell<Places>,
    problems: RefCell<Vec<Problem>>,
    known: RefCell<BTreeSet<String>>,
}

impl<'t> Document<'t> {
    /// Parses `text`; what is wrong with its syntax is gathered, the rest can be read.
    pub(super) fn parse(text: &'t str, file: &Path) -> (Self, Spanned<DeTable<'t>>) {
        let (tree, errors) = DeTable::parse_recoverable(text);
        let newlines = text.match_indices('\n').map(|(at, _)| at + 1);
        let mut document = Document {
            text,
            lines: std::iter::once(0).chain(newlines).collect(),
            broken: BTreeSet::new(),
            places: RefCell::new(Places { file: file.to_owned(), at: BTreeMap::new() }),
            problems: RefCell::default(),
            known: RefCell::default(),
        };
        for error in errors {
            let hint = "TOML: strings stand in quotes, each key once in its table";
            let span = error.span().unwrap_or_default();
            let line = document.place(span.start).line;
            document.report(span, error.message().to_owned(), hint);
            document.broken.insert(line);
        }
        (document, tree)
    }

    /// The table that holds all others.
    pub(super) fn root<'d>(&'d self, tree: &'d DeTable<'t>) -> Section<'d, 't> {
        Section { document: self, table: Some(tree), span: 0..0, path: String::new(), asked: RefCell::default() }
    }

    /// Adds a problem at `span`. A line whose syntax is wrong has one problem: the first.
    fn report(&self, span: Range<usize>, what: String, hint: &str) {
        let place = self.place(span.start);
        if !self.broken.contains(&place.line) {
            let hint = (!hint.is_empty()).then(|| hint.to_owned());
            self.problems.borrow_mut().push(Problem { place: Some(place), what, hint, weight: Weight::Mistake });
        }
    }

    fn place(&self, offset: usize) -> Place {
        let line = self.lines.partition_point(|start| *start <= offset).max(1);
        let start = self.lines.get(line - 1).copied().unwrap_or_default();
        let before = self.text.get(start..offset).unwrap_or_default();
        Place { line, column: before.chars().count() + 1 }
    }

    fn mark(&self, path: String, span: &Range<usize>) {
        let place = self.place(span.start);
        self.places.borrow_mut().at.entry(path).or_insert(place);
    }

    /// Ends the reading: places, problems, and every key asked for, as dotted paths without indices.
    pub(super) fn finish(self) -> (Places, Vec<Problem>, BTreeSet<String>) {
        (self.places.into_inner(), self.problems.into_inner(), self.known.into_inner())
    }
}

/// One table being read, perhaps absent: then every key in it has its default.
pub(super) struct Section<'d, 't> {
    document: &'d Document<'t>,
    table: Option<&'d DeTable<'t>>,
    span: Range<usize>,
    /// `group[0].engine[1]`; empty at the root.
    path: String,
    asked: RefCell<BTreeSet<&'static str>>,
}

impl<'d, 't> Section<'d, 't> {
    /// The value of `key` as `read` makes it; `None` if it is absent, or wrong and reported.
    pub(super) fn optional<T>(&self, key: &'static str, read: impl FnOnce(&DeValue<'t>) -> Reading<T>) -> Option<T> {
        let value = self.find(key)?;
        self.accept(&format!("`{key}`"), value.span(), read(value.get_ref()))
    }

    /// Like `optional`, and reports what is absent. `hint` says what to write.
    pub(super) fn required<T>(
        &self,
        key: &'static str,
        hint: &str,
        read: impl FnOnce(&DeValue<'t>) -> Reading<T>,
    ) -> Option<T> {
        if self.find(key).is_none() {
            self.missing(&format!("`{key}` is missing"), hint);
        }
        self.optional(key, read)
    }

    /// Reports what is absent from this table.
    pub(super) fn missing(&self, what: &str, hint: &str) {
        if self.document.broken.is_empty() {
            self.document.report(self.span.clone(), what.to_owned(), hint);
        }
    }

    /// Reports `key`, if it is there.
    pub(super) fn refuse(&self, key: &'static str, what: &str, hint: &str) {
        if let Some(value) = self.find(key) {
            self.document.report(value.span(), format!("`{key}` {what}"), hint);
        }
    }

    /// Whether `key` is there, right or wrong.
    pub(super) fn has(&self, key: &'static str) -> bool {
        self.find(key).is_some()
    }

    /// The table under `key`; an absent one if there is none.
    pub(super) fn table(&self, key: &'static str) -> Section<'d, 't> {
        let path = self.below(key);
        let Some(value) = self.find(key) else {
            return self.child(None, self.span.clone(), path);
        };
        let table = value.get_ref().as_table();
        if table.is_none() {
            let what = format!("`{key}` is {}, not a table", kind(value.get_ref()));
            self.document.report(value.span(), what, &format!("write [{}], and its keys below it", generic(&path)));
        }
        self.child(table, value.span(), path)
    }

    /// The tables of `[[key]]`.
    pub(super) fn tables(&self, key: &'static str) -> Vec<Section<'d, 't>> {
        let Some(value) = self.find(key) else { return Vec::new() };
        let hint = format!("write [[{}]]", generic(&self.below(key)));
        let Some(array) = value.get_ref().as_array() else {
            let what = format!("`{key}` is {}, not a list of tables", kind(value.get_ref()));
            self.document.report(value.span(), what, &hint);
            return Vec::new();
        };
        let mut tables = Vec::new();
        for (index, item) in array.iter().enumerate() {
            let path = format!("{}[{index}]", self.below(key));
            match item.get_ref().as_table() {
                Some(table) => tables.push(self.child(Some(table), item.span(), path)),
                None => self.document.report(item.span(), format!("an item of `{key}` is not a table"), &hint),
            }
        }
        tables
    }

    /// The array under `key`, each item read by itself; `None` if it is absent, or wrong and reported.
    pub(super) fn list<T>(&self, key: &'static str, read: impl Fn(&DeValue<'t>) -> Reading<T>) -> Option<Vec<T>> {
        let value = self.find(key)?;
        let Some(array) = value.get_ref().as_array() else {
            let what = format!("`{key}` is {}, not a list", kind(value.get_ref()));
            self.document.report(value.span(), what, "write [\"...\", \"...\"]");
            return None;
        };
        let item = |item: &Spanned<DeValue<'t>>| {
            self.accept(&format!("an item of `{key}`"), item.span(), read(item.get_ref()))
        };
        // All are read before one that is wrong makes the whole list wrong.
        let items: Vec<Option<T>> = array.iter().map(item).collect();
        items.into_iter().collect()
    }

    /// The table under `key` with keys of the user's own, each value read by itself.
    pub(super) fn map<T>(
        &self,
        key: &'static str,
        read: impl Fn(&str, &DeValue<'t>) -> Reading<T>,
    ) -> BTreeMap<String, T> {
        let Some(table) = self.table(key).table else { return BTreeMap::new() };
        let mut map = BTreeMap::new();
        for (name, value) in table {
            let name: &str = name.get_ref();
            let reading = self.accept(&format!("`{name}` in `{key}`"), value.span(), read(name, value.get_ref()));
            if let Some(item) = reading {
                map.insert(name.to_owned(), item);
            }
        }
        map
    }

    /// Reports every key that was not asked for. With broken syntax it may only stand in a lost table.
    pub(super) fn finish(self) {
        let Some(table) = self.table.filter(|_| self.document.broken.is_empty()) else { return };
        let asked = self.asked.borrow();
        for key in table.keys().filter(|key| !asked.contains(key.get_ref().as_ref())) {
            let hint = match nearest(key.get_ref(), asked.iter().copied()) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("known here: {}", asked.iter().copied().collect::<Vec<_>>().join(", ")),
            };
            self.document.report(key.span(), format!("unknown key `{}`", key.get_ref().escape_debug()), &hint);
        }
    }

    fn accept<T>(&self, what: &str, span: Range<usize>, reading: Reading<T>) -> Option<T> {
        match reading {
            Ok(value) => Some(value),
            Err(wrong) => {
                self.document.report(span, format!("{what} {}", wrong.what), &wrong.hint);
                None
            }
        }
    }

    fn find(&self, key: &'static str) -> Option<&'d Spanned<DeValue<'t>>> {
        self.asked.borrow_mut().insert(key);
        self.document.known.borrow_mut().insert(generic(&self.below(key)));
        let value = self.table?.get(key)?;
        self.document.mark(self.below(key), &value.span());
        Some(value)
    }

    fn child(&self, table: Option<&'d DeTable<'t>>, span: Range<usize>, path: String) -> Section<'d, 't> {
        if table.is_some() {
            self.document.mark(path.clone(), &span);
        }
        Section { document: self.document, table, span, path, asked: RefCell::default() }
    }

    fn below(&self, key: &str) -> String {
        match self.path.is_empty() {
            true => key.to_owned(),
            false => format!("{}.{key}", self.path),
        }
    }
}

/// What a value is, with its article.
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// A path without its indices.
fn generic(path: &str) -> String {
    let mut inside = false;
    path.chars()
        .filter(|c| {
            inside = (inside || *c == '[') && *c != ']';
            !inside && *c != ']'
        })
        .collect()
}
