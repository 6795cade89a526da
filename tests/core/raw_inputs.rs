//! The core under raw inputs: any observation, any outcome, at any time, late, twice, or never. A referee who
//! knows only what went in and out holds it to its rules.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use core_world::{GIB, ms, policies};
use mpswarden_core::decide::policy::WhenSpent;
use mpswarden_core::decide::{Decision, Input, Memory, Policy, PolicyChange, Watchdog};
use mpswarden_core::model::Request;
use mpswarden_core::model::gpu::RecoveryAction;
use mpswarden_core::model::{
    Action, ActionId, CommandLine, CommandResult, DomainId, EngineLoad, Exit, GpuProcess, GpuReading, Health, Member,
    Mode, Moment, Observation, Outcome, Owner, ProcessId, ProcessUsage, Remaining, SentAction, ServerLine, ServerState,
    Source, SourceScope, SourceState, Tier, What, XidVia,
};
use mpswarden_core::model::{LinePlace, Saying};
use proptest::prelude::*;

/// How long after its deadline an order still counts.
const SLACK: Duration = Duration::from_secs(1);

/// One thing that is done to the core.
#[derive(Clone, Debug)]
enum Poke {
    Wait(u64),
    ToTheDeadline,
    /// Every open order ends as it should, the GPU is empty, the server is ACTIVE, the engines are healthy clients.
    AllIsWell,
    /// The open order at this place, counted round, ends as it should.
    Succeeds(usize),
    /// It ends in some way, fitting or not.
    Ends(usize, Outcome),
    /// An outcome that may not be awaited.
    Stray(u64, Outcome),
    Sees(Observation),
    Asks(Request),
    /// The configuration has the engine `b`, or not; `a` rolls, or not; it observes, or not.
    Changes {
        has_b: bool,
        rolls: bool,
        observes: bool,
    },
}

/// Watches what goes in and out.
struct Referee {
    dog: Watchdog,
    policy: Policy,
    now: Moment,
    open: Vec<SentAction>,
    ids: BTreeSet<ActionId>,
    saw_gpu: bool,
    saw_tree: bool,
    active: bool,
    stop_asked: bool,
    /// Somebody ordered something that touches processes.
    ordered: bool,
    all: Policy,
    engines: BTreeMap<Member, Life>,
}

/// One engine, as far as the referee can know.
#[derive(Default)]
struct Life {
    incarnation: u32,
    may_live: bool,
    launching: bool,
    /// It was not in the configuration for a while: it may count from 1 again.
    left: bool,
}

impl Referee {
    fn new(policy: Policy) -> Self {
        let group = &policy.groups[0];
        let engines =
            group.engines.iter().map(|engine| (DomainId::main(&group.name).member(&engine.name), Life::default()));
        Referee {
            dog: Watchdog::new(policy.clone(), Memory::default()),
            engines: engines.collect(),
            all: policy.clone(),
            policy,
            now: Moment::ZERO,
            open: Vec::new(),
            ids: BTreeSet::new(),
            saw_gpu: false,
            saw_tree: false,
            active: false,
            stop_asked: false,
            ordered: false,
        }
    }

    fn poke(&mut self, poke: Poke) {
        match poke {
            Poke::Wait(millis) => {
                self.now = self.now.after(ms(millis));
                self.tell(Input::Woke);
            }
            Poke::ToTheDeadline => {
                self.now = self.dog.next_deadline().unwrap_or(self.now);
                self.tell(Input::Woke);
            }
            Poke::AllIsWell => self.all_is_well(),
            Poke::Succeeds(place) if !self.open.is_empty() => {
                let ordered = self.open.remove(place % self.open.len());
                let outcome = success(&ordered.action);
                self.end(ordered, outcome);
            }
            Poke::Ends(place, outcome) if !self.open.is_empty() => {
                let ordered = self.open.remove(place % self.open.len());
                self.end(ordered, outcome);
            }
            Poke::Succeeds(_) | Poke::Ends(..) => {}
            Poke::Stray(id, outcome) => {
                let id = ActionId(id);
                if self.open.iter().all(|ordered| ordered.id != id) {
                    self.tell(Input::Finished(id, outcome));
                }
            }
            Poke::Sees(observation) => {
                self.note(&observation);
                self.tell(Input::Observed(observation));
            }
            Poke::Asks(request) => {
                self.stop_asked |= matches!(request, Request::Stop | Request::StopNow | Request::StopGroup(_));
                self.ordered |= !matches!(request, Request::Resume { .. } | Request::Hold { .. });
                self.tell(Input::Asked(request));
            }
            Poke::Changes { has_b, rolls, observes } => self.change(has_b, rolls, observes),
        }
    }

    fn change(&mut self, has_b: bool, rolls: bool, observes: bool) {
        self.ordered = true;
        self.policy = self.all.clone();
        let group = &mut self.policy.groups[0];
        group.mode = if observes { Mode::Observe } else { Mode::Enforce };
        group.engines.truncate(if has_b { 2 } else { 1 });
        self.engines.get_mut(&member(1)).unwrap().left |= !has_b;
        let rolls = rolls.then(|| member(0).key()).into_iter().collect();
        let change = PolicyChange { policy: self.policy.clone(), rolls };
        self.tell(Input::PolicyChanged(Box::new(change)));
    }

    fn all_is_well(&mut self) {
        for ordered in std::mem::take(&mut self.open) {
            let outcome = success(&ordered.action);
            self.end(ordered, outcome);
        }
        let domain = DomainId::main(&self.policy.groups[0].name);
        let (gpu, clients) = (policies::gpu().uuid, vec![30, 31]);
        let mut seen = vec![
            Observation::Gpu { gpu, reading: empty() },
            Observation::Server { domain: domain.clone(), server: Some(20), state: ServerState::Active },
        ];
        for (engine, pid) in clients.iter().enumerate() {
            seen.push(Observation::Health { engine: member(engine), health: Health::Ok });
            seen.push(Observation::Tree { engine: member(engine), processes: vec![process(*pid)] });
        }
        seen.push(Observation::Clients { domain, server: 20, clients });
        for observation in seen {
            self.poke(Poke::Sees(observation));
        }
    }

    fn note(&mut self, observation: &Observation) {
        match observation {
            Observation::Gpu { .. } => self.saw_gpu = true,
            Observation::Tree { .. } => self.saw_tree = true,
            Observation::Server { state: ServerState::Active, .. }
            | Observation::Log { line: ServerLine::Ready { .. }, .. } => self.active = true,
            _ => {}
        }
    }

    fn end(&mut self, ordered: SentAction, outcome: Outcome) {
        let counts = self.now < ordered.deadline.after(SLACK);
        if counts {
            self.proof(&ordered.action, &outcome);
        }
        self.tell(Input::Finished(ordered.id, outcome));
    }

    /// What an outcome proves about engines.
    fn proof(&mut self, action: &Action, outcome: &Outcome) {
        match (action, outcome) {
            (Action::StopEngine { engine, .. }, Outcome::Done) => {
                self.engines.get_mut(engine).unwrap().may_live = false;
            }
            (Action::AwaitGone { .. }, Outcome::Gone { remaining }) if remaining.is_empty() => {
                self.engines.values_mut().filter(|life| !life.launching).for_each(|life| life.may_live = false);
            }
            (Action::StartEngine { instance, .. }, Outcome::NotAsked { .. }) => {
                // There was no process, no descriptor, no memory for it: nothing was started.
                let life = self.engines.get_mut(&instance.member()).unwrap();
                (life.may_live, life.launching) = (false, false);
            }
            (Action::StartEngine { instance, .. }, _) => {
                self.engines.get_mut(&instance.member()).unwrap().launching = false;
            }
            _ => {}
        }
    }

    fn tell(&mut self, input: Input) {
        // Orders that were given up can't prove anything any more.
        for ordered in self.open.iter().filter(|ordered| ordered.deadline.after(SLACK) <= self.now) {
            if let Action::StartEngine { instance, .. } = &ordered.action {
                self.engines.get_mut(&instance.member()).unwrap().launching = false;
            }
        }
        // Between two inputs time passes, be it ever so little.
        self.now = self.now.after(Duration::from_micros(1));
        let refused = match &input {
            Input::Asked(request) => self.dog.plan(request, self.now).is_err(),
            _ => true,
        };
        let decision = self.dog.handle(input, self.now);
        let taken_up = decision.events.iter().any(|event| matches!(event.what, What::Ordered { .. }));
        assert_eq!(taken_up, !refused, "an order is done where its plan allows it, and nowhere else");
        self.judge(decision);
        assert!(self.dog.next_deadline().is_none_or(|at| at > self.now), "next_deadline is not later than now");
        serde_json::to_string(&self.dog.status(self.now)).unwrap();
        self.judge_budget();
    }

    fn judge(&mut self, decision: Decision) {
        let observes = self.policy.groups[0].mode == Mode::Observe;
        for (place, ordered) in decision.actions.into_iter().enumerate() {
            assert!(self.ids.insert(ordered.id), "an id was used twice");
            assert!(ordered.deadline > self.now, "a deadline that has passed");
            let action = &ordered.action;
            assert!(!matches!(action, Action::Save { .. }) || place == 0, "a save after an action");
            if action.intervenes() {
                let starts = matches!(
                    action,
                    Action::StartControl { .. } | Action::StartServer { .. } | Action::StartEngine { .. }
                );
                // A stop that is ordered ends what may be there, whatever was seen; nothing starts unseen.
                let seen = self.saw_gpu && self.saw_tree;
                assert!(seen || self.stop_asked && !starts, "acted blindly: {action:?}");
                assert!(!observes || starts || self.ordered, "acted where it only observes: {action:?}");
            }
            self.judge_engines(action);
            self.open.push(ordered);
        }
    }

    fn judge_engines(&mut self, action: &Action) {
        match action {
            Action::KillEngines { strays, .. } if strays.is_empty() => self.active = false,
            Action::StartEngine { instance, .. } => {
                assert!(self.active, "{instance} was started and nobody had said ACTIVE");
                let life = self.engines.get_mut(&instance.member()).unwrap();
                assert!(!life.may_live, "{instance} was started and its predecessor not proven gone");
                let incarnation = instance.incarnation;
                let anew = incarnation == 1 && life.left;
                assert!(anew || incarnation == life.incarnation + 1, "{instance}");
                *life = Life { incarnation, may_live: true, launching: true, left: life.left };
            }
            _ => {}
        }
    }

    fn judge_budget(&self) {
        let group = &self.policy.groups[0];
        let memory = self.dog.memory();
        let attempts = memory.groups[&DomainId::main(&group.name)].attempts.len();
        let recovery = &group.recovery;
        assert!(recovery.when_spent == WhenSpent::Slow || attempts <= recovery.budget as usize, "{attempts} attempts");
    }
}

/// The outcome that an executor gives when all goes well.
fn success(action: &Action) -> Outcome {
    match action {
        Action::StartControl { .. } | Action::FindControl { .. } => Outcome::Started { process: process(10) },
        Action::WatchServer { server, .. } => Outcome::Started { process: process(*server) },
        Action::StartEngine { .. } | Action::FindEngine { .. } => Outcome::Started { process: process(30) },
        Action::KillEngines { .. } => Outcome::Killed { processes: vec![process(30)] },
        Action::AwaitGone { .. } => Outcome::Gone { remaining: vec![] },
        _ => Outcome::Done,
    }
}

fn empty() -> GpuReading {
    let (compute, mps) = (Some(vec![]), Some(vec![]));
    GpuReading {
        memory_used: Some(0),
        memory_total: Some(GIB),
        busy: None,
        compute,
        mps,
        recovery_action: None,
        activity: None,
    }
}

fn process(pid: u32) -> ProcessId {
    ProcessId { pid, started_at: 1 }
}

fn member(engine: usize) -> Member {
    let policy = policies::one_group(&["a", "b"]);
    DomainId::main(&policy.groups[0].name).member(&policy.groups[0].engines[engine].name)
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::Done),
        (10..40u32).prop_map(|pid| Outcome::Started { process: process(pid) }),
        prop::collection::vec(10..40u32, 0..3)
            .prop_map(|pids| Outcome::Killed { processes: pids.into_iter().map(process).collect() }),
        prop::collection::vec(10..40u32, 0..3).prop_map(|pids| Outcome::Gone {
            remaining: pids.into_iter().map(|pid| Remaining { process: process(pid), state: 'D' }).collect()
        }),
        Just(Outcome::Failed { why: "no".to_owned() }),
        Just(Outcome::TimedOut),
        Just(Outcome::NotUnderstood { why: "what?".to_owned() }),
        Just(Outcome::NotAsked { why: "too many open files".to_owned() }),
    ]
}

fn reading() -> impl Strategy<Value = GpuReading> {
    let list = || prop::option::weighted(0.9, prop::collection::vec((20..34u32, prop::option::of(0..40 * GIB)), 0..4));
    let process = |(pid, memory)| GpuProcess { pid, memory };
    let used = prop::option::weighted(0.9, 0..140 * GIB);
    let action = prop::option::weighted(0.1, (0..12u64).prop_map(RecoveryAction::of_number));
    (used, list(), list(), action).prop_map(move |(memory_used, compute, mps, recovery_action)| GpuReading {
        activity: None,
        memory_used,
        memory_total: memory_used.map(|_| 140 * GIB),
        busy: None,
        compute: compute.map(|list| list.into_iter().map(process).collect()),
        mps: mps.map(|list| list.into_iter().map(process).collect()),
        recovery_action,
    })
}

fn line() -> impl Strategy<Value = ServerLine> {
    let server = 20..23u32;
    let client = 30..34u32;
    prop_oneof![
        (server.clone(), 0..2u32).prop_map(|(server, uid)| ServerLine::Starting { server, uid }),
        server.clone().prop_map(|server| ServerLine::Ready { server }),
        server.clone().prop_map(|server| ServerLine::Exited { server, status: 0 }),
        server.clone().prop_map(|server| ServerLine::Fatal { server }),
        server.clone().prop_map(|server| ServerLine::Leaving { server }),
        (server.clone(), client.clone()).prop_map(|(server, client)| ServerLine::Blamed { server, client }),
        (server.clone(), client.clone()).prop_map(|(server, client)| ServerLine::Connected { server, client }),
        (server.clone(), client.clone()).prop_map(|(server, client)| ServerLine::Disconnected { server, client }),
        (server.clone(), client.clone()).prop_map(|(server, client)| ServerLine::Exiting { server, client }),
        (server.clone(), client.clone()).prop_map(|(server, client)| ServerLine::Refused {
            server,
            client,
            status: 808
        }),
        (server.clone(), 0..5u32).prop_map(|(server, limit)| ServerLine::Full { server, limit }),
        (server.clone(), 0..3u32).prop_map(|(server, contexts)| ServerLine::SomeoneLeft { server, contexts }),
        server.clone().prop_map(|server| ServerLine::SomeoneGone { server }),
        server.prop_map(|server| ServerLine::Signalled { server, signal: 11 }),
        prop_oneof![client, Just(0)].prop_map(|client| ServerLine::Pending { client, uid: 1 }),
    ]
}

fn observation() -> impl Strategy<Value = Observation> {
    let domain = || DomainId::main(&policies::one_group(&["a", "b"]).groups[0].name);
    let pids = || prop::collection::vec(30..34u32, 0..3);
    let state = prop::sample::select(ServerState::ALL);
    let health = prop::sample::select(vec![Health::Ok, Health::Ok, Health::Refused, Health::Status(503)]);
    prop_oneof![
        3 => reading().prop_map(|reading| Observation::Gpu { gpu: policies::gpu().uuid, reading }),
        1 => (0..160u32).prop_map(|xid| Observation::Xid { gpu: Some("GPU-0".into()), xid, pid: None, via: XidVia::Kmsg }),
        1 => any::<u32>().prop_map(|xid| Observation::Xid { gpu: None, xid, pid: None, via: XidVia::Nvml }),
        3 => (line(), any::<u64>())
            .prop_map(move |(line, at)| Observation::Log { domain: domain(), line, stamped: Moment::from_nanos(at) }),
        1 => prop::sample::select(CommandResult::ALL)
            .prop_map(move |result| Observation::ControlReply { domain: domain(), result }),
        4 => (prop::option::of(20..23u32), state)
            .prop_map(move |(server, state)| Observation::Server { domain: domain(), server, state }),
        2 => (20..23u32, pids())
            .prop_map(move |(server, clients)| Observation::Clients { domain: domain(), server, clients }),
        2 => (0..4usize, 0..4u32, 10..34u32).prop_map(move |(whose, incarnation, pid)| Observation::Ended {
            owner: match whose {
                0 => Owner::Control(domain()),
                1 => Owner::Server(domain()),
                engine => Owner::Engine(member(engine - 2).instance(incarnation)),
            },
            process: process(pid),
            exit: Exit::Signal(9),
        }),
        3 => (0..2usize, pids()).prop_map(|(engine, pids)| Observation::Tree {
            engine: member(engine),
            processes: pids.into_iter().map(process).collect(),
        }),
        4 => (0..2usize, health).prop_map(|(engine, health)| Observation::Health { engine: member(engine), health }),
        1 => (0..2usize, prop::option::of(any::<f64>())).prop_map(|(engine, running)| Observation::Load {
            engine: member(engine),
            load: EngineLoad { running, ..EngineLoad::default() },
        }),
        1 => (0..2usize, prop::collection::vec((30..34u32, any::<u64>(), any::<u64>()), 0..3)).prop_map(
            |(engine, used)| {
                let usage = |(pid, resident, nanos)| ProcessUsage {
                    process: process(pid),
                    resident,
                    cpu: Duration::from_nanos(nanos),
                    state: if nanos % 3 == 0 { 'T' } else { 'S' },
                };
                Observation::Usage { engine: member(engine), processes: used.into_iter().map(usage).collect() }
            }
        ),
        1 => pids().prop_map(move |connected| Observation::Pipe { domain: domain(), connected }),
        1 => (20..23u32, any::<bool>()).prop_map(move |(server, trouble)| Observation::ServerSaid {
            domain: domain(),
            server,
            words: "Failed to start".to_owned(),
            trouble,
        }),
        1 => (pids(), pids()).prop_map(move |(asked, found)| Observation::CommandLines {
            domain: domain(),
            asked,
            found: found.into_iter().map(|pid| CommandLine { process: process(pid), text: "x".to_owned() }).collect(),
        }),
        1 => (0..2usize, prop_oneof![any::<u32>(), 800..812u32])
            .prop_map(|(engine, code)| Observation::Said {
                engine: member(engine),
                saying: Saying::Error(code),
                place: LinePlace::default(),
            }),
        1 => blind_log(),
        1 => Just(Observation::Heard { scope: SourceScope::whole(Source::Kmsg) }),
    ]
}

/// A log of the group, or the kernel's, of which nothing is known.
fn blind_log() -> impl Strategy<Value = Observation> {
    let states = [SourceState::Silent, SourceState::NotUnderstood, SourceState::NotAsked];
    (any::<bool>(), prop::sample::select(states.to_vec())).prop_map(|(kernel, state)| Observation::Blind {
        scope: match kernel {
            true => SourceScope::whole(Source::Kmsg),
            false => SourceScope::of_domain(Source::Log, &DomainId::main(&policies::one_group(&[]).groups[0].name)),
        },
        state,
        why: String::new(),
    })
}

fn poke() -> impl Strategy<Value = Poke> {
    let name = policies::one_group(&[]).groups[0].name.clone();
    prop_oneof![
        20 => any::<usize>().prop_map(Poke::Succeeds),
        3 => (any::<usize>(), outcome()).prop_map(|(place, outcome)| Poke::Ends(place, outcome)),
        1 => (0..60u64, outcome()).prop_map(|(id, outcome)| Poke::Stray(id, outcome)),
        15 => observation().prop_map(Poke::Sees),
        5 => Just(Poke::ToTheDeadline),
        12 => Just(Poke::AllIsWell),
        3 => (0..2000u64).prop_map(Poke::Wait),
        1 => (0..2_000_000u64).prop_map(Poke::Wait),
        1 => Just(Poke::Asks(Request::Resume { group: Some(name) })),
    ]
}

/// What people may say besides.
fn word() -> impl Strategy<Value = Poke> {
    let name = || policies::one_group(&[]).groups[0].name.clone();
    let group = || prop::sample::select(vec![name(), name(), name(), "another".into()]);
    let lasts = prop::option::of((0..2000u64).prop_map(Duration::from_secs));
    let key = || (0..2usize).prop_map(|engine| member(engine).key());
    let order = prop_oneof![
        (group(), prop::sample::select(Tier::ALL)).prop_map(|(group, tier)| Request::Restart { group, tier }),
        group().prop_map(Request::StopGroup),
        group().prop_map(Request::StartGroup),
        key().prop_map(Request::StopEngine),
        key().prop_map(Request::StartEngine),
        key().prop_map(Request::Evict),
        key().prop_map(Request::Quarantine),
        key().prop_map(Request::Release),
        (prop::option::of(group()), lasts, "[a ]{0,3}").prop_map(|(group, lasts, reason)| Request::Hold {
            group,
            lasts,
            reason
        }),
        prop::option::of(group()).prop_map(|group| Request::Resume { group }),
    ];
    let change = (any::<bool>(), any::<bool>(), prop::bool::weighted(0.2));
    prop_oneof![
        5 => order.prop_map(Poke::Asks),
        1 => change.prop_map(|(has_b, rolls, observes)| Poke::Changes { has_b, rolls, observes }),
    ]
}

fn policy() -> impl Strategy<Value = Policy> {
    (any::<bool>(), any::<bool>(), 0..4u32).prop_map(|(observe, hold, budget)| {
        let mut policy = policies::one_group(&["a", "b"]);
        let group = &mut policy.groups[0];
        group.mode = if observe { Mode::Observe } else { Mode::Enforce };
        group.recovery.budget = budget;
        group.recovery.when_spent = if hold { WhenSpent::Hold } else { WhenSpent::Slow };
        group.recovery.engine_budget = budget;
        policy
    })
}

proptest! {
    #![proptest_config(crate::cases(100, crate::kept!("raw_inputs")))]

    #[test]
    fn raw_inputs_break_no_rule(policy in policy(), pokes in prop::collection::vec(poke(), 1..300)) {
        let mut referee = Referee::new(policy);
        pokes.into_iter().for_each(|poke| referee.poke(poke));
    }

    #[test]
    fn raw_inputs_and_orders_break_no_rule(
        policy in policy(),
        pokes in prop::collection::vec(prop_oneof![12 => poke(), 1 => word()], 1..400),
    ) {
        let mut referee = Referee::new(policy);
        pokes.into_iter().for_each(|poke| referee.poke(poke));
    }

    #[test]
    fn raw_inputs_break_no_rule_on_the_way_to_a_stop(
        policy in policy(),
        before in prop::collection::vec(prop_oneof![12 => poke(), 1 => word()], 0..100),
        request in prop::sample::select(vec![Request::Stop, Request::StopNow]),
        after in prop::collection::vec(poke(), 0..100),
    ) {
        let mut referee = Referee::new(policy);
        before.into_iter().for_each(|poke| referee.poke(poke));
        referee.poke(Poke::Asks(request));
        after.into_iter().for_each(|poke| referee.poke(poke));
    }
}

#[test]
fn an_executor_that_never_answers_leads_to_no_busy_loop() {
    let mut referee = Referee::new(policies::one_group(&["a", "b"]));
    referee.poke(Poke::Sees(Observation::Gpu { gpu: policies::gpu().uuid, reading: empty() }));
    referee.poke(Poke::Sees(Observation::Tree { engine: member(0), processes: vec![] }));
    for _ in 0..500 {
        referee.poke(Poke::ToTheDeadline);
    }
    assert!(referee.now > Moment::ZERO.after(Duration::from_secs(100)), "500 wakes took only {}", referee.now);
}
