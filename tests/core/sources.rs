//! Which sources are asked and answer, which are blind, and which are none since what they would show is known to be down.

use std::time::Duration;

use core_world::{Break, World, at_ms, policies};
use mpswarden_core::decide::Policy;
use mpswarden_core::decide::policy::IsolationMode;
use mpswarden_core::model::{GroupState, GroupStatus, Mode, Slot, Source, SourceStatus};

fn serving(policy: Policy) -> World {
    let mut world = World::new(policy);
    world.run_until(at_ms(30_000));
    assert_eq!(group(&world).state, GroupState::Serving);
    world
}

fn group(world: &World) -> GroupStatus {
    world.dog.status(world.now).groups[0].clone()
}

fn sources(world: &World) -> Vec<SourceStatus> {
    world.dog.status(world.now).sources
}

fn of(world: &World, source: Source, domain: Option<Slot>) -> Option<Option<bool>> {
    let all = sources(world);
    all.iter().find(|one| one.scope.source == source && one.scope.domain == domain).map(SourceStatus::up)
}

fn assert_nothing_is_blind(world: &World) {
    let blind: Vec<SourceStatus> = sources(world).into_iter().filter(SourceStatus::is_blind).collect();
    assert!(blind.is_empty(), "{blind:?}");
}

#[test]
fn a_group_that_is_held_with_its_gpu_is_asked_for_nothing_and_nobody_is_blind() {
    for sick in [Break::Lost(true, true), Break::Lost(true, false), Break::Refuses(true)] {
        let mut world = serving(policies::one_group(&["a", "b"]));
        world.break_it(sick.clone());
        world.run_for(Duration::from_secs(60));
        assert_eq!(group(&world).state, GroupState::Held, "{sick:?}");
        assert_nothing_is_blind(&world);
        assert_eq!(group(&world).control_up, None, "a daemon that is down on purpose is not missed");
        assert_eq!(of(&world, Source::Nvml, None), Some(None), "{sick:?}");
        for source in [Source::Mps, Source::Log, Source::Procfs] {
            assert_eq!(of(&world, source, Some(Slot::Main)), Some(None), "{source} while {sick:?}");
        }
    }
}

#[test]
fn a_driver_that_shows_nothing_is_blind_where_nobody_knows_why() {
    let mut world = serving(policies::one_group(&["a"]));
    world.break_it(Break::NvmlBlind(true));
    world.run_for(Duration::from_secs(10));
    assert_eq!(of(&world, Source::Nvml, None), Some(Some(false)));
}

#[test]
fn a_control_daemon_that_is_known_to_be_dead_is_down_and_not_blind() {
    let mut policy = policies::one_group(&["a"]);
    policy.groups[0].mode = Mode::Observe;
    let mut world = serving(policy);
    world.break_it(Break::KillControl(0));
    world.run_for(Duration::from_secs(60));
    assert_eq!(group(&world).control_up, Some(false));
    assert_nothing_is_blind(&world);
    assert_eq!(of(&world, Source::Mps, Some(Slot::Main)), Some(None));
}

#[test]
fn a_second_domain_has_sources_of_its_own_for_as_long_as_it_is_there() {
    let mut policy = policies::one_group(&["a", "b", "c"]);
    policy.groups[0].isolation.mode = IsolationMode::Enforce;
    let mut world = serving(policy);
    let second = |world: &World| of(world, Source::Mps, Some(Slot::Isolation));
    assert_eq!(second(&world), None);
    for _ in 0..2 {
        world.break_it(Break::FatalOf(0, 2));
        world.run_for(Duration::from_secs(30));
    }
    assert!(group(&world).isolation.is_some_and(|isolation| !isolation.apart.is_empty()));
    for source in [Source::Mps, Source::Log, Source::Procfs] {
        for slot in [Slot::Main, Slot::Isolation] {
            assert_eq!(of(&world, source, Some(slot)), Some(Some(true)), "{source} of {slot}");
        }
    }
    assert_nothing_is_blind(&world);
}
