//! Facts that are reported and never decided by: loads, usage, trends, time at work, foreign processes.

use std::time::Duration;

use core_world::{Break, GIB, World, at_ms, policies};
use mpswarden_core::decide::Input;
use mpswarden_core::model::{
    Action, BaselineSource, DomainId, EngineLoad, EngineName, EngineState, EngineStatus, GpuProcess, GpuReading,
    GroupState, Look, Member, Moment, Observation, OverlapWindow, ProbeState, ProcessId, ProcessUsage, Request, Source,
    SourceState, SourceStatus,
};

/// A world of two engines that serve.
fn serving() -> World {
    let mut world = World::new(policies::one_group(&["a", "b"]));
    world.run_until(at_ms(30_000));
    world.journal.clear();
    world
}

fn member(world: &World, engine: &str) -> Member {
    DomainId::main(&world.policy.groups[0].name).member(&EngineName::from(engine))
}

fn engine(world: &World, name: &str) -> EngineStatus {
    world.dog.status(world.now).groups[0].engine(name).unwrap().clone()
}

fn says(world: &mut World, engine: &str, running: Option<f64>) {
    let load = EngineLoad { running, ..EngineLoad::default() };
    tell(world, Observation::Load { engine: member(world, engine), load });
}

/// Observes something that nothing may follow from.
fn tell(world: &mut World, observation: Observation) {
    let decision = world.tell(Input::Observed(observation));
    assert!(decision.events.is_empty());
    assert!(decision.actions.iter().all(|ordered| matches!(ordered.action, Action::Look(_))));
}

fn source_of(world: &World, name: &str) -> SourceStatus {
    let key = Some(member(world, name).key());
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
fn what_a_stopped_group_would_be_asked_is_not_asked_and_counts_as_no_blindness() {
    let mut world = serving();
    let ours = |world: &World| -> Vec<SourceStatus> {
        let sources = world.dog.status(world.now).sources;
        sources.into_iter().filter(|source| source.scope.group.is_some()).collect()
    };
    assert!(ours(&world).iter().all(|source| source.up() == Some(true)), "{:?}", ours(&world));
    world.break_it(Break::Ask(Request::StopGroup("small-llms".into())));
    world.run_for(seconds(60));
    let stopped = ours(&world);
    assert!(stopped.len() >= 4, "{stopped:?}");
    assert!(stopped.iter().all(|source| (source.state, source.up()) == (SourceState::NotAsked, None)), "{stopped:?}");
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
    world.run_for(seconds(2));
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
    assert!(source_of(&world, "a").is_blind());
    let group = &world.dog.status(world.now).groups[0];
    assert_eq!((group.state, group.faults.len()), (GroupState::Serving, 0));
    assert!(group.engines.iter().all(|engine| engine.state == EngineState::Serving));
    let downs = world.journal.iter().filter(|line| line.contains("source engine down")).count();
    assert_eq!((world.journal.len(), downs), (2, 2), "{:?}", world.journal);
    world.load_fails = false;
    world.run_for(seconds(3));
    assert_eq!(source_of(&world, "a").state, SourceState::Answers);
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
        let usage = Observation::Usage { engine: member(world, "a"), processes };
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
        memory_used: Some(0),
        memory_total: Some(GIB),
        busy: None,
        compute: Some(list(compute)),
        mps: Some(list(mps)),
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

/// Engines with a kernel probe.
fn probed(names: &[&str]) -> World {
    let mut policy = policies::one_group(&["a", "b"]);
    let engines = &mut policy.groups[0].engines;
    engines.iter_mut().filter(|engine| names.contains(&engine.name.as_str())).for_each(|engine| engine.probe = true);
    let mut world = World::new(policy);
    world.run_until(at_ms(30_000));
    world.journal.clear();
    world
}

fn windows_asked(world: &World) -> Vec<Moment> {
    world.looks.iter().filter(|(_, look)| matches!(look, Look::Overlap(_))).map(|(at, _)| *at).collect()
}

#[test]
fn kernel_probes_are_asked_for_a_window_in_each_period_and_only_where_there_are_any() {
    let mut world = probed(&["b"]);
    world.run_for(seconds(120));
    let asked = windows_asked(&world);
    assert!(asked.windows(2).all(|two| two[1].since(two[0]) == seconds(10)), "{asked:?}");
    assert!((14..=15).contains(&asked.len()), "{asked:?}");
    let mut world = serving();
    world.run_for(seconds(120));
    assert_eq!(windows_asked(&world), []);
}

#[test]
fn a_failing_kernel_probe_changes_nothing_but_its_source() {
    let mut world = probed(&["a", "b"]);
    world.break_it(Break::Windows(core_world::Windows::Fail));
    world.run_for(seconds(120));
    let status = world.dog.status(world.now);
    assert!(status.ready);
    assert_eq!((status.groups[0].state, status.groups[0].faults.len()), (GroupState::Serving, 0));
    assert_eq!(world.journal.len(), 1, "{:?}", world.journal);
    let source = status.sources.iter().find(|source| source.scope.source == Source::Probe).unwrap();
    assert!(source.is_blind() && source.scope.engine.is_none());
}

#[test]
fn a_group_is_ready_before_any_kernel_probe_has_spoken() {
    let world = probed(&["a", "b"]);
    assert!(world.dog.status(world.now).ready);
    let world = probed(&[]);
    let status = world.dog.status(world.now);
    assert!(status.ready && status.sources.iter().all(|source| source.scope.source != Source::Probe));
}

#[test]
fn windows_and_probes_are_told_and_stir_nothing() {
    let mut world = probed(&["a"]);
    let window = OverlapWindow {
        sampled: seconds(1),
        by_clients: vec![seconds(0), seconds(1)],
        busy: vec![(EngineName::from("a"), seconds(1)), (EngineName::from("nobody"), seconds(1))],
        kernels: 7,
        dropped: 0,
    };
    let group = world.policy.groups[0].name.clone();
    tell(&mut world, Observation::Overlap { group, window });
    let probe = Observation::Probe { engine: member(&world, "a"), state: ProbeState::Working, why: None };
    tell(&mut world, probe);
    let overlap = world.dog.status(world.now).groups[0].overlap.clone();
    assert_eq!((overlap.windows, overlap.by_clients), (1, vec![seconds(0), seconds(1), seconds(0)]));
    let sharing = engine(&world, "a").sharing;
    assert_eq!((sharing.probe, sharing.kernel_busy), (ProbeState::Working, seconds(1)));
    assert_eq!(engine(&world, "b").sharing.probe, ProbeState::Off);
}

/// One engine's load from now on: requests of 200 prompt and 100 generated tokens, so many at once, at a rate.
fn works(world: &mut World, index: usize, running: f64, rate: f64) {
    let (generated, prompts, ends) = (rate / 3.0, rate * 2.0 / 3.0, rate / 300.0);
    let words = format!("running={running} waiting=0 rate={generated} prompts={prompts} ends={ends}");
    world.break_it(Break::Says(0, index, words));
}

#[test]
fn rates_and_gains_of_engines_of_known_speed_come_out_within_two_percent() {
    for (running, alone, shares) in
        [(1.0, [90.0, 2000.0], [0.9, 0.8]), (8.0, [2600.0, 700.0], [0.5, 0.6]), (33.0, [9000.0, 30_000.0], [0.4, 0.4])]
    {
        let mut world = serving();
        for (a, b) in [(running, 0.0), (0.0, running)] {
            works(&mut world, 0, a, if a > 0.0 { alone[0] } else { 0.0 });
            works(&mut world, 1, b, if b > 0.0 { alone[1] } else { 0.0 });
            world.run_for(seconds(200));
        }
        works(&mut world, 0, running, alone[0] * shares[0]);
        works(&mut world, 1, running, alone[1] * shares[1]);
        world.run_for(seconds(200));
        let near = |value: f64, truth: f64| assert!((value / truth - 1.0).abs() < 0.02, "{value} is not {truth}");
        for (index, name) in ["a", "b"].into_iter().enumerate() {
            let sharing = engine(&world, name).sharing;
            let learnt = sharing.baseline.unwrap();
            assert_eq!((learnt.source, sharing.baselines), (BaselineSource::Learnt, 1));
            near(learnt.tokens_per_second, alone[index]);
            near(learnt.running, running);
            near(sharing.slowdown.unwrap(), 1.0 / shares[index]);
        }
        near(world.dog.status(world.now).groups[0].overlap.gain.unwrap(), shares[0] + shares[1]);
    }
}

#[test]
fn nothing_is_learnt_while_a_stranger_computes() {
    let mut world = serving();
    world.break_it(Break::Foreign(901, "python3 train.py".to_owned()));
    works(&mut world, 0, 8.0, 2600.0);
    works(&mut world, 1, 0.0, 0.0);
    world.run_for(seconds(120));
    assert_eq!(engine(&world, "a").sharing.baselines, 0);
    world.break_it(Break::OutsiderGone(901));
    world.run_for(seconds(120));
    assert_eq!(engine(&world, "a").sharing.baselines, 1);
}
