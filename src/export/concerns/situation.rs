//! What concerns are found in, and how its times are spelled.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::concern::{Concern, Todo};
use crate::export::history::{Since, Subject};
use crate::model::{Moment, Status};
use crate::text::span::age;

/// Age from which on a time of day needs its date.
const A_DAY: Duration = Duration::from_secs(20 * 3600);

/// A status, since when it is so, and where its times lie.
#[derive(Clone, Debug)]
pub struct Situation<'a> {
    /// What the core knows.
    pub status: &'a Status,
    /// Times since which it is so.
    pub since: &'a Since,
    /// Seconds since 1970 of `Moment::ZERO`.
    pub boot: f64,
    /// How old the status is.
    pub age: Duration,
    /// Zone of times of day.
    pub zone: TimeZone,
}

impl Situation<'_> {
    /// Time since which a subject is as it is.
    pub(super) fn since(&self, subject: &Subject) -> Option<Moment> {
        self.since.of(subject)
    }

    /// How long ago something was, for people.
    pub fn ago(&self, at: Moment) -> String {
        age(self.status.at.after(self.age).since(at))
    }

    /// `14:31:54 UTC`; with its date where that is not today's.
    pub fn time(&self, at: Moment) -> String {
        let now = self.status.at;
        let far = now.since(at).max(at.since(now)) >= A_DAY;
        let seconds = self.boot + at.as_secs_f64();
        let time = Timestamp::from_millisecond((seconds * 1e3) as i64).unwrap_or_default();
        time.to_zoned(self.zone.clone()).strftime(if far { "%F %T %Z" } else { "%T %Z" }).to_string()
    }

    /// `next try at 14:31:54 UTC, in 4 min`.
    pub(super) fn next_try(&self, at: Moment) -> String {
        format!("next try at {}, in {}", self.time(at), age(at.since(self.status.at)))
    }

    /// What is how, since when and why: the first of the two lines.
    pub fn headline(&self, concern: &Concern) -> String {
        let since = concern
            .since
            .map(|since| format!(", since {} ({})", self.time(since), self.ago(since)))
            .unwrap_or_default();
        let why = concern.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        format!("{}{since}{why}", concern.what)
    }

    /// What to do, with its command and its runbook among the documents: the second of the two lines.
    pub fn to_do(&self, todo: &Todo) -> String {
        let command = todo.command.as_ref().map(|command| format!(": {command}")).unwrap_or_default();
        let runbook = todo.runbook.map(|name| format!("; see docs/runbooks/{name}.md")).unwrap_or_default();
        format!("{}{command}{runbook}", todo.words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::testing;

    #[test]
    fn times_have_their_zone_and_old_ones_their_date() {
        let status = Status { at: Moment::from_nanos(90_000_000_000_000), ..testing::status(Vec::new()) };
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        let since = Since::default();
        let situation = Situation { status: &status, since: &since, boot: 1_795_389_302.5, age: Duration::ZERO, zone };
        assert_eq!(situation.time(Moment::from_nanos(89_000_000_000_000)), "00:58:22 +01");
        assert_eq!(situation.time(Moment::ZERO), "2026-11-23 00:15:02 +01");
        assert_eq!(
            situation.next_try(status.at.after(Duration::from_secs(240))).split_once(", ").map(|it| it.1),
            Some("in 4 min")
        );
    }
}
