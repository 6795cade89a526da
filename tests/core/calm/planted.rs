//! Healthy traffic with one real fault each: it must be found in its time, and nothing else before it. What proves
//! that the judge sees.

use std::time::Duration;

use core_world::{Break, GIB, Knob};
use mpswarden_core::model::gpu::RecoveryAction;
use mpswarden_core::model::{Fault, Request};

use super::day::Day;
use super::engine::Engine;
use super::kind::Dialect;

/// Twelve healthy minutes go before it, without people and strangers: longer than what any trend looks back.
const BEFORE: Duration = Duration::from_secs(700);

fn server_dies(day: &mut Day) {
    day.world.break_it(Break::KillServer(0));
}

fn control_daemon_dies(day: &mut Day) {
    day.world.break_it(Break::KillControl(0));
}

fn control_daemon_is_wedged(day: &mut Day) {
    day.world.break_it(Break::WedgeControl(0, true));
}

fn fatal_line(day: &mut Day) {
    day.world.break_it(Break::Fatal { group: 0, memory_fault: true });
}

fn engine_exits(day: &mut Day) {
    day.world.break_it(Break::Exit(0, 0, 1));
}

fn engine_hangs(day: &mut Day) {
    let now = day.world.now;
    change(day, 0, |engine| engine.stuck = Some(now));
}

/// 1 % of the GPU's memory a minute.
fn engine_leaks(day: &mut Day) {
    let now = day.world.now;
    change(day, 0, |engine| engine.leak = Some((now, 1.4 * GIB as f64 / 60.0, 0.0)));
}

fn engine_holds_more_than_its_limit(day: &mut Day) {
    let now = day.world.now;
    change(day, 1, |engine| engine.leak = Some((now, 5.0 * GIB as f64, 0.0)));
}

fn engine_is_outside(day: &mut Day) {
    let first = day.engines[0].clone();
    day.around().outside = Some(first);
}

fn driver_wants_a_reset(day: &mut Day) {
    day.around().recovery_action = RecoveryAction::GpuReset;
}

fn stranger_comes(day: &mut Day) {
    day.around().strangers.insert(4711, GIB);
}

/// A client whose user is not the server's waits indefinitely.
fn client_of_another_user_waits(day: &mut Day) {
    day.world.break_it(Break::Pending(0, 4711, 1001));
}

fn more_clients_come_than_a_server_takes(day: &mut Day) {
    day.world.break_it(Break::Full(0, 48));
}

fn kernel_kills_an_engine_for_memory(day: &mut Day) {
    day.world.break_it(Break::OomKill(0, 0, Some(5)));
}

/// 4 GiB a minute, where the host has 64 GiB left.
fn engine_leaks_host_memory(day: &mut Day) {
    let now = day.world.now;
    change(day, 0, |engine| engine.leak = Some((now, 0.0, 4.0 * GIB as f64 / 60.0)));
}

/// It is full to half a GiB of its limit, one try to allocate fails, and it serves on.
fn engine_runs_out_of_device_memory(day: &mut Day) {
    change(day, 1, |engine| engine.holds = Some(30 * GIB + GIB / 2));
    day.world.break_it(Break::CudaError(0, 1, 2));
}

/// Its wrapper passes them on no more.
fn engine_is_started_without_its_limits(day: &mut Day) {
    is_started_as(day, 1, Knob::DropsLimits);
}

fn engine_is_started_outside_mps(day: &mut Day) {
    is_started_as(day, 0, Knob::OutsideMps);
}

fn is_started_as(day: &mut Day, index: usize, knob: Knob) {
    day.world.break_it(Break::Make(0, index, knob));
    let evict = Request::Evict(day.engines[index].key());
    day.order(evict);
}

/// It stands still, and a sibling with all that it can do takes the GPU.
fn sibling_takes_the_gpu(day: &mut Day) {
    let now = day.world.now;
    change(day, 1, |engine| engine.stuck = Some(now));
    change(day, 0, |engine| engine.burst(400));
    day.around().sm_active = Some(0.97);
}

fn gpu_falls_off_the_bus(day: &mut Day) {
    day.world.break_it(Break::Lost(true, true));
}

fn change(day: &mut Day, index: usize, how: impl Fn(&mut Engine)) {
    let key = day.engines[index].clone();
    how(day.around().engines.get_mut(&key).unwrap());
}

/// What is planted is found as this fault within its time, whatever the engines are like, and nothing is found before it was there.
fn is_found(fault: Fault, plant: fn(&mut Day), within: Duration) {
    for dialect in [Dialect::Vllm, Dialect::Sglang] {
        found(dialect, fault, plant, within);
    }
}

/// Asserts that a planted fault is found and that no engine is touched for it.
fn is_told(fault: Fault, plant: fn(&mut Day), within: Duration) {
    let deeds = [Dialect::Vllm, Dialect::Sglang].map(|dialect| found(dialect, fault, plant, within));
    assert_eq!(deeds, [0, 0], "it is told and not acted on");
}

/// Gives how much was done from then on.
fn found(dialect: Dialect, fault: Fault, plant: fn(&mut Day), within: Duration) -> usize {
    let mut day = Day::new(dialect, 7);
    day.pass(BEFORE);
    day.around().exact = true;
    assert!(day.judge.alarms.is_empty(), "before it was there: {:?}", day.judge.alarms);
    let (since, before) = (day.world.now, day.judge.interventions);
    plant(&mut day);
    day.pass(within);
    let found = day.judge.faults.iter().find(|(at, _, _)| *at >= since);
    assert_eq!(found.map(|(_, _, fault)| *fault), Some(fault), "{dialect:?}: {:?}", day.judge.alarms);
    day.judge.interventions - before
}

macro_rules! planted {
    ($($name:ident: $plant:ident $is:ident $fault:ident within $seconds:expr;)+) => {
        $(
            #[test]
            fn $name() {
                $is(Fault::$fault, $plant, Duration::from_secs($seconds));
            }
        )+
    };
}

planted! {
    a_fatal_line_is_found: fatal_line is_found GpuFault within 1;
    an_exit_is_found: engine_exits is_found EngineDied within 1;
    a_killed_server_is_found: server_dies is_found ServerDied within 1;
    a_killed_control_daemon_is_found: control_daemon_dies is_found ControlDied within 1;
    a_wedged_control_daemon_is_found: control_daemon_is_wedged is_found ControlWedged within 60;
    // After `hang_after`, and once the step and the load that it was in have been seen.
    a_hang_is_found: engine_hangs is_found Hang within 120 + 5;
    // After a quarter of `hang_after`.
    a_starved_engine_is_told: sibling_takes_the_gpu is_told Starved within 30 + 5;
    // At 1 % of the GPU a minute it meets the GPU's end after some 17 minutes, of which 10 are to be left.
    a_leak_is_told: engine_leaks is_told MemoryLeak within 7 * 60;
    a_leak_of_host_memory_is_told: engine_leaks_host_memory is_told MemoryLeak within 7 * 60;
    a_kill_by_the_kernel_is_found: kernel_kills_an_engine_for_memory is_found HostOom within 1;
    an_engine_without_device_memory_that_lives_on_is_told: engine_runs_out_of_device_memory is_told DeviceOom within 60;
    an_engine_over_its_limit_is_found: engine_holds_more_than_its_limit is_found LimitExceeded within 10;
    // It drains for a minute at most, and starts in 2 s.
    an_engine_without_its_limits_is_found: engine_is_started_without_its_limits is_found LimitMissing within 70;
    an_engine_that_starts_outside_mps_is_found: engine_is_started_outside_mps is_found OutsideMps within 70;
    // Its clients are asked for every 10 s.
    an_engine_outside_mps_is_found: engine_is_outside is_found OutsideMps within 15;
    a_gpu_that_needs_a_reset_is_found: driver_wants_a_reset is_found GpuResetNeeded within 5;
    a_lost_gpu_is_found: gpu_falls_off_the_bus is_found GpuLost within 5;
    // What is not in any engine's tree is known once the trees have been read again.
    a_foreign_process_is_told: stranger_comes is_told ForeignProcess within 15;
    a_client_of_another_user_is_told: client_of_another_user_waits is_told UidMismatch within 15;
    a_full_server_is_told: more_clients_come_than_a_server_takes is_told ClientLimit within 15;
}
