//! What the evidence comes to: each engine's suspicion, most suspected first, and the sentence for people.

use crate::model::{EngineName, Strength, Suspicion};

/// The verdict on one fault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Every engine, most suspected first, cleared last; equals in the configuration's order.
    pub suspicions: Vec<Suspicion>,
    /// The fault is the aftershock of this engine's end, which was brought about: a kill from outside, or the
    /// watchdog's own. It is convicted as the cause, and it is no offender.
    pub explained: Option<EngineName>,
    /// The fault is such an aftershock, and it is not known whose end it was.
    pub unnamed: bool,
    /// Sentence that says who did it.
    pub sentence: String,
}

impl Verdict {
    /// The engine that did it, by a fault of its own; `None`: it is not known, or its death from outside explains it.
    pub(crate) fn convicted(&self) -> Option<&EngineName> {
        self.of(Strength::Convicted).next().filter(|engine| self.explained.as_ref() != Some(engine))
    }

    /// Engines that did not do it.
    pub(crate) fn cleared(&self) -> Vec<&EngineName> {
        self.of(Strength::Cleared).collect()
    }

    /// Every engine, most suspected first, cleared last.
    pub(crate) fn ranked(&self) -> Vec<&EngineName> {
        self.suspicions.iter().map(|suspicion| &suspicion.engine).collect()
    }

    /// Engines of one strength.
    pub(crate) fn of(&self, strength: Strength) -> impl Iterator<Item = &EngineName> {
        self.suspicions.iter().filter(move |held| held.strength == strength).map(|held| &held.engine)
    }

    /// The one engine that stands out as an offender: convicted, or the only one suspected.
    pub(crate) fn stands_out(&self) -> Option<&EngineName> {
        let mut suspected = self.of(Strength::Suspected);
        let only = suspected.next().filter(|_| suspected.next().is_none());
        self.convicted().or(only)
    }

    /// Whether both say the same of everybody, whatever their reasons.
    pub(crate) fn agrees_with(&self, other: &Verdict) -> bool {
        let strengths = |verdict: &Verdict| {
            let mut all: Vec<_> = verdict.suspicions.iter().map(|held| (held.engine.clone(), held.strength)).collect();
            all.sort();
            all
        };
        self.explained == other.explained && strengths(self) == strengths(other)
    }
}
