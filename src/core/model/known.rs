//! `Known<T>`: a fact and when it was seen. What was never seen, or too long ago, is unknown.

use std::time::Duration;

use super::Moment;

/// A fact with its time, or nothing yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Known<T> {
    /// Never seen.
    #[default]
    Unknown,
    /// Seen at a moment; it may have changed since.
    Seen {
        /// The fact.
        value: T,
        /// Time at which it was seen.
        at: Moment,
    },
}

impl<T> Known<T> {
    /// Takes up what was seen at `at`.
    pub fn saw(&mut self, value: T, at: Moment) {
        *self = Known::Seen { value, at };
    }

    /// The fact, however old.
    pub fn last(&self) -> Option<&T> {
        match self {
            Known::Unknown => None,
            Known::Seen { value, .. } => Some(value),
        }
    }

    /// When the fact was seen.
    pub fn at(&self) -> Option<Moment> {
        match self {
            Known::Unknown => None,
            Known::Seen { at, .. } => Some(*at),
        }
    }

    /// The fact, if it is at most `max_age` old.
    pub fn fresh(&self, max_age: Duration, now: Moment) -> Option<&T> {
        match self {
            Known::Seen { value, at } if now.since(*at) <= max_age => Some(value),
            Known::Seen { .. } | Known::Unknown => None,
        }
    }

    /// The fact, if it was seen at `moment` or later.
    pub fn since(&self, moment: Moment) -> Option<&T> {
        match self {
            Known::Seen { value, at } if *at >= moment => Some(value),
            Known::Seen { .. } | Known::Unknown => None,
        }
    }

    /// Forgets the fact: what it was about is gone.
    pub fn forget(&mut self) {
        *self = Known::Unknown;
    }
}
