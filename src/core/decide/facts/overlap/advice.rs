//! Advice that sharing does not pay: given after a long time without a break. It orders nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::decide::policy::OverlapPolicy;
use crate::model::{Advice, AdviceReason, EngineName, Moment};

/// Time without a value that ends the advice: what it was is no longer known.
const UNKNOWN_TOO_LONG: Duration = Duration::from_secs(300);
/// Share by which the value must be better than its bound for advice to be taken back.
const HYSTERESIS: f64 = 0.05;

/// A value is beyond its bound since a moment.
#[derive(Clone, Debug, PartialEq)]
struct Spell {
    since: Moment,
    /// When it was last known to be.
    known: Moment,
    value: f64,
    given: bool,
}

/// What does not pay, or did not a moment ago.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spells(BTreeMap<(AdviceReason, Option<EngineName>), Spell>);

/// A change of the advice.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum News {
    /// It has not paid for long enough.
    Began(Advice),
    /// It does again (`value`), or it is no longer known.
    Ended { reason: AdviceReason, engine: Option<EngineName>, lasted: Duration, value: Option<f64> },
}

impl Spells {
    /// The gain and each engine's slow-down are these now. Engines that are gone are unknown.
    pub(crate) fn judge(
        &mut self,
        gain: Option<f64>,
        slowdowns: &[(EngineName, Option<f64>)],
        policy: &OverlapPolicy,
        now: Moment,
    ) -> Vec<News> {
        let mut news = Vec::new();
        let after = policy.advice_after;
        let low = |gain: f64, slack: f64| gain < policy.low_gain * (1.0 + slack);
        self.weigh((AdviceReason::LowGain, None), gain.map(|gain| (gain, low)), after, now, &mut news);
        for (engine, slowdown) in slowdowns {
            let most = policy.most_slowdown.unwrap_or(f64::INFINITY);
            let slow = move |slowdown: f64, slack: f64| slowdown > most * (1.0 - slack);
            let key = (AdviceReason::Slowdown, Some(engine.clone()));
            self.weigh(key, slowdown.map(|slowdown| (slowdown, slow)), after, now, &mut news);
        }
        self.forget_the_unknown(now, &mut news);
        news
    }

    /// The advice that holds.
    pub(crate) fn given(&self) -> Vec<Advice> {
        self.0.iter().filter(|(_, spell)| spell.given).map(|(key, spell)| advice(key, spell)).collect()
    }

    fn weigh(
        &mut self,
        key: (AdviceReason, Option<EngineName>),
        value: Option<(f64, impl Fn(f64, f64) -> bool)>,
        after: Duration,
        now: Moment,
        news: &mut Vec<News>,
    ) {
        let Some((value, bad)) = value else { return };
        let given = self.0.get(&key).is_some_and(|spell| spell.given);
        if !bad(value, if given { HYSTERESIS } else { 0.0 }) {
            return news.extend(self.end(&key, now, Some(value)));
        }
        let spell = self.0.entry(key.clone()).or_insert(Spell { since: now, known: now, value, given });
        (spell.known, spell.value) = (now, value);
        if !spell.given && now.since(spell.since) >= after {
            spell.given = true;
            news.push(News::Began(advice(&key, spell)));
        }
    }

    fn forget_the_unknown(&mut self, now: Moment, news: &mut Vec<News>) {
        let unknown = |spell: &Spell| now.since(spell.known) > UNKNOWN_TOO_LONG;
        let over: Vec<_> = self.0.iter().filter(|(_, spell)| unknown(spell)).map(|(key, _)| key.clone()).collect();
        news.extend(over.iter().filter_map(|key| self.end(key, now, None)));
    }

    fn end(&mut self, key: &(AdviceReason, Option<EngineName>), now: Moment, value: Option<f64>) -> Option<News> {
        let spell = self.0.remove(key).filter(|spell| spell.given)?;
        let (reason, engine) = key.clone();
        Some(News::Ended { reason, engine, lasted: now.since(spell.since), value })
    }
}

fn advice((reason, engine): &(AdviceReason, Option<EngineName>), spell: &Spell) -> Advice {
    Advice { reason: *reason, engine: engine.clone(), since: spell.since, value: spell.value }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::super::pace::tests::at;
    use super::*;

    fn policy() -> OverlapPolicy {
        OverlapPolicy { advice_after: Duration::from_secs(600), most_slowdown: Some(3.0), ..OverlapPolicy::default() }
    }

    /// News at each second of `gains`.
    fn news(gains: &[(u64, Option<f64>)]) -> Vec<(u64, News)> {
        let mut spells = Spells::default();
        let mut all = Vec::new();
        for (second, gain) in gains {
            all.extend(spells.judge(*gain, &[], &policy(), at(*second)).into_iter().map(|news| (*second, news)));
        }
        all
    }

    fn began(since: u64, value: f64) -> News {
        News::Began(Advice { reason: AdviceReason::LowGain, engine: None, since: at(since), value })
    }

    fn ended(lasted: u64, value: Option<f64>) -> News {
        News::Ended { reason: AdviceReason::LowGain, engine: None, lasted: Duration::from_secs(lasted), value }
    }

    #[test]
    fn a_low_gain_is_told_once_it_has_lasted() {
        let low = Some(1.01);
        assert_eq!(news(&[(10, low), (300, low), (609, low)]), []);
        assert_eq!(news(&[(10, low), (300, low), (610, low), (900, low)]), [(610, began(10, 1.01))]);
        assert_eq!(news(&[(10, Some(1.05)), (610, Some(1.05))]), [], "the bound itself pays");
    }

    #[test]
    fn one_good_value_begins_it_anew() {
        assert_eq!(news(&[(10, Some(1.0)), (300, Some(1.06)), (310, Some(1.0)), (610, Some(1.0))]), []);
    }

    #[test]
    fn it_is_taken_back_when_the_gain_is_clearly_over_its_bound() {
        let given = [(0, Some(1.0)), (300, Some(1.0)), (600, Some(1.0)), (610, Some(1.08)), (620, Some(1.11))];
        assert_eq!(news(&given), [(600, began(0, 1.0)), (620, ended(620, Some(1.11)))]);
    }

    #[test]
    fn a_short_time_without_a_value_breaks_nothing_and_a_long_one_ends_it() {
        let short = [(0, Some(1.0)), (10, None), (299, None), (300, Some(1.0)), (600, Some(1.0))];
        assert_eq!(news(&short), [(600, began(0, 1.0))]);
        assert_eq!(news(&[(0, Some(1.0)), (301, None), (302, Some(1.0)), (600, Some(1.0))]), []);
        let given = [(0, Some(1.0)), (300, Some(1.0)), (600, Some(1.0)), (900, None), (901, None)];
        assert_eq!(news(&given)[1..], [(901, ended(901, None))]);
    }

    #[test]
    fn each_engine_is_told_of_by_itself() {
        let (a, b) = (EngineName::from("a"), EngineName::from("b"));
        let mut spells = Spells::default();
        for second in [0, 300, 600] {
            spells.judge(None, &[(a.clone(), Some(3.1)), (b.clone(), Some(3.0))], &policy(), at(second));
        }
        let given = spells.given();
        assert_eq!(given.len(), 1);
        assert_eq!(
            (given[0].reason, &given[0].engine, given[0].value),
            (AdviceReason::Slowdown, &Some(a.clone()), 3.1)
        );
        spells.judge(None, &[(a.clone(), Some(2.9))], &policy(), at(610));
        assert_eq!(spells.given().len(), 1, "hardly better");
        spells.judge(None, &[(a, Some(2.8))], &policy(), at(620));
        assert_eq!(spells.given(), []);
    }

    #[test]
    fn without_a_bound_no_slow_down_is_told_of() {
        let no_bound = OverlapPolicy { most_slowdown: None, ..policy() };
        let mut spells = Spells::default();
        for second in [0, 300, 600] {
            spells.judge(None, &[(EngineName::from("a"), Some(90.0))], &no_bound, at(second));
        }
        assert_eq!(spells.given(), []);
    }
}
