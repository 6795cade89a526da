//! Facts that are told and never decided by: loads, usage, trends, time at work, foreign processes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod world;

use std::time::Duration;

use mpswarden::decide::Input;
use mpswarden::model::{
    Action, EngineKey, EngineLoad, EngineName, EngineState, EngineStatus, GpuProcess, GpuReading, GroupState, Look,
    Moment, Observation, ProcessId, ProcessUsage, Source, SourceStatus,
};
use world::{Break, GIB, World, at_ms, policies};

/// A world of two engines that serve.
fn serving() -> World {
    let mut world = World::new(policies::one_group(&["a", "b"]));
    world.run_until(at_ms(30_000));
    world.journal.clear();
    world
}

fn key(world: &World, engine: &str) -> EngineKey {
    EngineKey::new(&world.policy.groups[0].name, &EngineName::from(engine))
}

fn engine(world: &World, name: &str) -> EngineStatus {
    world.dog.status(world.now).groups[0].engine(name).unwrap().clone()
}

fn says(world: &mut World, engine: &str, running: Option<f64>) {
    let load = EngineLoad { running, ..EngineLoad::default() };
    tell(world, Observation::Load { engine: key(world, engine), load });
}

/// Tells of something that nothing may follow from.
fn tell(world: &mut World, observation: Observation) {
    let decision = world.tell(Input::Observed(observation));
    assert!(decision.events.is_empty());
    assert!(decision.actions.iter().all(|ordered| matches!(ordered.action, Action::Look(_))));
}

fn source_of(world: &World, name: &str) -> SourceStatus {
    let key = Some(key(world, name));
    let sources = world.dog.status(world.now).sources;
    let mut of_engine = sources.into_iter().filter(|source| source.scope.engine == key);
    let source = of_engine.next().unwrap();
    assert!(of_engine.next().is_none(), "an engine is one source");
    source
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_serving_engine_is_asked_for_its_load_every_two_seconds_and_never_while_it_starts() {
    let mut world = World::new(policies::one_group(&["a"]));
    world.run_until(at_ms(60_000));
    let asked: Vec<Moment> =
        world.looks.iter().filter(|(_, look)| matches!(look, Look::Load(_))).map(|(at, _)| *at).collect();
    // It starts at 0.310 and serves at 1.810.
    assert!(asked[0] >= at_ms(1810), "{}", asked[0]);
    assert!((28..=33).contains(&asked.len()), "{}", asked.len());
}

#[test]
fn a_load_is_told_while_it_is_fresh() {
    let mut world = serving();
    assert_eq!(engine(&world, "a").load, None);
    says(&mut world, "a", Some(3.0));
    world.run_for(seconds(6));
    assert_eq!(engine(&world, "a").load.and_then(|load| load.running), Some(3.0));
    world.run_for(seconds(1));
    assert_eq!(engine(&world, "a").load, None);
}

#[test]
fn a_new_incarnation_has_no_load_of_the_old_one() {
    let mut world = serving();
    says(&mut world, "a", Some(3.0));
    world.break_it(Break::Sigkill(0, 0));
    world.run_for(seconds(4));
    assert_eq!((engine(&world, "a").incarnation, engine(&world, "a").load), (2, None));
}

#[test]
fn a_load_that_can_not_be_read_is_a_source_that_is_down_and_nothing_else() {
    let mut world = serving();
    world.load_fails = true;
    world.run_for(seconds(60));
    assert!(!source_of(&world, "a").up);
    let group = &world.dog.status(world.now).groups[0];
    assert_eq!((group.state, group.faults.len()), (GroupState::Serving, 0));
    assert!(group.engines.iter().all(|engine| engine.state == EngineState::Serving));
    let downs = world.journal.iter().filter(|line| line.contains("source engine down")).count();
    assert_eq!((world.journal.len(), downs), (2, 2), "{:?}", world.journal);
    world.load_fails = false;
    world.run_for(seconds(3));
    assert!(source_of(&world, "a").up);
    assert_eq!(world.journal.iter().filter(|line| line.contains("source engine up")).count(), 2);
}

#[test]
fn the_older_of_an_engines_two_answers_says_when_its_source_last_worked() {
    let mut world = serving();
    let before = source_of(&world, "a").last_success;
    world.load_fails = true;
    world.run_for(seconds(10));
    let source = source_of(&world, "a");
    assert_eq!((source.scope.source, source.last_success), (Source::Engine, before));
}

#[test]
fn what_processes_use_is_summed_over_the_tree_and_over_incarnations() {
    let mut world = serving();
    let use_of = |pid: u32, resident: u64, cpu: u64| ProcessUsage {
        process: ProcessId { pid, started_at: u64::from(pid) },
        resident,
        cpu: seconds(cpu),
        state: 'S',
    };
    let see = |world: &mut World, processes: Vec<ProcessUsage>| {
        let usage = Observation::Usage { engine: key(world, "a"), processes };
        tell(world, usage);
    };
    assert_eq!((engine(&world, "a").resident_memory, engine(&world, "a").cpu), (None, Duration::ZERO));
    see(&mut world, vec![use_of(100, GIB, 50)]);
    see(&mut world, vec![use_of(100, GIB, 52), use_of(101, GIB, 3)]);
    assert_eq!((engine(&world, "a").resident_memory, engine(&world, "a").cpu), (Some(2 * GIB), seconds(5)));
    world.break_it(Break::Sigkill(0, 0));
    world.run_for(seconds(4));
    assert_eq!((engine(&world, "a").resident_memory, engine(&world, "a").cpu), (None, seconds(5)));
    see(&mut world, vec![use_of(200, GIB, 7)]);
    assert_eq!((engine(&world, "a").resident_memory, engine(&world, "a").cpu), (Some(GIB), seconds(12)));
    world.run_for(seconds(40));
    assert_eq!(engine(&world, "a").resident_memory, None, "it is too old");
}

#[test]
fn time_counts_by_the_engines_that_had_requests() {
    let mut world = serving();
    let active = |world: &World| -> Vec<u64> {
        world.dog.status(world.now).groups[0].active.iter().map(Duration::as_secs).collect()
    };
    says(&mut world, "a", Some(1.0));
    world.run_for(seconds(2));
    assert_eq!(active(&world), [0, 0, 0], "of b nothing is known");
    says(&mut world, "b", Some(0.0));
    world.run_for(seconds(2));
    says(&mut world, "b", Some(4.0));
    says(&mut world, "a", Some(1.0));
    assert_eq!(active(&world), [0, 2, 0]);
    world.run_for(seconds(3));
    says(&mut world, "b", None);
    assert_eq!(active(&world), [0, 2, 3]);
    world.run_for(seconds(3));
    says(&mut world, "a", Some(0.0));
    says(&mut world, "b", Some(0.0));
    assert_eq!(active(&world), [0, 2, 3], "b did not say");
    world.run_for(seconds(60));
    says(&mut world, "a", Some(0.0));
    assert_eq!(active(&world), [6, 2, 3], "loads go stale");
}

#[test]
fn time_without_a_dead_engine_counts_by_those_that_serve() {
    let mut world = serving();
    says(&mut world, "a", Some(1.0));
    says(&mut world, "b", Some(1.0));
    world.break_it(Break::Sigkill(0, 0));
    world.run_for(seconds(1));
    says(&mut world, "b", Some(1.0));
    let active = world.dog.status(world.now).groups[0].active.clone();
    let dying = Duration::from_millis(30);
    assert_eq!(active, [Duration::ZERO, seconds(1) - dying, dying]);
}

#[test]
fn an_engine_that_grows_meets_its_limit_in_time() {
    let mut world = World::new(policies::one_group(&["a", "b"]));
    let mib_a_second = 1 << 20;
    world.policy.groups[0].engines[0].device_memory_limit = Some(40 * GIB);
    let mut world = World::new(world.policy);
    world.grows = 10 * mib_a_second;
    world.run_until(at_ms(300_000));
    let held = engine(&world, "a").device_memory.unwrap();
    let expected = (40 * GIB - held) / (10 * mib_a_second);
    let said = engine(&world, "a").memory_time_to_limit.unwrap().as_secs();
    assert!(said.abs_diff(expected) <= 2, "{said} is not {expected}");
    // The other has no limit of its own: it ends with the GPU, which both fill.
    assert!(engine(&world, "b").memory_time_to_limit.unwrap().as_secs() > said);
    world.grows = 0;
    world.run_for(seconds(900));
    assert_eq!(engine(&world, "a").memory_time_to_limit, None);
}

#[test]
fn a_process_past_mps_that_no_engine_owns_is_foreign() {
    let mut world = serving();
    let foreign = |world: &World| world.dog.status(world.now).gpus[0].foreign_processes;
    assert_eq!(foreign(&world), Some(0));
    let status = world.dog.status(world.now);
    let (server, main) = (status.groups[0].server_pid.unwrap(), engine(&world, "a").main.unwrap().pid);
    let client = engine(&world, "b").clients[0];
    let list = |pids: &[u32]| pids.iter().map(|pid| GpuProcess { pid: *pid, memory: None }).collect();
    let reading = |compute: &[u32], mps: &[u32]| GpuReading {
        memory_used: 0,
        memory_total: GIB,
        busy: None,
        compute: list(compute),
        mps: list(mps),
        recovery_action: None,
        activity: None,
    };
    let gpu = policies::gpu().uuid;
    let mut see = |reading| {
        world.tell(Input::Observed(Observation::Gpu { gpu: gpu.clone(), reading }));
        foreign(&world)
    };
    assert_eq!(
        see(reading(&[server, main, client, 901, 902, 903], &[client, 903])),
        Some(0),
        "one reading is no proof"
    );
    assert_eq!(see(reading(&[5001, 5002], &[5002])), None, "NVML shows other pids than ours");
    [901, 902].into_iter().for_each(|pid| world.break_it(Break::Foreign(pid, "python3 train.py".to_owned())));
    world.run_for(seconds(6));
    assert_eq!(foreign(&world), Some(2));
    world.break_it(Break::NvmlBlind(true));
    world.run_for(seconds(5));
    assert_eq!(foreign(&world), None, "the reading is too old");
}
