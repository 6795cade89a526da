//! Makes observations of a control daemon's log, line by line, and says when it is not understood any more: a daemon of
//! another driver may have other words, and silence would look like peace.

use std::time::Duration;

use crate::host::clock;
use crate::host::mps_log::{self, MpsLine};
use crate::model::{DomainId, Moment, Observation, ServerLine, Source, SourceScope, SourceState};

/// Longest wait of a line before it was read; one that seems to have waited longer has a wrong stamp.
const OLDEST_STAMP: Duration = Duration::from_secs(60);
/// Number of lines in a row without one that is known which are too many for chance.
const STRANGE: u32 = 20;
/// Characters that are kept of a server's words.
const WORDS: usize = 200;

/// One group's.
#[derive(Debug)]
pub struct DaemonLog {
    domain: DomainId,
    /// A server's lines since the last one that is known.
    strange: u32,
    /// Lines of no known form since the last one that has it.
    formless: u32,
    told: bool,
}

impl DaemonLog {
    /// The log of this group's daemon, of which nothing was read.
    pub fn of(domain: DomainId) -> Self {
        DaemonLog { domain, strange: 0, formless: 0, told: false }
    }

    /// What one line, read at `read_at`, comes to.
    pub fn line(&mut self, line: &str, read_at: Moment) -> Vec<Observation> {
        let heard = mps_log::hear(line);
        let mut observed = Vec::new();
        match &heard {
            MpsLine::Said(_, said) if !is_of_the_server(said) => self.formless = 0,
            MpsLine::Said(..) => observed.extend(self.known()),
            MpsLine::Chatter { server: true } => observed.extend(self.known()),
            MpsLine::Chatter { server: false } => self.formless = 0,
            MpsLine::Trouble(..) | MpsLine::Strange(..) => {
                self.formless = 0;
                self.strange = self.strange.saturating_add(1);
            }
            MpsLine::Formless => self.formless = self.formless.saturating_add(1),
        }
        observed.extend(self.not_understood(line));
        observed.extend(self.observation(heard, read_at));
        observed
    }

    fn known(&mut self) -> Option<Observation> {
        (self.strange, self.formless) = (0, 0);
        std::mem::take(&mut self.told)
            .then(|| Observation::Heard { scope: SourceScope::of_domain(Source::Log, &self.domain) })
    }

    fn not_understood(&mut self, line: &str) -> Option<Observation> {
        if self.told || (self.strange < STRANGE && self.formless < STRANGE) {
            return None;
        }
        self.told = true;
        let what = if self.strange >= STRANGE { "lines of its server" } else { "lines" };
        let why = format!(
            "the daemon's log is not understood: {STRANGE} {what} in a row are in words that mpswarden does not know, the last is \
             \"{}\"; a fault is still found by the daemon's answers and by processes, later, and who did it may stay unknown",
            shortened(line)
        );
        let scope = SourceScope::of_domain(Source::Log, &self.domain);
        Some(Observation::Blind { scope, state: SourceState::NotUnderstood, why })
    }

    fn observation(&self, heard: MpsLine, read_at: Moment) -> Option<Observation> {
        let domain = self.domain.clone();
        match heard {
            MpsLine::Said(stamp, line) => {
                let stamped = believable(clock::moment_of_utc(stamp), read_at);
                Some(Observation::Log { domain, line, stamped })
            }
            MpsLine::Trouble(server, words) => self.words(server, &words, true),
            MpsLine::Strange(server, words) => self.words(server, &words, false),
            MpsLine::Chatter { .. } | MpsLine::Formless => None,
        }
    }

    /// A server's words as an observation; of a flood of words the first do.
    fn words(&self, server: u32, words: &str, trouble: bool) -> Option<Observation> {
        let words = shortened(words);
        let domain = self.domain.clone();
        (self.strange <= STRANGE).then_some(Observation::ServerSaid { domain, server, words, trouble })
    }
}

/// Lines that a server writes, or that say the same of it.
fn is_of_the_server(line: &ServerLine) -> bool {
    !matches!(line, ServerLine::Starting { .. } | ServerLine::Ready { .. } | ServerLine::Pending { .. })
        && !matches!(line, ServerLine::Exited { .. } | ServerLine::Signalled { .. })
}

fn shortened(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(WORDS).collect()
}

/// The line's own time, unless it can't be: lines are read within milliseconds, so a stamp far off
/// is the wall clock's step or another time zone, and the time of reading is nearer the truth.
fn believable(stamped: Moment, read_at: Moment) -> Moment {
    if read_at.since(stamped) > OLDEST_STAMP { read_at } else { stamped.min(read_at) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::wildcard_enum_match_arm)]
mod tests {
    use super::*;

    const FATAL: &str = "[2026-11-22 19:42:36.957 Server   624] Server is handling a fatal GPU error.";

    fn log() -> DaemonLog {
        DaemonLog::of("g".into())
    }

    fn states(observed: &[Observation]) -> Vec<Option<SourceState>> {
        let state = |observation: &Observation| match observation {
            Observation::Blind { state, .. } => Some(Some(*state)),
            Observation::Heard { .. } => Some(None),
            _ => None,
        };
        observed.iter().filter_map(state).collect()
    }

    #[test]
    fn a_line_that_matters_is_observed() {
        let read_at = clock::now();
        let observed = log().line(FATAL, read_at);
        let [Observation::Log { line, stamped, .. }] = observed.as_slice() else { panic!("{observed:?}") };
        assert_eq!(*line, ServerLine::Fatal { server: 624 });
        assert!(*stamped <= read_at);
    }

    #[test]
    fn a_stamp_is_believed_unless_it_is_far_off() {
        let at = |seconds| Moment::ZERO.after(Duration::from_secs(seconds));
        assert_eq!(believable(at(999), at(1000)), at(999));
        assert_eq!(believable(at(2000), at(1000)), at(1000));
        assert_eq!(believable(at(900), at(1000)), at(1000));
    }

    #[test]
    fn a_server_in_unknown_words_is_told_once_and_once_more_when_it_is_understood_again() {
        let (mut log, now) = (log(), clock::now());
        let strange = "[2026-11-22 19:42:36.957 Server   624] Klient 7 hat den Dienst verlassen";
        let command = "[2026-11-22 19:42:36.957 Control   1] NEW UI";
        let mut all = Vec::new();
        for _ in 0..100 {
            all.extend(log.line(strange, now));
            all.extend(log.line(command, now));
        }
        assert_eq!(states(&all), [Some(SourceState::NotUnderstood)]);
        let words = all.iter().filter(|observation| matches!(observation, Observation::ServerSaid { .. })).count();
        assert_eq!(words, 20);
        assert_eq!(states(&log.line(FATAL, now)), [None]);
        assert!(states(&log.line(FATAL, now)).is_empty());
    }

    #[test]
    fn lines_of_no_known_form_are_told_unless_known_ones_stand_among_them() {
        let (mut one, mut other, now) = (log(), log(), clock::now());
        let json = "{\"ts\": 1, \"msg\": \"client connected\"}";
        let all: Vec<_> = (0..50).flat_map(|_| one.line(json, now)).collect();
        assert_eq!(states(&all), [Some(SourceState::NotUnderstood)]);
        for _ in 0..50 {
            assert!(states(&other.line(json, now)).is_empty());
            other.line("[2026-11-22 19:42:36.957 Control   1] NEW UI", now);
        }
    }

    #[test]
    fn what_is_recorded_of_every_driver_is_understood() {
        let now = clock::now();
        let understood = |text: &str| {
            let mut log = log();
            let all: Vec<_> = text.lines().flat_map(|line| log.line(line, now)).collect();
            assert!(states(&all).is_empty(), "{all:?}");
        };
        understood(include_str!("../../tests/fixtures/mps_logs/r460.log"));
        understood(include_str!("../../tests/fixtures/recordings/illegal_address_clients_linger/daemon.log"));
    }
}
