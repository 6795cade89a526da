//! Groups over several GPUs as a property: over random engines on one GPU or more, and random faults at random times,
//! nobody is ended whose context lives, who was never hit is never restarted, and all serve in the end.

use std::collections::BTreeSet;
use std::time::Duration;

use core_world::{Break, Knob, World, at_ms, ms, policies};
use mpswarden_core::decide::Policy;
use mpswarden_core::decide::policy::StartOrder;
use mpswarden_core::model::{EngineState, GpuIdentity, GpuSet};
use proptest::prelude::*;

const ENGINES: [&str; 5] = ["a", "b", "c", "d", "e"];
const GPUS: usize = 3;

/// A fault: of this engine's kernel, so many milliseconds after the one before.
type Shock = (usize, u64);

fn policy() -> Policy {
    let mut policy = policies::one_group(&ENGINES);
    let first = policy.gpus[0].clone();
    let others = (1..GPUS as u32).map(|index| GpuIdentity {
        uuid: format!("GPU-number-{index}").as_str().into(),
        index: Some(index),
        ..first.clone()
    });
    policy.gpus.extend(others);
    let group = &mut policy.groups[0];
    group.gpus = GpuSet::of(policy.gpus.iter().map(|gpu| gpu.uuid.clone())).unwrap();
    group.recovery.start = StartOrder::Parallel;
    group.recovery.budget = 1000;
    group.recovery.backoff.most = Duration::from_secs(1);
    policy
}

/// Engines on one GPU mostly, and some on two or all.
fn seats() -> impl Strategy<Value = Vec<usize>> {
    let several = prop::collection::btree_set(0..GPUS, 2..=GPUS).prop_map(|seats| seats.into_iter().collect());
    prop_oneof![4 => (0..GPUS).prop_map(|gpu| vec![gpu]), 1 => several]
}

/// Engines that share a GPU with this one, directly or by others.
fn joined(seats: &[Vec<usize>], engine: usize) -> BTreeSet<usize> {
    let mut gpus: BTreeSet<usize> = seats[engine].iter().copied().collect();
    for _ in 0..seats.len() {
        for other in seats {
            if other.iter().any(|gpu| gpus.contains(gpu)) {
                gpus.extend(other);
            }
        }
    }
    (0..seats.len()).filter(|other| seats[*other].iter().any(|gpu| gpus.contains(gpu))).collect()
}

fn incarnations(world: &World) -> Vec<u32> {
    world.dog.status(world.now).groups[0].engines.iter().map(|engine| engine.incarnation).collect()
}

fn all_serve(world: &World) -> bool {
    world.dog.status(world.now).groups[0].engines.iter().all(|engine| engine.state == EngineState::Serving)
}

proptest! {
    #![proptest_config(crate::cases(96, crate::kept!("spread")))]

    #[test]
    fn nobody_is_ended_whose_context_lives(
        seats in prop::collection::vec(seats(), ENGINES.len()),
        lingers in prop::collection::vec(any::<bool>(), ENGINES.len()),
        names in any::<bool>(),
        shocks in prop::collection::vec((0..ENGINES.len(), 0..6000u64), 1..6),
    ) {
        let mut world = World::new(policy());
        for (engine, seats) in seats.iter().enumerate() {
            world.break_it(Break::Sits(0, engine, seats.clone()));
        }
        if !names {
            world.break_it(Break::NamesNobody(0));
        }
        world.run_until(at_ms(20_000));
        prop_assert!(all_serve(&world), "{}", world.journal.join("\n"));
        for engine in (0..ENGINES.len()).filter(|engine| lingers[*engine]) {
            world.break_it(Break::Make(0, engine, Knob::Lingers));
        }
        let before = incarnations(&world);
        let hit: BTreeSet<usize> = shocks.iter().flat_map(|(engine, _): &Shock| joined(&seats, *engine)).collect();
        for (engine, wait) in shocks {
            world.run_for(ms(wait));
            world.break_it(Break::FatalOf(0, engine));
        }
        world.run_for(Duration::from_secs(60));
        let story = world.journal.join("\n");
        prop_assert!(world.violations.is_empty(), "{:?}\n{story}", world.violations);
        prop_assert!(all_serve(&world), "{story}");
        for (engine, (before, after)) in before.iter().zip(incarnations(&world)).enumerate() {
            prop_assert!(hit.contains(&engine) || *before == after, "{} was restarted\n{story}", ENGINES[engine]);
        }
    }
}
