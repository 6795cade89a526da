//! The search for the engine whose faults repeat, by experiment: suspects are halved at each further fault. Pure; it
//! moves no engine and knows neither groups nor policies.
//!
//! A fault hits all engines of one server and none of another: the side that it hits holds a culprit, and the
//! suspects of the other side are set aside. Nobody is proven but by a fault of a server that had no other client:
//! so with two culprits no innocent is, either. One culprit among `n` is proven after at most `ceil(log2 n) + 1`
//! faults more.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::model::{EngineName, Moment};

/// A search on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Search {
    /// Time at which it began.
    pub since: Moment,
    /// Who may have done it, the most suspected first. Never empty.
    pub suspects: Vec<EngineName>,
    /// Those of the suspects that are to run isolated from their siblings.
    pub apart: BTreeSet<EngineName>,
    /// Counting faults since it began, the one that began it included.
    pub faults: u32,
}

/// What a fault says of the engines that it hit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    /// The engines that ran on the side that it hit, the most suspected first.
    pub ran: Vec<EngineName>,
    /// Those of them that were cleared by the evidence of this very fault.
    pub cleared: BTreeSet<EngineName>,
    /// A client of its server was no engine, or that is not known.
    pub strangers: bool,
}

/// What a further fault comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SearchResult {
    /// Fewer suspects, or the same: the search goes on.
    Narrowed,
    /// It was this one: no other ran where the fault came.
    Proven(EngineName),
    /// No suspect ran where the fault came: there are two culprits, or it is the hardware. The search began anew.
    Contradiction,
}

impl Search {
    /// Begins with every engine that ran and is not cleared; `None`: none is left to be suspected, or there is no other
    /// to distinguish it from.
    pub(crate) fn begin(hit: &Hit, now: Moment) -> Option<Self> {
        let suspects: Vec<EngineName> = hit.suspected().cloned().collect();
        let alone = hit.ran.len() < 2 || suspects.is_empty();
        (!alone).then(|| Search { since: now, apart: first_half(&suspects), suspects, faults: 1 })
    }

    /// A further fault hit these.
    pub(crate) fn hit(&mut self, hit: &Hit, now: Moment) -> SearchResult {
        self.faults += 1;
        if let ([proven], false) = (hit.ran.as_slice(), hit.strangers) {
            return SearchResult::Proven(proven.clone());
        }
        let left: Vec<EngineName> = hit.suspected().filter(|name| self.suspects.contains(name)).cloned().collect();
        if !left.is_empty() {
            self.apart = first_half(&left);
            self.suspects = left;
            return SearchResult::Narrowed;
        }
        // Whoever ran there was set aside before: what was found out so far does not hold.
        let suspects: Vec<EngineName> = hit.suspected().cloned().collect();
        let suspects = if suspects.is_empty() { hit.ran.clone() } else { suspects };
        *self = Search { since: now, apart: first_half(&suspects), suspects, faults: 1 };
        SearchResult::Contradiction
    }

    /// An engine is no more.
    pub(crate) fn forget(&mut self, gone: impl Fn(&EngineName) -> bool) {
        self.suspects.retain(|name| !gone(name));
        self.apart.retain(|name| !gone(name));
    }
}

impl Hit {
    fn suspected(&self) -> impl Iterator<Item = &EngineName> {
        self.ran.iter().filter(|name| !self.cleared.contains(*name))
    }
}

fn first_half(suspects: &[EngineName]) -> BTreeSet<EngineName> {
    suspects.iter().take(suspects.len().div_ceil(2)).cloned().collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(number: usize) -> EngineName {
        EngineName::from(format!("engine-{number}"))
    }

    /// The faults of `culprits`, one after the other in turn, until an engine is proven; at most `most` of them after
    /// the one that began the search. `clear` says which engines are cleared by the evidence of each.
    fn play(
        engines: &[usize],
        culprits: &[usize],
        most: u32,
        clear: impl Fn(u32, &EngineName) -> bool,
    ) -> (Option<EngineName>, u32) {
        let hit = |ran: Vec<EngineName>, fault: u32| {
            let cleared = ran.iter().filter(|name| clear(fault, name)).cloned().collect();
            Hit { ran, cleared, strangers: false }
        };
        let all: Vec<EngineName> = engines.iter().map(|number| name(*number)).collect();
        let mut search = Search::begin(&hit(all.clone(), 0), Moment::ZERO).unwrap();
        let mut contradictions = 0;
        for fault in 1..=most {
            let culprit = name(culprits[fault as usize % culprits.len()]);
            let apart = search.apart.contains(&culprit);
            let side = all.iter().filter(|name| search.apart.contains(*name) == apart).cloned().collect();
            match search.hit(&hit(side, fault), Moment::ZERO) {
                SearchResult::Proven(proven) => return (Some(proven), contradictions),
                SearchResult::Contradiction => contradictions += 1,
                SearchResult::Narrowed => {}
            }
            assert!(!search.suspects.is_empty() && search.apart.iter().all(|name| search.suspects.contains(name)));
        }
        (None, contradictions)
    }

    fn log2_up(count: usize) -> u32 {
        count.next_power_of_two().trailing_zeros()
    }

    fn engines() -> impl Strategy<Value = Vec<usize>> {
        prop_oneof![Just(2usize), Just(3), Just(5), Just(8), 2..17usize]
            .prop_flat_map(|count| Just((0..count).collect::<Vec<_>>()).prop_shuffle())
    }

    proptest! {
        #[test]
        fn a_planted_culprit_is_found_within_the_bound_and_nobody_else_is(engines in engines(), at in any::<prop::sample::Index>()) {
            let culprit = engines[at.index(engines.len())];
            let bound = log2_up(engines.len()) + 1;
            let (proven, contradictions) = play(&engines, &[culprit], bound, |_, _| false);
            prop_assert_eq!(proven, Some(name(culprit)));
            prop_assert_eq!(contradictions, 0);
        }

        #[test]
        fn evidence_that_clears_others_never_convicts_an_innocent(
            engines in engines(),
            at in any::<prop::sample::Index>(),
            seed in any::<u64>(),
        ) {
            let culprit = name(engines[at.index(engines.len())]);
            let cleared = |fault: u32, engine: &EngineName| {
                let noise = seed.rotate_left(fault * 7 + engine.as_str().len() as u32) ^ engine.as_str().bytes().map(u64::from).sum::<u64>();
                *engine != culprit && noise.is_multiple_of(3)
            };
            let bound = log2_up(engines.len()) + 1;
            let (proven, contradictions) = play(&engines, &[engines[at.index(engines.len())]], bound, cleared);
            prop_assert_eq!(proven, Some(culprit.clone()));
            prop_assert_eq!(contradictions, 0);
        }

        #[test]
        fn of_two_culprits_only_a_culprit_is_ever_proven(engines in engines(), one in any::<prop::sample::Index>(), two in any::<prop::sample::Index>()) {
            let culprits = [engines[one.index(engines.len())], engines[two.index(engines.len())]];
            let (proven, _) = play(&engines, &culprits, 40, |_, _| false);
            if let Some(proven) = proven {
                prop_assert!(culprits.iter().any(|culprit| name(*culprit) == proven), "{proven}");
            }
        }
    }

    pub(crate) fn hit(ran: &[usize], cleared: &[usize]) -> Hit {
        let names = |numbers: &[usize]| numbers.iter().map(|number| name(*number)).collect::<Vec<_>>();
        Hit { ran: names(ran), cleared: names(cleared).into_iter().collect(), strangers: false }
    }

    #[test]
    fn one_engine_alone_is_never_searched_for() {
        assert_eq!(Search::begin(&hit(&[1], &[]), Moment::ZERO), None);
        assert_eq!(Search::begin(&hit(&[1, 2], &[1, 2]), Moment::ZERO), None);
    }

    #[test]
    fn the_only_one_that_is_not_cleared_goes_apart_and_is_proven_by_its_next_fault_there_only() {
        let mut search = Search::begin(&hit(&[1, 2, 3], &[1, 3]), Moment::ZERO).unwrap();
        assert_eq!(search.apart, BTreeSet::from([name(2)]));
        assert_eq!(search.clone().hit(&hit(&[1, 3], &[]), Moment::ZERO), SearchResult::Contradiction);
        assert_eq!(search.hit(&hit(&[2], &[]), Moment::ZERO), SearchResult::Proven(name(2)));
    }

    #[test]
    fn the_last_suspect_is_proven_only_where_nobody_else_runs() {
        let mut search = Search::begin(&hit(&[1, 2, 3, 4], &[]), Moment::ZERO).unwrap();
        assert_eq!(search.hit(&hit(&[1, 2], &[]), Moment::ZERO), SearchResult::Narrowed);
        assert_eq!(search.hit(&hit(&[2, 3, 4], &[]), Moment::ZERO), SearchResult::Narrowed);
        assert_eq!((search.suspects.as_slice(), search.apart.len()), (&[name(2)][..], 1));
        assert_eq!(search.hit(&hit(&[2], &[]), Moment::ZERO), SearchResult::Proven(name(2)));
    }

    #[test]
    fn a_fault_before_anybody_was_moved_teaches_nothing() {
        let mut search = Search::begin(&hit(&[1, 2, 3, 4], &[]), Moment::ZERO).unwrap();
        let before = search.suspects.clone();
        assert_eq!(search.hit(&hit(&[1, 2, 3, 4], &[]), Moment::ZERO), SearchResult::Narrowed);
        assert_eq!(search.suspects, before);
    }

    #[test]
    fn nobody_is_proven_while_a_stranger_may_have_done_it() {
        let mut search = Search::begin(&hit(&[1, 2], &[]), Moment::ZERO).unwrap();
        let stranger = Hit { strangers: true, ..hit(&[1], &[]) };
        assert_eq!(search.hit(&stranger, Moment::ZERO), SearchResult::Narrowed);
        assert_eq!(search.hit(&hit(&[1], &[]), Moment::ZERO), SearchResult::Proven(name(1)));
    }
}
