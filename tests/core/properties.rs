//! The rules of the core as properties: over random faults of the stand-in world, and over raw random inputs.

use std::time::Duration;

use core_world::{Break, Knob, World, at_ms, ms, policies};
use mpswarden_core::decide::Policy;
use mpswarden_core::decide::policy::{
    IsolationMode, IsolationPolicy, Origin, Quarantine, StartOrder, UnknownClients, WhenSpent,
};
use mpswarden_core::model::Request;
use mpswarden_core::model::gpu::RecoveryAction;
use mpswarden_core::model::{
    Action, Custody, DomainId, EngineKey, EngineName, EngineState, Fault, GroupName, GroupState, HeldReason, Mode,
    Moment, Powers, Tier,
};
use proptest::prelude::*;

/// The longest that a world without faults may take to serve again: back-off, gates and starts together.
const SETTLES: Duration = Duration::from_secs(180);

/// `PROPTEST_CASES` asks for more of them.
fn config(cases: u32) -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|more| more.parse().ok()).unwrap_or(cases);
    ProptestConfig { max_shrink_iters: 2000, ..crate::cases(cases, crate::kept!("properties")) }
}

fn knob() -> impl Strategy<Value = Knob> {
    prop_oneof![
        Just(Knob::Well),
        Just(Knob::ExitsAtOnce),
        Just(Knob::NeverReady),
        Just(Knob::CannotStart),
        Just(Knob::OutsideMps),
        Just(Knob::Elsewhere),
        Just(Knob::OffGpu),
        Just(Knob::Undead),
        Just(Knob::Lingers),
        Just(Knob::Busy),
        Just(Knob::IgnoresTerm),
        Just(Knob::HangsInTerminate),
        Just(Knob::WedgesInTerminate),
        Just(Knob::Silent),
        Just(Knob::Frozen),
    ]
}

fn trouble() -> impl Strategy<Value = Break> {
    let group = 0..2usize;
    let engine = (0..2usize, 0..2usize);
    prop_oneof![
        3 => (group.clone(), any::<bool>()).prop_map(|(group, memory_fault)| Break::Fatal { group, memory_fault }),
        4 => engine.clone().prop_map(|(group, engine)| Break::FatalOf(group, engine)),
        2 => group.clone().prop_map(Break::KillServer),
        2 => group.clone().prop_map(Break::KillControl),
        1 => (group.clone(), any::<bool>()).prop_map(|(group, wedged)| Break::WedgeControl(group, wedged)),
        1 => (group.clone(), any::<bool>()).prop_map(|(group, gone)| Break::NoControl(group, gone)),
        1 => group.clone().prop_map(Break::DoesNotHeal),
        3 => (engine.clone(), knob()).prop_map(|((group, engine), knob)| Break::Make(group, engine, knob)),
        2 => engine.clone().prop_map(|(group, engine)| Break::Sigkill(group, engine)),
        1 => (engine.clone(), 0..2).prop_map(|((group, engine), status)| Break::Exit(group, engine, status)),
        1 => group.clone().prop_map(Break::Stray),
        1 => (group.clone(), 900..903u32, 1000..1002u32).prop_map(|(group, pid, uid)| Break::Pending(group, pid, uid)),
        1 => (900..903u32).prop_map(|pid| Break::Foreign(pid, "train".to_owned())),
        1 => (900..903u32).prop_map(Break::OutsiderGone),
        1 => group.prop_map(|group| Break::Crowd(group, 60)),
        1 => any::<bool>().prop_map(Break::NvmlBlind),
        1 => any::<bool>().prop_map(Break::NvmlHangs),
        1 => any::<(bool, bool)>().prop_map(|(lost, xid)| Break::Lost(lost, xid)),
        1 => prop::option::of(prop::sample::select(RecoveryAction::ALL)).prop_map(Break::Action),
        1 => prop::sample::select(RecoveryAction::ALL).prop_map(Break::Announced),
        1 => any::<bool>().prop_map(Break::Leak),
        1 => (0..160u32).prop_map(Break::Xid),
        1 => (engine, 699..721u32).prop_map(|((group, engine), code)| Break::CudaError(group, engine, code)),
        1 => Just(Break::Crash),
        4 => says(),
        1 => (0..101u8).prop_map(|percent| Break::SmActive(Some(percent))),
    ]
}

/// What an engine says of its load: all kinds of counters, moving or not.
fn says() -> impl Strategy<Value = Break> {
    let words = prop::sample::select(vec![
        "running=1 waiting=0 rate=0 kv=0.5",
        "running=3 waiting=2 rate=50",
        "running=1 rate=0",
        "running=0 waiting=0 rate=0",
        "rate=10",
        "running=2",
    ]);
    ((0..2usize, 0..2usize), words).prop_map(|((group, engine), words)| Break::Says(group, engine, words.to_owned()))
}

/// What an operator orders, wise or not, and how the configuration changes.
fn word() -> impl Strategy<Value = Break> {
    let group = || (0..2usize).prop_map(name);
    let key = || (0..2usize, 0..2usize).prop_map(|(group, engine)| key(group, engine));
    let tier = prop::sample::select(Tier::ALL);
    let lasts = prop::option::of((0..9u64).prop_map(Duration::from_secs));
    let hold = (prop::option::of(group()), lasts).prop_map(|(group, lasts)| Request::Hold {
        group,
        lasts,
        reason: "maintenance".to_owned(),
    });
    let order = prop_oneof![
        2 => (group(), tier).prop_map(|(group, tier)| Request::Restart { group, tier }),
        1 => group().prop_map(Request::StopGroup),
        1 => group().prop_map(Request::StartGroup),
        2 => key().prop_map(Request::StopEngine),
        1 => key().prop_map(Request::StartEngine),
        3 => key().prop_map(Request::Evict),
        1 => key().prop_map(Request::Quarantine),
        1 => key().prop_map(Request::Release),
        1 => hold,
        1 => prop::option::of(group()).prop_map(|group| Request::Resume { group }),
    ];
    let engine = (0..2usize, 0..2usize, any::<bool>());
    prop_oneof![
        8 => order.prop_map(Break::Ask),
        1 => (0..2usize, any::<bool>()).prop_map(|(group, has)| Break::HasGroup(group, has)),
        2 => engine.prop_map(|(group, engine, has)| Break::Has(group, engine, has)),
        1 => (0..2usize, prop::sample::subsequence(vec![0, 1], 0..3)).prop_map(|(group, rolls)| Break::Rolls(group, rolls)),
    ]
}

fn name(group: usize) -> GroupName {
    GroupName::from(["one", "two"][group])
}

fn key(group: usize, engine: usize) -> EngineKey {
    EngineKey::new(&name(group), &EngineName::from(["a", "b"][engine]))
}

/// How long after what happened before.
fn wait() -> impl Strategy<Value = u64> {
    prop_oneof![0..20u64, 0..400u64, 0..5000u64]
}

/// Things that go wrong, and when.
fn troubles() -> impl Strategy<Value = Vec<(u64, Break)>> {
    prop::collection::vec((wait(), trouble()), 1..8)
}

/// What goes wrong, and what people say to it.
fn troubles_and_words() -> impl Strategy<Value = Vec<(u64, Break)>> {
    prop::collection::vec((wait(), prop_oneof![trouble(), word()]), 1..12)
}

/// Everything is in the configuration again, and no operator keeps anything from running.
fn take_back(world: &mut World) {
    for group in 0..2 {
        world.break_it(Break::HasGroup(group, true));
        (0..2).for_each(|engine| world.break_it(Break::Has(group, engine, true)));
        world.break_it(Break::Ask(Request::StartGroup(name(group))));
    }
    world.break_it(Break::Ask(Request::Resume { group: None }));
    world.run_for(Duration::from_secs(120));
    for (group, engine) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        world.break_it(Break::Ask(Request::StartEngine(key(group, engine))));
        world.break_it(Break::Ask(Request::Release(key(group, engine))));
    }
}

fn policy() -> impl Strategy<Value = Policy> {
    let quarantine =
        prop::sample::select(&[None, Some(Quarantine::Apart), Some(Quarantine::Outside), Some(Quarantine::Stopped)]);
    (1..4u32, any::<bool>(), any::<bool>(), any::<bool>(), 1..4u32, quarantine).prop_map(
        |(budget, hold, parallel, kill_strays, engine_budget, quarantine)| {
            let mut policy = policies::one_group(&["a", "b"]);
            policy.groups = vec![policies::group("one", &["a", "b"]), policies::group("two", &["a", "b"])];
            for group in &mut policy.groups {
                if let Some(quarantine) = quarantine {
                    let window = Duration::from_secs(20);
                    group.isolation = IsolationPolicy { mode: IsolationMode::Enforce, window, quarantine };
                }
                let recovery = &mut group.recovery;
                recovery.budget = budget;
                recovery.when_spent = if hold { WhenSpent::Hold } else { WhenSpent::Slow };
                recovery.start = if parallel { StartOrder::Parallel } else { StartOrder::Sequential };
                recovery.engine_budget = engine_budget;
                recovery.backoff.most = Duration::from_secs(20);
                recovery.backoff.jitter = 0.2;
                recovery.memory_timeout = Duration::from_secs(2);
                if kill_strays {
                    group.unknown_clients = UnknownClients::KillOnFault;
                }
                for engine in &mut group.engines {
                    engine.start_timeout = Duration::from_secs(1);
                    engine.stop_timeout = ms(500);
                    engine.hang_after = Duration::from_secs(2);
                }
            }
            policy
        },
    )
}

/// The same groups under control daemons that others run, and with engines that they run; as `check` lets them be.
fn of_others(mut policy: Policy, observes: bool, engines: bool) -> Policy {
    for group in &mut policy.groups {
        group.custody = Custody::Others(Powers::Look);
        group.mode = if observes { Mode::Observe } else { Mode::Enforce };
        group.unknown_clients = UnknownClients::Report;
        group.isolation.mode = IsolationMode::Off;
        for engine in group.engines.iter_mut().filter(|_| engines) {
            engine.custody = Custody::Others(Powers::Look);
            engine.origin = Origin::Found;
        }
    }
    policy
}

/// The same groups with engines that others run and that may be ended, under control daemons of ours or of others.
fn with_powers(mut policy: Policy, powers: Powers, daemon: Custody) -> Policy {
    for group in &mut policy.groups {
        group.custody = daemon;
        group.unknown_clients = UnknownClients::Report;
        group.isolation.mode = IsolationMode::Off;
        group.engines.iter_mut().for_each(|engine| engine.custody = Custody::Others(powers));
    }
    policy
}

fn play(policy: Policy, troubles: &[(u64, Break)]) -> World {
    let mut world = World::new(policy);
    world.start_takes = ms(100);
    break_all(&mut world, troubles);
    world
}

/// Gives how often the watchdog crashed.
fn break_all(world: &mut World, troubles: &[(u64, Break)]) -> usize {
    for (wait, trouble) in troubles {
        world.run_for(ms(*wait));
        world.break_it(trouble.clone());
        attempts_stay_within_the_budget(world);
    }
    troubles.iter().filter(|(_, trouble)| *trouble == Break::Crash).count()
}

/// Nothing was ended, and nothing started more often than a watchdog came up.
fn left_alone(world: &World, starts_at_most: usize) {
    let done: Vec<&String> = world.journal.iter().filter(|line| line.contains(" do ")).collect();
    assert!(done.iter().all(|line| line.contains(" do start ")), "{done:?}");
    for engine in ["one/a", "one/b", "two/a", "two/b"] {
        let starts = done.iter().filter(|line| line.contains(&format!("start {engine} "))).count();
        assert!(starts <= starts_at_most, "{engine} {starts}: {done:?}");
    }
}

/// Nothing is wrong any more.
fn mend(world: &mut World) {
    world.break_it(Break::NvmlBlind(false));
    world.break_it(Break::NvmlHangs(false));
    world.break_it(Break::Lost(false, false));
    world.break_it(Break::Action(Some(RecoveryAction::None)));
    world.break_it(Break::Leak(false));
    for group in 0..2 {
        world.break_it(Break::WedgeControl(group, false));
        world.break_it(Break::NoControl(group, false));
        for engine in 0..2 {
            world.break_it(Break::Make(group, engine, Knob::Well));
            world.break_it(Break::Says(group, engine, "running=1 rate=50".to_owned()));
        }
    }
}

fn attempts_stay_within_the_budget(world: &World) {
    for group in &world.policy.groups {
        // A group that is new in the configuration may not have been reported yet.
        let attempts =
            world.dog.memory().groups.get(&DomainId::main(&group.name)).map_or(0, |memory| memory.attempts.len());
        if group.recovery.when_spent == WhenSpent::Hold {
            assert!(attempts <= group.recovery.budget as usize, "{attempts} attempts in {}", group.name);
        }
    }
}

/// Serving, but for engines in quarantine; or held, with a reason.
fn settled(world: &World) -> bool {
    world.dog.status(world.now).groups.iter().all(|group| {
        let served = |state| matches!(state, EngineState::Serving | EngineState::Quarantined);
        group.held.is_some() || group.engines.iter().all(|engine| served(engine.state))
    })
}

fn run_until_settled(world: &mut World) {
    let end = world.now.after(SETTLES);
    world.run_for(ms(500));
    while !settled(world) && world.now < end {
        world.run_for(Duration::from_secs(1));
    }
}

proptest! {
    #![proptest_config(config(64))]

    #[test]
    fn whatever_goes_wrong_no_rule_is_broken_and_a_mended_world_serves_again(
        policy in policy(),
        troubles in troubles(),
    ) {
        let mut world = play(policy, &troubles);
        mend(&mut world);
        run_until_settled(&mut world);
        prop_assert!(world.violations.is_empty(), "{:?}\n{}", world.violations, world.journal.join("\n"));
        attempts_stay_within_the_budget(&world);
        let status = core_world::words::status(&world.dog.status(world.now));
        prop_assert!(settled(&world), "{status:?}\n{}", world.journal.join("\n"));
        for group in ["one", "two"] {
            world.break_it(Break::Ask(Request::Resume { group: Some(GroupName::from(group)) }));
        }
        run_until_settled(&mut world);
        let status = world.dog.status(world.now);
        let held = status.groups.iter().any(|group| group.held.is_some());
        prop_assert!(settled(&world) && !held, "resumed: {status:?}\n{}", world.journal.join("\n"));
    }

    #[test]
    fn whatever_people_say_meanwhile_no_rule_is_broken_and_once_they_take_it_back_it_serves(
        policy in policy(),
        troubles in troubles_and_words(),
    ) {
        let mut world = play(policy, &troubles);
        mend(&mut world);
        take_back(&mut world);
        run_until_settled(&mut world);
        world.break_it(Break::Ask(Request::Resume { group: None }));
        run_until_settled(&mut world);
        prop_assert!(world.violations.is_empty(), "{:?}\n{}", world.violations, world.journal.join("\n"));
        attempts_stay_within_the_budget(&world);
        let status = world.dog.status(world.now);
        let served = |state| matches!(state, EngineState::Serving | EngineState::Quarantined);
        let all = status.groups.iter().all(|group| group.engines.iter().all(|engine| served(engine.state)));
        let there = status.groups.iter().map(|group| group.engines.len()).collect::<Vec<_>>() == [2, 2];
        let held = status.groups.iter().any(|group| group.held.is_some());
        let said = core_world::words::status(&status);
        prop_assert!(all && there && !held, "{said:?}\n{}", world.journal.join("\n"));
    }

    #[test]
    fn a_group_on_hold_is_left_alone(policy in policy(), troubles in troubles()) {
        let mut world = World::new(policy);
        world.start_takes = ms(100);
        world.run_for(Duration::from_secs(10));
        let hold = Request::Hold { group: None, lasts: None, reason: "maintenance".to_owned() };
        world.break_it(Break::Ask(hold));
        world.run_for(ms(1));
        world.journal.clear();
        let crashes = break_all(&mut world, &troubles);
        world.run_for(Duration::from_secs(12));
        left_alone(&world, crashes);
    }

    #[test]
    fn the_same_inputs_give_the_same_decisions(policy in policy(), troubles in troubles_and_words()) {
        let mut one = play(policy.clone(), &troubles);
        let mut two = play(policy, &troubles);
        one.run_for(Duration::from_secs(3));
        two.run_for(Duration::from_secs(3));
        prop_assert_eq!(&one.journal, &two.journal);
        prop_assert_eq!(one.dog.memory(), two.dog.memory());
    }

    #[test]
    fn a_group_that_is_observed_is_started_once_and_otherwise_left_alone(
        mut policy in policy(),
        troubles in troubles(),
    ) {
        for group in &mut policy.groups {
            group.mode = Mode::Observe;
        }
        let mut world = World::new(policy);
        world.start_takes = ms(100);
        let crashes = break_all(&mut world, &troubles);
        world.run_for(Duration::from_secs(12));
        left_alone(&world, 1 + crashes);
    }

    #[test]
    fn what_others_run_is_never_touched(
        policy in policy(),
        observes in any::<bool>(),
        troubles in troubles_and_words(),
    ) {
        let mut world = play(of_others(policy, observes, true), &troubles);
        world.run_for(Duration::from_secs(12));
        prop_assert!(world.deeds.is_empty(), "{:?}", world.deeds);
    }

    #[test]
    fn engines_of_ours_come_and_go_and_the_daemon_of_others_is_never_touched(
        policy in policy(),
        observes in any::<bool>(),
        troubles in troubles_and_words(),
    ) {
        let mut world = play(of_others(policy, observes, false), &troubles);
        world.run_for(Duration::from_secs(12));
        let touches = |action: &Action| matches!(action, Action::StartControl { .. } | Action::StopControl { .. });
        let touched: Vec<_> = world.deeds.iter().filter(|(_, action)| touches(action)).collect();
        prop_assert!(touched.is_empty(), "{touched:?}");
        prop_assert!(world.violations.is_empty(), "{:?}", world.violations);
    }

    #[test]
    fn what_others_run_is_restarted_through_them_and_serves_again(
        policy in policy(),
        powers in prop::sample::select(&[Powers::Signal, Powers::Supervisor]),
        daemon in prop::sample::select(&[Custody::Own, Custody::Others(Powers::Supervisor)]),
        troubles in troubles(),
    ) {
        let mut world = play(with_powers(policy, powers, daemon), &troubles);
        mend(&mut world);
        run_until_settled(&mut world);
        // One that ended before it was ever found is its owner's to start.
        let status = world.dog.status(world.now);
        for (place, group) in status.groups.iter().enumerate() {
            if matches!(group.held, Some((HeldReason::ControlAbsent, _))) {
                world.break_it(Break::OthersStartControl(place));
            }
            for (engine, _) in group.engines.iter().enumerate().filter(|(_, engine)| engine.missing) {
                world.break_it(Break::OthersStart(place, engine));
            }
        }
        world.break_it(Break::Ask(Request::Resume { group: None }));
        run_until_settled(&mut world);
        prop_assert!(world.violations.is_empty(), "{:?}\n{}", world.violations, world.journal.join("\n"));
        attempts_stay_within_the_budget(&world);
        let status = world.dog.status(world.now);
        let held = status.groups.iter().any(|group| group.held.is_some());
        let said = core_world::words::status(&status);
        prop_assert!(settled(&world) && !held, "{said:?}\n{}", world.journal.join("\n"));
    }

    #[test]
    fn a_stop_ends_everything_whatever_was_on_its_way(
        policy in policy(),
        troubles in troubles_and_words(),
        wait in 0..3000u64,
        now in any::<bool>(),
    ) {
        let mut world = play(policy, &troubles);
        world.run_for(ms(wait));
        world.break_it(Break::Ask(if now { Request::StopNow } else { Request::Stop }));
        mend(&mut world);
        let end = world.now.after(Duration::from_secs(90));
        while !world.dog.stopped() && world.now < end {
            world.run_for(Duration::from_secs(1));
        }
        prop_assert!(world.dog.stopped(), "{}", world.journal.join("\n"));
        prop_assert_eq!(world.living(), 0, "left behind: {}", world.journal.join("\n"));
        let status = world.dog.status(world.now);
        prop_assert!(status.groups.iter().all(|group| group.state == GroupState::Stopped));
        prop_assert!(world.violations.is_empty(), "{:?}\n{}", world.violations, world.journal.join("\n"));
    }
}

#[test]
fn in_steady_state_a_control_command_is_given_every_10_s_at_most() {
    let mut world = World::new(policies::one_group(&["a", "b", "c"]));
    world.run_until(at_ms(600_000));
    let commands: Vec<Moment> = world.commands(0).iter().copied().filter(|at| *at > at_ms(20_000)).collect();
    assert!(commands.len() > 50, "the server is asked now and then: {}", commands.len());
    assert!(commands.windows(2).all(|pair| pair[1].since(pair[0]) >= Duration::from_secs(10)));
}

#[test]
fn a_healthy_group_decides_nothing_for_an_hour() {
    let mut world = World::new(policies::one_group(&["a"]));
    world.run_until(at_ms(60_000));
    world.journal.clear();
    world.run_until(at_ms(3_600_000));
    assert_eq!(world.journal, Vec::<String>::new());
}

#[test]
fn a_fault_that_is_only_observed_is_not_acted_on_within_a_group_that_enforces() {
    let mut policy = policies::one_group(&["a", "b"]);
    policy.groups[0].faults.insert(Fault::GpuFault, Mode::Observe);
    policy.groups[0].faults.insert(Fault::EngineDied, Mode::Observe);
    let mut world = World::new(policy);
    world.run_until(at_ms(9_000));
    world.break_it(Break::Fatal { group: 0, memory_fault: true });
    world.run_until(at_ms(60_000));
    assert!(!world.journal.iter().any(|line| line.contains(" do kill") || line.contains(" do stop")));
}

#[test]
fn a_hang_is_found_at_its_time_give_or_take_a_second_wherever_the_readings_fall() {
    for offset in (0..2000).step_by(125) {
        let mut world = World::new(policies::one_group(&["a", "b"]));
        world.run_until(at_ms(6000));
        world.break_it(Break::Says(0, 0, "running=2 rate=100".to_owned()));
        world.run_until(at_ms(20_000 + offset));
        world.break_it(Break::Says(0, 0, "running=2 rate=0".to_owned()));
        world.journal.clear();
        let found = |world: &World| world.journal.iter().any(|line| line.contains("hang began"));
        // The policy's hang_after is 20 s.
        world.run_for(ms(19_000));
        assert!(!found(&world), "too early, {offset} ms: {:?}", world.journal);
        world.run_for(ms(2000));
        assert!(found(&world), "too late, {offset} ms: {:?}", world.journal);
    }
}
