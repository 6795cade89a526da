//! Isolation: faults of a whole group that repeat make its suspects run isolated, in a second domain on the same GPU,
//! until one is proven guilty. Here is what a fault comes to and where each engine is to be; nothing is moved here.
//!
//! ```text
//! fault, fault within the window --> search --> ... halved at each fault ... --> proven: quarantined by policy
//!                                       |                                       +--> no fault for the window: all go
//! back, none is accused
//! ```
//! `search` is the pure search, `place` leads the engines of one domain to where they are to be, `time` counts what
//! it costs. The domains, and the moves between them, are in `places`.

use crate::decide::facts::scene::Scene;

use crate::model::{EngineName, IsolationResult, Moment, Slot, SuppressedAction, What};

use crate::decide::group::{Context, Group};
use crate::decide::policy::IsolationMode;
use crate::decide::turn::Turn;

pub(crate) use crate::decide::evidence::search::Hit;
use crate::decide::evidence::search::{Search, SearchResult};

impl Scene {
    /// Whether it is the second domain of a group.
    pub(crate) fn is_apart(&self) -> bool {
        self.id.slot == Slot::Isolation
    }

    /// A guilty engine brought the fault again, where it harms only itself: that counts against it alone.
    pub(crate) fn count_against(&mut self, engine: &EngineName, turn: &mut Turn<'_>) {
        let recovery = &self.policy.recovery;
        let Some(engine) = self.engines.iter_mut().find(|known| known.name() == engine) else { return };
        engine.failures.count(recovery.budget_window, turn.now);
        turn.save();
        if let Some(failures) = engine.give_up(recovery, turn.now) {
            turn.emit_of(&engine.policy.name, What::EngineQuarantined { failures });
        }
    }
}

impl Group {
    /// Weighs a fault of one of the group's domains.
    pub(crate) fn weigh(&mut self, hit: &Hit, context: &mut Context<'_>) {
        let policy = self.main.scene.policy.isolation;
        if policy.mode == IsolationMode::Off {
            return;
        }
        let repeats = self.isolation.last.is_some_and(|last| context.now.since(last) < policy.window);
        self.isolation.last = Some(context.now);
        context.effects.save();
        if let Some(search) = &mut self.isolation.search {
            let before = search.since;
            let faults = search.faults + 1;
            match search.hit(hit, context.now) {
                SearchResult::Proven(engine) => self.convict(engine, context),
                SearchResult::Contradiction => {
                    let (result, lasted) = (IsolationResult::Contradiction, context.now.since(before));
                    self.emit(context, What::IsolationEnded { result, faults, lasted });
                    self.tell_search(context);
                }
                SearchResult::Narrowed => self.tell_search(context),
            }
        } else if repeats {
            self.begin_search(hit, context);
        }
    }

    fn begin_search(&mut self, hit: &Hit, context: &mut Context<'_>) {
        let Some(search) = Search::begin(hit, context.now) else { return };
        if let Err(reason) = self.main.scene.may_search(self.hold.as_ref()) {
            let names: Vec<&str> = search.apart.iter().map(EngineName::as_str).collect();
            let detail = format!("faults repeat; {} would run apart from the others", names.join(", "));
            return self.emit(context, What::Suppressed { action: SuppressedAction::IsolateEngines, reason, detail });
        }
        self.isolation.search = Some(search);
        self.tell_search(context);
    }

    fn convict(&mut self, engine: EngineName, context: &mut Context<'_>) {
        let faults = self.isolation.search.as_ref().map_or(1, |search| search.faults);
        self.emit_of(&engine, context, What::Proven { faults });
        self.isolation.guilty.insert(engine, faults);
        self.end_search(IsolationResult::Proven, context);
        self.isolation.last = None;
    }

    /// Ends a search that found none in its time, or that the configuration does not want any more.
    pub(crate) fn end_an_idle_search(&mut self, context: &mut Context<'_>) {
        let here: Vec<EngineName> = self.main.scene.policy.engines.iter().map(|engine| engine.name.clone()).collect();
        self.isolation.guilty.retain(|name, _| here.contains(name));
        let Some(search) = &mut self.isolation.search else { return };
        search.forget(|name| !here.contains(name));
        let unwanted = search.suspects.is_empty() || self.main.scene.policy.isolation.mode != IsolationMode::Enforce;
        if unwanted {
            self.end_search(IsolationResult::Ended, context);
        } else if self.isolation_until().is_some_and(|until| until <= context.now) {
            self.end_search(IsolationResult::Expired, context);
        }
    }

    /// Time at which a search that finds none ends.
    pub(crate) fn isolation_until(&self) -> Option<Moment> {
        self.isolation.search.as_ref()?;
        Some(self.isolation.last?.after(self.main.scene.policy.isolation.window))
    }

    /// An operator lets a guilty engine go home.
    pub(crate) fn absolve(&mut self, engine: &EngineName, context: &mut Context<'_>) {
        if self.isolation.guilty.remove(engine).is_some() {
            context.effects.save();
        }
    }

    fn end_search(&mut self, result: IsolationResult, context: &mut Context<'_>) {
        let Some(search) = self.isolation.search.take() else { return };
        let lasted = context.now.since(search.since);
        self.emit(context, What::IsolationEnded { result, faults: search.faults, lasted });
        context.effects.save();
    }

    fn tell_search(&self, context: &mut Context<'_>) {
        let Some(search) = &self.isolation.search else { return };
        let (suspects, apart) = (search.suspects.clone(), search.apart.iter().cloned().collect());
        self.emit(context, What::Isolating { suspects, apart, faults: search.faults });
    }

    fn emit(&self, context: &mut Context<'_>, what: What) {
        context.effects.emit(Some(self.name.clone()), None, what);
    }

    fn emit_of(&self, engine: &EngineName, context: &mut Context<'_>, what: What) {
        context.effects.emit(Some(self.name.clone()), Some(engine.clone()), what);
    }
}
