//! What a watchdog may do on a healthy day: look, save, and what people ordered. Everything else is a false alarm.

use std::time::Duration;

use core_world::World;
use mpswarden_core::model::{
    Action, Awaited, EngineKey, EngineState, Event, Fault, GroupState, Moment, Plan, Status, What,
};

/// Time between an order's goal and its last deed, and between a stranger's end and the word of it.
const SETTLES: Duration = Duration::from_secs(15);
/// Longest time of an order; one that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(900);

/// An order on its way.
struct Order {
    /// The engine that it is about; `None`: the whole group.
    engine: Option<EngineKey>,
    plan: Plan,
    since: Moment,
    reached: Option<Moment>,
}

/// Watches a world.
#[derive(Default)]
pub struct Judge {
    orders: Vec<Order>,
    /// What should not have been.
    pub alarms: Vec<String>,
    /// Faults that began, true by design or not.
    pub faults: Vec<(Moment, Option<String>, Fault)>,
    pub interventions: usize,
    pub orders_taken: usize,
    pub events: usize,
}

impl Judge {
    /// The first start is an order too.
    pub fn first_start(world: &World) -> Judge {
        let group = world.policy.groups[0].name.clone();
        let plan = Plan { steps: Vec::new(), goals: vec![Awaited::GroupServes { group, generation: 1 }] };
        let mut judge = Judge::default();
        judge.ordered(None, plan, world.now);
        judge
    }

    /// An order was given and will be carried out.
    pub fn ordered(&mut self, engine: Option<EngineKey>, plan: Plan, now: Moment) {
        self.orders.push(Order { engine, plan, since: now, reached: None });
        self.orders_taken += 1;
    }

    /// An order is on its way: look often.
    pub fn waits(&self) -> bool {
        !self.orders.is_empty()
    }

    /// The machine slept: an order on its way went on later by as much.
    pub fn slept(&mut self, gap: Duration) {
        for order in &mut self.orders {
            order.since = order.since.after(gap);
            order.reached = order.reached.map(|at| at.after(gap));
        }
    }

    /// Judges all that was decided since it was asked last.
    pub fn look(&mut self, world: &mut World, stranger_seen: Option<Moment>) {
        for (at, action) in std::mem::take(&mut world.deeds) {
            self.interventions += 1;
            if !self.orders.iter().any(|order| order.covers(&action)) {
                self.alarms.push(format!("{at} nobody ordered it: {action:?}"));
            }
        }
        for event in std::mem::take(&mut world.events) {
            self.events += 1;
            self.hear(&event, stranger_seen);
        }
        self.alarms.append(&mut world.violations);
        world.journal.clear();
        world.looks.clear();
        let status = world.dog.status(world.now);
        for order in &mut self.orders {
            let reached = order.plan.goals.iter().all(|goal| reached(goal, &status));
            order.reached = if reached { order.reached.or(Some(world.now)) } else { None };
            if world.now.since(order.since) > PATIENCE {
                self.alarms.push(format!("{} never came to its end: {:?}", world.now, order.plan));
            }
        }
        let over = |order: &Order| order.reached.is_some_and(|at| world.now.since(at) > SETTLES);
        self.orders.retain(|order| !over(order) && world.now.since(order.since) <= PATIENCE);
    }

    fn hear(&mut self, event: &Event, stranger_seen: Option<Moment>) {
        let stranger = stranger_seen.is_some_and(|at| event.at.since(at) <= SETTLES);
        match &event.what {
            What::FaultBegan { fault, because, .. } => {
                let engine = event.engine.as_ref().map(ToString::to_string);
                self.faults.push((event.at, engine, *fault));
                if *fault != Fault::ForeignProcess || !stranger {
                    self.alarms.push(format!("{} {fault} of {:?}: {because}", event.at, event.engine));
                }
            }
            What::Suppressed { .. } | What::Held { .. } | What::BackoffBegan { .. } => {
                self.alarms.push(format!("{} {:?}", event.at, event.what));
            }
            What::RestartBegan { .. } | What::ActionFailed { .. } | What::EngineQuarantined { .. }
                if self.orders.is_empty() =>
            {
                self.alarms.push(format!("{} {:?}", event.at, event.what));
            }
            _ => {}
        }
    }
}

impl Order {
    fn covers(&self, action: &Action) -> bool {
        self.engine.is_none() || self.engine == one_engine(action)
    }
}

/// The engine that an action is about, where it is about one.
fn one_engine(action: &Action) -> Option<EngineKey> {
    match action {
        Action::StartEngine { instance, .. } => Some(instance.engine.clone()),
        Action::TerminateClients { engine, .. } | Action::StopEngine { engine, .. } => Some(engine.key()),
        _ => None,
    }
}

fn reached(goal: &Awaited, status: &Status) -> bool {
    let group = |name: &str| status.group(name);
    let engine = |key: &EngineKey| status.group(key.group.as_str()).and_then(|group| group.engine(key.engine.as_str()));
    match goal {
        Awaited::GroupServes { group: name, generation } => group(name.as_str())
            .is_some_and(|group| group.state == GroupState::Serving && group.generation >= *generation),
        Awaited::GroupStopped(name) => group(name.as_str()).is_some_and(|group| group.state == GroupState::Stopped),
        Awaited::DriverLetGo => status.driver_let_go,
        Awaited::EngineServes { engine: key, incarnation } => {
            engine(key).is_some_and(|engine| engine.state == EngineState::Serving && engine.incarnation >= *incarnation)
        }
        Awaited::EngineStopped(key) => {
            engine(key).is_some_and(|engine| matches!(engine.state, EngineState::Stopped | EngineState::Quarantined))
        }
    }
}
