//! Makes observations of what an engine prints. Words only: what they are worth is decided elsewhere.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::host::engines::LineReader;
use crate::host::pieces::Piece;
use crate::model::{LinePlace, Member, Moment, Observation, Saying};

/// Time in which the same word of one engine counts once: a user that has an engine echo prompts must not keep the core
/// busy. Far below the time in which anything is judged.
const SAME: Duration = Duration::from_millis(20);

/// What one engine prints, in its order.
pub struct EngineOutput {
    engine: Member,
    reader: LineReader,
    told: BTreeMap<Saying, Moment>,
}

impl EngineOutput {
    /// Nothing was read yet.
    pub fn of(engine: Member) -> Self {
        EngineOutput { engine, reader: LineReader::default(), told: BTreeMap::new() }
    }

    /// What this piece of its output says. `None`: nothing, or what was observed a moment ago.
    pub fn observe(&mut self, piece: &Piece) -> Option<Observation> {
        let saying = self.reader.read(piece)?;
        let told = self.told.get(&saying);
        if told.is_some_and(|told| piece.read_at.since(*told) < SAME) {
            return None;
        }
        self.told.insert(saying, piece.read_at);
        let place = LinePlace { file: format!("{}.log", self.engine.engine), byte: piece.byte };
        Some(Observation::Said { engine: self.engine.clone(), saying, place })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::host::pieces::Part;

    const FATAL: &str = "RuntimeError: CUDA error: unspecified launch failure; said somebody";

    fn output() -> EngineOutput {
        EngineOutput::of(Member::new(&"g".into(), &"e".into()))
    }

    fn line(text: &str, byte: u64, millis: u64) -> Piece<'_> {
        let read_at = Moment::from_nanos(millis * 1_000_000);
        Piece { text, byte, part: Part::First, ended: true, read_at }
    }

    #[test]
    fn what_was_matched_goes_out_with_its_place_and_never_the_words_around_it() {
        let Some(Observation::Said { saying, place, .. }) = output().observe(&line(FATAL, 4711, 0)) else { panic!() };
        assert_eq!((saying, place.to_string()), (Saying::Error(719), "e.log at byte 4711".to_owned()));
        assert_eq!(output().observe(&line("INFO Capturing CUDA graphs", 0, 0)), None);
    }

    #[test]
    fn a_word_that_is_said_over_and_over_is_told_fifty_times_a_second() {
        let mut output = output();
        let told = (0..10_000).filter(|at| output.observe(&line(FATAL, *at, at / 10)).is_some()).count();
        assert_eq!(told, 50);
    }

    #[test]
    fn another_word_is_told_at_once() {
        let mut output = output();
        assert!(output.observe(&line(FATAL, 0, 0)).is_some());
        assert!(output.observe(&line("CUDA error: out of memory", 1, 0)).is_some());
    }
}
