//! A page of metrics, read in pieces and never held: only the figures that a dialect has names for are kept. A line
//! that is not understood costs itself alone. Pure.

use std::collections::BTreeMap;
use std::f64::consts::PI;
use std::mem;

use memchr::memchr;

use super::dialect::{self, Figure, MetricsDialect};
use super::labels::{Labels, unescape};
use super::nothing;
use crate::model::EngineLoad;

/// Most bytes of one page. A busy engine's has some 100 KB.
const MOST_BYTES: usize = 16 << 20;
/// Most lines of one page.
const MOST_LINES: usize = 100_000;
/// Most bytes of a line; all that is ever held of a page.
pub(super) const LONGEST_LINE: usize = 16 << 10;
/// Most characters of a model's name that are kept.
pub(super) const LONGEST_MODEL: usize = 200;

/// The page is longer than any engine's: what was read of it counts.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

/// A page that is being read.
#[derive(Debug, Default)]
pub struct Page {
    bytes: usize,
    lines: usize,
    /// A line whose end has not come yet; of one that is too long, its beginning.
    begun: Vec<u8>,
    too_long: bool,
    /// Its first character that is no space.
    first: Option<u8>,
    samples: usize,
    strange: usize,
    dialect: Option<&'static MetricsDialect>,
    /// Values by the index of the name and the series. NaN: what it says can't be.
    values: BTreeMap<(usize, u64), f64>,
    /// Whether it is awake, and whether it is in any other state.
    awake: [Option<bool>; 2],
    model: Option<String>,
}

impl Page {
    /// Takes the next piece; lines may be cut anywhere. What follows a failure is not taken.
    pub fn push(&mut self, mut piece: &[u8]) -> Result<(), Full> {
        self.bytes += piece.len();
        if self.bytes > MOST_BYTES {
            return Err(Full);
        }
        self.first = self.first.or_else(|| piece.iter().copied().find(|byte| !byte.is_ascii_whitespace()));
        while let Some(end) = memchr(b'\n', piece) {
            self.lines += 1;
            if self.lines > MOST_LINES {
                return Err(Full);
            }
            self.end_line(&piece[..end]);
            piece = &piece[end + 1..];
        }
        self.begin(piece);
        Ok(())
    }

    /// The load. `path` is where the page was, for the word that it is none.
    pub fn finish(mut self, path: &str) -> EngineLoad {
        self.end_page();
        if let Some(what) = self.is_no_text() {
            return nothing(format!("its {path} is {what}"));
        }
        EngineLoad {
            running: self.sum(Figure::Running),
            waiting: self.sum(Figure::Waiting),
            kv_cache: self.fullest(),
            prompt_tokens: self.sum(Figure::PromptTokens),
            generation_tokens: self.sum(Figure::GenerationTokens),
            requests: self.sum(Figure::Requests),
            steps: self.steps(),
            asleep: self.asleep(),
            kind: self.dialect.map(|dialect| dialect.kind),
            model: self.model,
            no_metrics: None,
        }
    }

    /// A line without its end may lack a part of its number: it only shows what the page is.
    fn end_page(&mut self) {
        let cut = mem::take(&mut self.begun);
        let cut = cut.trim_ascii();
        let name = cut.iter().position(|byte| !is_of_a_name(*byte)).unwrap_or(cut.len());
        let (name, rest) = cut.split_at(name);
        match cut.first() {
            None | Some(b'#') => {}
            _ if is_shaped(name, rest) => self.samples += 1,
            _ => self.strange += 1,
        }
    }

    /// What it is, where nothing of it is the text format.
    fn is_no_text(&self) -> Option<&'static str> {
        match self.first {
            _ if self.dialect.is_some() => None,
            Some(b'<') => Some("HTML"),
            Some(b'{' | b'[') if self.samples == 0 => Some("JSON"),
            _ if self.samples == 0 && self.strange > 0 => Some("not in the Prometheus text format"),
            _ => None,
        }
    }

    fn begin(&mut self, piece: &[u8]) {
        let room = LONGEST_LINE - self.begun.len();
        self.too_long |= piece.len() > room;
        self.begun.extend_from_slice(&piece[..piece.len().min(room)]);
    }

    fn end_line(&mut self, rest: &[u8]) {
        if self.begun.is_empty() && rest.len() <= LONGEST_LINE {
            return self.line(rest);
        }
        self.begin(rest);
        let whole = mem::take(&mut self.begun);
        match mem::take(&mut self.too_long) {
            true => self.strange += 1,
            false => self.line(&whole),
        }
    }

    fn line(&mut self, line: &[u8]) {
        let line = line.trim_ascii();
        if line.first().is_none_or(|first| *first == b'#') {
            return;
        }
        match self.sample(line) {
            Some(()) => self.samples += 1,
            None => self.strange += 1,
        }
    }

    /// Takes up a sample of a known name. Of the thousand others only the name and the last word are looked at.
    /// `None`: it is no sample.
    fn sample(&mut self, line: &[u8]) -> Option<()> {
        let (name, rest) = line.split_at(line.iter().position(|byte| !is_of_a_name(*byte))?);
        self.dialect = self.dialect.or_else(|| dialect::of_series(name));
        let Some((dialect, place)) = self.dialect.and_then(|dialect| Some((dialect, dialect.place(name)?))) else {
            return is_shaped(name, rest).then_some(());
        };
        let (labels, rest) = Labels::parse(rest)?;
        let value = rest.split(u8::is_ascii_whitespace).find(|word| !word.is_empty())?;
        let value: f64 = str::from_utf8(value).ok()?.parse().ok()?;
        self.model = self.model.take().or_else(|| labels.model.map(|model| unescape(model, LONGEST_MODEL)));
        let figure = dialect.names[place].1;
        if figure == Figure::Sleep {
            self.sleep(labels.sleep_state == Some(b"awake"), value);
        } else if !labels.part {
            self.add(figure, (place, labels.series), value);
        }
        Some(())
    }

    /// Adds a value; of copies of one series the largest counts: some may lag behind.
    fn add(&mut self, figure: Figure, series: (usize, u64), value: f64) {
        let can_be = value.is_finite() && value >= 0.0 && (figure != Figure::KvCache || value <= 1.0);
        let value = if can_be { value } else { f64::NAN };
        let so_far = self.values.entry(series).or_insert(value);
        // The larger of NaN and a number would be the number.
        *so_far = if so_far.is_nan() || value.is_nan() { f64::NAN } else { so_far.max(value) };
    }

    fn sleep(&mut self, awake: bool, value: f64) {
        let state = &mut self.awake[usize::from(!awake)];
        *state = Some(state.unwrap_or(false) || value > 0.0);
    }

    /// Its series under the first of its names that is there.
    fn series(&self, wanted: Figure) -> Vec<f64> {
        let names = self.dialect.map_or(&[][..], |dialect| dialect.names);
        let places = names.iter().enumerate().filter(|(_, (_, figure))| *figure == wanted);
        let mut of_each = places.map(|(place, _)| self.values.range((place, 0)..=(place, u64::MAX)));
        of_each
            .find_map(|range| Some(range.map(|(_, value)| *value).collect()).filter(|all: &Vec<f64>| !all.is_empty()))
            .unwrap_or_default()
    }

    /// An engine may run several schedulers: they add up.
    fn sum(&self, wanted: Figure) -> Option<f64> {
        let all = self.series(wanted);
        Some(all.iter().sum()).filter(|sum: &f64| !all.is_empty() && sum.is_finite())
    }

    /// Value of the fullest cache: it is where requests wait first.
    fn fullest(&self) -> Option<f64> {
        let all = self.series(Figure::KvCache);
        all.iter().copied().reduce(f64::max).filter(|_| all.iter().all(|value| !value.is_nan()))
    }

    /// A number that changes with either of two: no step of the one makes up for one of the other times pi.
    fn steps(&self) -> Option<f64> {
        match (self.sum(Figure::Steps), self.sum(Figure::Pace)) {
            (Some(steps), Some(pace)) => Some(steps + PI * pace),
            (steps, pace) => steps.or(pace),
        }
    }

    /// It is not where nothing says in which state it is.
    fn asleep(&self) -> Option<bool> {
        match self.awake {
            [Some(true), _] => Some(false),
            [Some(false), None] | [_, Some(true)] => Some(true),
            [Some(false), Some(false)] | [None, _] => None,
        }
    }
}

fn is_of_a_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':'
}

/// Whether it is as samples are: a name, labels or not, and a number at its end.
fn is_shaped(name: &[u8], rest: &[u8]) -> bool {
    let word = rest.rsplit(u8::is_ascii_whitespace).next().unwrap_or_default();
    name.first().is_some_and(|first| !first.is_ascii_digit())
        && matches!(rest.first(), Some(b'{' | b' ' | b'\t'))
        && str::from_utf8(word).is_ok_and(|word| word.parse::<f64>().is_ok())
}
