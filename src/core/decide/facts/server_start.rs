//! Starts of the MPS server that came to nothing: it ended before it was ever ready. How it ended, and what it said of
//! itself, are what a person needs; another start is tried ever more slowly.

use std::time::Duration;

use super::guard;
use crate::decide::policy::Backoff;
use crate::model::Moment;

/// Pause between the first tries.
const FIRST: Duration = Duration::from_secs(4);
/// The longest wait: its cause goes when a person mends it, who waits then; a try costs one short process.
const MOST: Duration = Duration::from_secs(30);
/// Number of tries after which the group is held: what comes then is a look whether something has changed.
pub(crate) const TRIES: u32 = 3;

/// The longest time from one try to the next.
pub(crate) fn longest_wait(backoff: &Backoff) -> Duration {
    backoff.most.min(MOST).max(FIRST)
}

/// A start that failed, and those after it, until a server is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    /// When the first of them failed.
    pub since: Moment,
    /// The last one's pid.
    server: u32,
    /// Number of tries with this daemon, since an operator's last word.
    pub tries: u32,
    /// How the last one ended, where the daemon said so.
    ended: Option<String>,
    /// Words of the server itself.
    said: Option<String>,
}

/// What a server's line that is not one of the known ones sounds like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::decide) enum Tone {
    /// Something, good or bad.
    Plain,
    /// Something went wrong.
    Trouble,
}

/// What is known of a server that is not ready yet, and of those that never were.
#[derive(Clone, Debug, Default)]
pub(crate) struct Starts {
    /// Words of a server in which something went wrong; without such, its last ones that are not known.
    words: Option<(u32, String, Tone)>,
    failed: Option<Failed>,
}

impl Starts {
    /// A server wrote a line that is not one of the known ones.
    pub(crate) fn said(&mut self, server: u32, words: String, tone: Tone) {
        let better = self.words.as_ref().is_some_and(|(of, _, known)| *of == server && *known > tone);
        if let Some(failed) = self.failed.as_mut().filter(|failed| failed.server == server && !better) {
            failed.said = Some(words.clone());
        }
        if !better {
            self.words = Some((server, words, tone));
        }
    }

    /// It ended before it was ready. Its end may be seen before its lines: until they come, those of the one before it
    /// stand.
    pub(crate) fn failed(&mut self, server: u32, at: Moment) {
        let said = self.words.as_ref().filter(|(of, _, _)| *of == server).map(|(_, words, _)| words.clone());
        let before = self.failed.take();
        let (since, tries) = before.as_ref().map_or((at, 0), |failed| (failed.since, failed.tries));
        let (ended, last) = before.map_or((None, None), |failed| (failed.ended, failed.said));
        self.failed = Some(Failed { since, server, tries: tries + 1, ended, said: said.or(last) });
    }

    /// The daemon says how a server ended.
    pub(crate) fn ended(&mut self, server: u32, how: String) {
        if let Some(failed) = self.failed.as_mut().filter(|failed| failed.server == server) {
            failed.ended = Some(how);
        }
    }

    /// A server is ready: what failed before it is over.
    pub(crate) fn ready(&mut self) {
        *self = Starts::default();
    }

    /// What failed first since then was not the server's own doing.
    pub(crate) fn forget_since(&mut self, moment: Moment) {
        self.failed = self.failed.take().filter(|failed| failed.since < moment);
    }

    /// Another daemon, or an operator's word: tries are counted anew.
    pub(crate) fn again(&mut self) {
        self.failed.iter_mut().for_each(|failed| failed.tries = 0);
    }

    /// The start that failed last, until one succeeds.
    pub(crate) fn last_failed(&self) -> Option<&Failed> {
        self.failed.as_ref()
    }

    /// How many failed in a row.
    pub(crate) fn tries(&self) -> u32 {
        self.failed.as_ref().map_or(0, |failed| failed.tries)
    }

    /// Pause from one try to the next.
    pub(crate) fn wait(&self, backoff: &Backoff) -> Duration {
        let plain =
            Backoff { jitter: 0.0, first: FIRST, next: FIRST * 2, most: longest_wait(backoff), ..backoff.clone() };
        guard::wait(&plain, self.tries(), 0.5).max(FIRST)
    }
}

impl Failed {
    /// What happened, for people.
    pub(crate) fn words(&self) -> String {
        let how = self.ended.as_ref().map_or_else(String::new, |how| format!(" with {how}"));
        let said = self.said.as_ref().map_or_else(
            || "; it said nothing of why".to_owned(),
            |said| format!("; its own words: \"{said}\"{}", hint(said)),
        );
        format!("MPS server {} ended{how} before it was ever ready{said}", self.server)
    }
}

/// What people found behind such words.
fn hint(said: &str) -> &'static str {
    let said = said.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if has(&["exclusive", "in use", "busy", "unavailable"]) {
        ": is the GPU in compute mode EXCLUSIVE_PROCESS and used by another process? (nvidia-smi -q -d COMPUTE)"
    } else if has(&["permi", "denied"]) {
        ": may the server's user open /dev/nvidia* and the pipe directory?"
    } else if has(&["not supported", "unsupported"]) {
        ": is MIG on, or is this a vGPU, a gVisor sandbox, or a GPU without MPS?"
    } else {
        ""
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::ZERO.after(Duration::from_secs(seconds))
    }

    #[test]
    fn a_failed_start_is_told_with_its_status_and_its_own_words() {
        let mut starts = Starts::default();
        starts.said(95, "The sky is green".to_owned(), Tone::Plain);
        starts.said(95, "Failed to start : operation not supported".to_owned(), Tone::Trouble);
        starts.said(95, "Bye".to_owned(), Tone::Plain);
        starts.failed(95, at(1));
        starts.ended(95, "status 1".to_owned());
        starts.ended(94, "status 7".to_owned());
        let words = starts.last_failed().unwrap().words();
        assert!(words.starts_with("MPS server 95 ended with status 1 before it was ever ready"), "{words}");
        assert!(words.contains("\"Failed to start : operation not supported\": is MIG on"), "{words}");
    }

    #[test]
    fn words_of_another_server_say_nothing_of_this_one() {
        let mut starts = Starts::default();
        starts.said(94, "Failed to start".to_owned(), Tone::Trouble);
        starts.failed(95, at(1));
        assert!(starts.last_failed().unwrap().words().contains("said nothing"));
    }

    #[test]
    fn tries_are_made_ever_more_slowly_and_counted_anew_by_an_operator() {
        let (mut starts, backoff) = (Starts::default(), Backoff::default());
        let mut waits = Vec::new();
        for second in 1..=5 {
            starts.failed(95, at(second));
            waits.push(starts.wait(&backoff).as_secs());
        }
        assert_eq!(waits, [4, 8, 16, 30, 30]);
        starts.again();
        assert_eq!((starts.tries(), starts.wait(&backoff)), (0, FIRST));
        assert_eq!(starts.last_failed().map(|failed| failed.since), Some(at(1)));
        starts.ready();
        assert_eq!(starts.last_failed(), None);
    }
}
