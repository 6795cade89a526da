//! The search for a repeat offender, played whole: one engine of a group brings a fatal fault again and again, on
//! whichever server it runs. It is proven within the bound, no other is, and all others serve in the end.

use std::collections::BTreeSet;
use std::time::Duration;

use core_world::{Break, World, ms, policies};
use mpswarden_core::decide::Policy;
use mpswarden_core::decide::policy::{IsolationMode, IsolationPolicy, Quarantine, StartOrder};
use mpswarden_core::model::{EngineState, GroupState, What};
use proptest::prelude::*;

const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
/// Upper bound for all engines to serve again: back-offs, moves from domain to domain, starts.
const SETTLES: Duration = Duration::from_secs(300);
/// Rounds in a row in which all serve after which nothing is on its way any more.
const AT_REST: u32 = 3;

/// One who does it, among so many.
#[derive(Clone, Debug)]
struct Case {
    engines: usize,
    culprit: usize,
    quarantine: Quarantine,
    parallel: bool,
    /// What each says of its load at the beginning: nothing, that it is idle, or that it works.
    loads: Vec<u8>,
    /// Seconds for which all serve before each fault.
    waits: Vec<u64>,
}

fn case() -> impl Strategy<Value = Case> {
    let culprit = prop::sample::select(vec![2usize, 3, 5, 8]).prop_flat_map(|engines| (Just(engines), 0..engines));
    let quarantine = prop::sample::select(vec![Quarantine::Apart, Quarantine::Outside, Quarantine::Stopped]);
    let (loads, waits) = (prop::collection::vec(0..3u8, 8), prop::collection::vec(0..60u64, 8));
    (culprit, quarantine, any::<bool>(), loads, waits).prop_map(
        |((engines, culprit), quarantine, parallel, loads, waits)| Case {
            engines,
            culprit,
            quarantine,
            parallel,
            loads,
            waits,
        },
    )
}

fn policy(case: &Case) -> Policy {
    let mut policy = policies::one_group(&NAMES[..case.engines]);
    let group = &mut policy.groups[0];
    let window = Duration::from_secs(3600);
    group.isolation = IsolationPolicy { mode: IsolationMode::Enforce, window, quarantine: case.quarantine };
    // What the budget does is a rule of its own.
    group.recovery.budget = 50;
    group.recovery.engine_budget = 50;
    group.recovery.backoff.most = Duration::from_secs(2);
    group.recovery.start = if case.parallel { StartOrder::Parallel } else { StartOrder::Sequential };
    policy
}

fn begin(case: &Case) -> World {
    let mut world = World::new(policy(case));
    world.start_takes = ms(100);
    for (engine, load) in case.loads.iter().take(case.engines).enumerate() {
        let says = match load {
            _ if engine == case.culprit => "running=1 rate=50",
            0 => continue,
            1 => "running=0 waiting=0 rate=0",
            _ => "running=2 rate=80",
        };
        world.break_it(Break::Says(0, engine, says.to_owned()));
    }
    world
}

/// Those who do not serve.
fn missing(world: &World) -> Vec<String> {
    let status = world.dog.status(world.now);
    let group = &status.groups[0];
    let out = group.engines.iter().filter(|engine| engine.state != EngineState::Serving);
    out.map(|engine| engine.name.to_string()).collect()
}

/// Plays until all serve, but for who is proven; gives those who don't.
fn settle(world: &mut World) -> Vec<String> {
    let (end, mut rest) = (world.now.after(SETTLES), 0);
    loop {
        let proven = proven(world);
        let missing: Vec<String> = missing(world).into_iter().filter(|name| !proven.contains(name)).collect();
        rest = if missing.is_empty() { rest + 1 } else { 0 };
        if rest > AT_REST || world.now >= end {
            return missing;
        }
        world.run_for(Duration::from_secs(1));
    }
}

fn proven(world: &World) -> BTreeSet<String> {
    let proven = world.events.iter().filter(|event| matches!(event.what, What::Proven { .. }));
    proven.filter_map(|event| Some(event.engine.as_ref()?.to_string())).collect()
}

fn log2_up(count: usize) -> usize {
    count.next_power_of_two().trailing_zeros() as usize
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 200, ..crate::cases(48, crate::kept!("isolation")) })]

    #[test]
    fn the_culprit_is_proven_within_the_bound_and_nobody_else_ever_is(case in case()) {
        let culprit = BTreeSet::from([NAMES[case.culprit].to_owned()]);
        let mut world = begin(&case);
        prop_assert_eq!(settle(&mut world), Vec::<String>::new(), "the first start");
        // One fault is no repetition; the next begins the search.
        let bound = 2 + log2_up(case.engines) + 1;
        let mut faults = 0;
        while proven(&world).is_empty() && faults < bound {
            world.run_for(Duration::from_secs(case.waits[faults % case.waits.len()]));
            world.break_it(Break::FatalOf(0, case.culprit));
            faults += 1;
            let out = settle(&mut world);
            prop_assert_eq!(out, Vec::<String>::new(), "after fault {}\n{}", faults, world.journal.join("\n"));
        }
        prop_assert_eq!(&proven(&world), &culprit, "after {} faults\n{}", faults, world.journal.join("\n"));
        // Where it is now its faults harm no other.
        world.break_it(Break::FatalOf(0, case.culprit));
        world.run_for(ms(500));
        let out: BTreeSet<String> = missing(&world).into_iter().collect();
        prop_assert!(out.is_subset(&culprit), "{:?} suffer\n{}", out, world.journal.join("\n"));
        prop_assert_eq!(settle(&mut world), Vec::<String>::new());
        prop_assert_eq!(proven(&world), culprit);
        let state = world.dog.status(world.now).groups[0].state;
        prop_assert!(matches!(state, GroupState::Serving | GroupState::Degraded), "{}", state);
        prop_assert!(world.violations.is_empty(), "{:?}\n{}", world.violations, world.journal.join("\n"));
    }
}
