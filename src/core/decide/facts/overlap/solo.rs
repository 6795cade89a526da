//! Which engine alone had work on its GPU, since when, and until when that is sure. What may be learnt of it then is
//! decided here; what is known of engines is read, not kept.

use std::time::Duration;

use crate::decide::facts::overlap::baseline::LoadPoint;
use crate::decide::facts::overlap::pace::Pace;
use crate::decide::open_actions::DomainNumber;
use crate::model::{EngineName, Moment};

/// Shortest stretch from which a rate is learnt.
const STRETCH: Duration = Duration::from_secs(10);

/// The only engine with work, for now.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Alone {
    /// The side of a group that has it.
    pub side: DomainNumber,
    pub engine: EngineName,
    pub incarnation: u32,
    /// Every engine on the GPU was read at this moment or later.
    pub sure: Moment,
}

/// State for as long as one engine is alone.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Solo {
    pub engine: EngineName,
    pub incarnation: u32,
    since: Moment,
    /// Where the next stretch begins.
    from: Moment,
}

impl Solo {
    /// It goes on, or begins now with this engine.
    pub(crate) fn goes_on(before: Option<Solo>, alone: &Alone, now: Moment) -> Solo {
        let same = |solo: &Solo| solo.engine == alone.engine && solo.incarnation == alone.incarnation;
        before.filter(same).unwrap_or_else(|| Solo {
            engine: alone.engine.clone(),
            incarnation: alone.incarnation,
            since: now,
            from: now,
        })
    }

    /// Name of the engine.
    pub(crate) fn engine(&self) -> &EngineName {
        &self.engine
    }

    /// What the engine did in the next whole stretch, and how fast; `None`: there is none yet.
    pub(crate) fn stretch(&mut self, pace: &Pace, sure: Moment) -> Option<(LoadPoint, f64)> {
        let stretch = pace.stretch(self.from, sure).filter(|stretch| stretch.lasted >= STRETCH)?;
        let shape = pace.shape(self.since, sure)?;
        self.from = stretch.end;
        let work = LoadPoint { running: stretch.running, prompt: shape.prompt, generation: shape.generation };
        (stretch.tokens_per_second > 0.0).then_some((work, stretch.tokens_per_second))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::super::pace::tests::{at, works};
    use super::*;

    fn solo(since: u64) -> Solo {
        Solo { engine: EngineName::from("a"), incarnation: 1, since: at(since), from: at(since) }
    }

    #[test]
    fn stretches_follow_one_another_up_to_what_is_sure() {
        let (mut pace, mut solo) = (Pace::default(), solo(4));
        works(&mut pace, 0, 60, 4.0, 4.0);
        assert_eq!(solo.stretch(&pace, at(13)), None, "eight seconds");
        let (work, rate) = solo.stretch(&pace, at(15)).unwrap();
        assert_eq!((work, rate), (LoadPoint { running: 4.0, prompt: 100.0, generation: 50.0 }, 600.0));
        assert_eq!(solo.stretch(&pace, at(23)), None);
        assert!(solo.stretch(&pace, at(24)).is_some());
    }

    #[test]
    fn a_stretch_waits_until_enough_requests_have_ended() {
        let (mut pace, mut solo) = (Pace::default(), solo(0));
        works(&mut pace, 0, 60, 4.0, 0.5);
        assert_eq!(solo.stretch(&pace, at(30)), None);
        assert!(solo.stretch(&pace, at(32)).is_some());
    }

    #[test]
    fn an_engine_that_makes_no_token_teaches_nothing() {
        let (mut pace, mut solo) = (Pace::default(), solo(0));
        works(&mut pace, 0, 60, 4.0, 0.0);
        assert_eq!(solo.stretch(&pace, at(60)), None);
    }
}
