//! An attempt to bring a group or an engine back: it begins with an event that counts it, and ends with exactly one
//! event that gives its result.
//!
//! Only `of_group` and `of_engine` make one, and only `end` uses one up: it can't be ended twice. It moves from the
//! restart to the phase in which the engines start. Whoever gives one up ends it first; the properties hold that as
//! many end as begin.

use crate::decide::turn::Turn;
use crate::model::{EngineName, Moment, Reason, RecoveryResult, Tier, What};

/// An attempt without a result. `Clone` is there for copies of the whole watchdog, as the model check makes them.
#[must_use = "an attempt ends with a result"]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// The one engine that it is about; `None`: the whole group.
    engine: Option<EngineName>,
    tier: Tier,
    since: Moment,
}

/// Where an attempt stands within its budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BudgetCount {
    /// Its number, counted from 1; 0: it counts against no budget.
    pub attempt: u32,
    /// How many more the budget allows.
    pub budget_left: u32,
}

impl Attempt {
    /// An attempt to bring the whole group back begins now.
    pub(crate) fn of_group(tier: Tier, reason: Reason, count: BudgetCount, turn: &mut Turn<'_>) -> Attempt {
        let attempt = Attempt { engine: None, tier, since: turn.now };
        attempt.emit(began(tier, reason, count), turn);
        attempt
    }

    /// An attempt to bring one engine back begins. It lasts `since` the engine failed.
    pub(crate) fn of_engine(
        engine: &EngineName,
        reason: Reason,
        since: Moment,
        count: BudgetCount,
        turn: &mut Turn<'_>,
    ) -> Attempt {
        let attempt = Attempt { engine: Some(engine.clone()), tier: Tier::Engine, since };
        attempt.emit(began(Tier::Engine, reason, count), turn);
        attempt
    }

    /// The attempt ends with this result.
    pub(crate) fn end(self, result: RecoveryResult, turn: &mut Turn<'_>) {
        let what = What::RestartEnded { tier: self.tier, result, took: turn.now.since(self.since) };
        self.emit(what, turn);
    }

    fn emit(&self, what: What, turn: &mut Turn<'_>) {
        match &self.engine {
            Some(engine) => turn.emit_of(engine, what),
            None => turn.emit(what),
        }
    }
}

fn began(tier: Tier, reason: Reason, count: BudgetCount) -> What {
    What::RestartBegan { tier, reason, attempt: count.attempt, budget_left: count.budget_left }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::decide::turn::stand::Stand;
    use crate::model::Fault;

    const COUNT: BudgetCount = BudgetCount { attempt: 2, budget_left: 3 };

    #[test]
    fn an_attempt_of_a_group_lasts_from_its_begin_to_its_end() {
        let mut stand = Stand::default();
        let attempt = Attempt::of_group(Tier::Clients, Fault::GpuFault.into(), COUNT, &mut stand.turn(100));
        attempt.end(RecoveryResult::Serving, &mut stand.turn(350));
        let events = stand.events();
        assert!(events.iter().all(|event| event.engine.is_none()));
        let (tier, reason) = (Tier::Clients, Fault::GpuFault.into());
        assert_eq!(events[0].what, What::RestartBegan { tier, reason, attempt: 2, budget_left: 3 });
        let took = Duration::from_millis(250);
        assert_eq!(events[1].what, What::RestartEnded { tier, result: RecoveryResult::Serving, took });
    }

    #[test]
    fn an_attempt_of_an_engine_lasts_from_the_failure_and_both_events_name_the_engine() {
        let mut stand = Stand::default();
        let (engine, failed) = (EngineName::from("a"), Moment::ZERO.after(Duration::from_millis(40)));
        let mut turn = stand.turn(100);
        let attempt = Attempt::of_engine(&engine, Fault::Hang.into(), failed, COUNT, &mut turn);
        attempt.end(RecoveryResult::Held, &mut turn);
        let events = stand.events();
        assert!(events.iter().all(|event| event.engine.as_ref() == Some(&engine)));
        let (tier, took) = (Tier::Engine, Duration::from_millis(60));
        assert_eq!(events[1].what, What::RestartEnded { tier, result: RecoveryResult::Held, took });
    }
}
