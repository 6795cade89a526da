//! Every question of `may` as a table of facts and answers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::Refusal::{
    BudgetSpent, ControlSilent, EvidenceOutstanding, Excused, GpuSick, GpuUnreadable, InGrace, OneAtATime, OneServer,
    ServerNotActive, TriedInVain,
};
use super::*;
use crate::decide::facts::gpu_health::GpuHealth;
use crate::decide::facts::reading::Reading;
use crate::model::{Custody, Exit, GpuIdentity, GpuReading, GpuUuid, Powers, ProcessId};

fn at(seconds: u64) -> Moment {
    Moment::ZERO.after(Duration::from_secs(seconds))
}

fn hold() -> Hold {
    Hold { reason: "maintenance".to_owned(), since: at(0), until: None }
}

/// A GPU that was lost at 10 s.
fn lost() -> GpuHealth {
    let mut health = GpuHealth::default();
    health.lost("it is off the bus".to_owned(), at(10));
    health
}

fn control() -> ControlFacts {
    let mut control = ControlFacts::default();
    control.started(ProcessId { pid: 7, started_at: 1 }, at(0));
    control
}

fn server(state: ServerState) -> ServerFacts {
    let mut server = ServerFacts::default();
    server.state.saw(state, at(10));
    server
}

fn gpu() -> GpuFacts {
    let identity = GpuIdentity { absent: false, ..GpuIdentity::absent(GpuUuid::from("GPU-0"), Some(0)) };
    GpuFacts::new(identity)
}

fn reading() -> GpuReading {
    GpuReading {
        memory_used: None,
        memory_total: None,
        busy: None,
        compute: None,
        mps: None,
        recovery_action: None,
        activity: None,
    }
}

#[test]
fn a_fault_is_acted_on_unless_it_is_observed_or_the_group_is_held() {
    let hold = hold();
    let table = [
        (Mode::Enforce, None, Ok(())),
        (Mode::Enforce, Some(&hold), Err(Refusal::Hold)),
        (Mode::Observe, None, Err(Refusal::Observe)),
        (Mode::Observe, Some(&hold), Err(Refusal::Observe)),
    ];
    for (mode, hold, answer) in table {
        assert_eq!(act_on(mode, hold), answer, "{mode} {hold:?}");
    }
}

#[test]
fn a_restart_on_its_way_asks_for_the_mode_alone() {
    assert_eq!([go_further(Mode::Enforce), go_further(Mode::Observe)], [Ok(()), Err(Refusal::Observe)]);
}

#[test]
fn a_restart_that_mended_nothing_is_tried_again_once_the_fault_was_gone_for_long() {
    let table = [(None, Ok(())), (Some(at(1000)), Err(TriedInVain)), (Some(at(400)), Err(TriedInVain))];
    for (last_there, answer) in table.into_iter().chain([(Some(at(399)), Ok(()))]) {
        assert_eq!(try_again(last_there, at(1000)), answer, "{last_there:?}");
    }
}

#[test]
fn a_silent_daemon_has_its_grace_and_engines_that_serve_are_not_ended_to_be_held() {
    let spent = Err(BudgetSpent);
    let table = [
        (None, Served::All, Ok(()), Ok(())),
        (Some(at(9)), Served::All, Ok(()), Err(InGrace)),
        (Some(at(9)), Served::NotAll, Ok(()), Err(InGrace)),
        (Some(at(8)), Served::All, Ok(()), Ok(())),
        (Some(at(8)), Served::All, spent, spent),
        (Some(at(8)), Served::NotAll, spent, Ok(())),
    ];
    for (grace_ends, engines, attempt, answer) in table {
        let asked = end_for_a_wedge(grace_ends, engines, attempt, at(8));
        assert_eq!(asked, answer, "{grace_ends:?} {engines:?} {attempt:?}");
    }
}

#[test]
fn a_group_is_ended_once_the_evidence_is_there_or_its_time_is_over() {
    let table = [(None, Ok(())), (Some(at(9)), Err(EvidenceOutstanding)), (Some(at(8)), Ok(()))];
    for (evidence_due, answer) in table {
        assert_eq!(end_before_the_evidence(evidence_due, at(8)), answer, "{evidence_due:?}");
    }
}

#[test]
fn attempts_end_with_the_budget_where_the_policy_holds_then() {
    let attempts = Attempts::of(vec![at(1), at(2)]);
    let table = [
        (WhenSpent::Hold, 2, at(3), Err(BudgetSpent)),
        (WhenSpent::Hold, 3, at(3), Ok(())),
        (WhenSpent::Hold, 2, at(101), Ok(())),
        (WhenSpent::Slow, 2, at(3), Ok(())),
    ];
    for (when_spent, budget, now, answer) in table {
        let recovery =
            RecoveryPolicy { when_spent, budget, budget_window: Duration::from_secs(100), ..RecoveryPolicy::default() };
        assert_eq!(attempt(&recovery, &attempts, now), answer, "{when_spent:?} {budget} {now}");
    }
}

#[test]
fn nothing_runs_on_a_sick_gpu_unless_that_is_only_observed_or_excused() {
    let health = lost();
    let ailment = health.ailment().unwrap();
    let table = [
        (Mode::Enforce, None, Err(GpuSick)),
        (Mode::Enforce, Some(at(9)), Err(GpuSick)),
        (Mode::Enforce, Some(at(10)), Ok(())),
        (Mode::Observe, None, Ok(())),
    ];
    for (mode, excused, answer) in table {
        assert_eq!(run_with(ailment, mode, excused), answer, "{mode} {excused:?}");
    }
    assert_eq!([stop_for(ailment, None), stop_for(ailment, Some(at(10)))], [Ok(()), Err(Excused)]);
}

#[test]
fn a_domain_starts_on_a_gpu_that_was_read_and_is_well() {
    let mut gpu = gpu();
    assert_eq!([use_gpu(&gpu, Ok(())), use_gpu(&gpu, Err(GpuSick))], [Err(GpuUnreadable), Err(GpuSick)]);
    gpu.reading.saw(Reading::from(reading()), at(1));
    assert_eq!([use_gpu(&gpu, Ok(())), use_gpu(&gpu, Err(GpuSick))], [Ok(()), Err(GpuSick)]);
    gpu.identity.absent = true;
    assert_eq!(use_gpu(&gpu, Ok(())), Err(GpuUnreadable));
}

#[test]
fn an_engine_starts_as_a_client_of_an_active_server() {
    let (mut died, mut silent, mut lost) = (control(), control(), server(ServerState::Active));
    died.died = Some((at(1), Exit::Status(0)));
    silent.silent = 1;
    lost.died = Some(at(11));
    let (active, fault, none) = (server(ServerState::Active), server(ServerState::Fault), server(ServerState::None));
    let (answers, absent) = (control(), ControlFacts::default());
    let table = [
        ("all is well", &answers, &active, Ok(()), 12, Ok(()), Ok(())),
        ("a sick GPU", &answers, &active, Err(GpuSick), 12, Err(GpuSick), Err(GpuSick)),
        ("no daemon", &absent, &active, Ok(()), 12, Err(ControlSilent), Err(ControlSilent)),
        ("a dead daemon", &died, &active, Ok(()), 12, Err(ControlSilent), Err(ControlSilent)),
        ("a silent daemon", &silent, &active, Ok(()), 12, Err(ControlSilent), Err(ControlSilent)),
        ("a dead server", &answers, &lost, Ok(()), 12, Err(ServerNotActive), Err(ServerNotActive)),
        ("a server in FAULT", &answers, &fault, Ok(()), 12, Ok(()), Err(ServerNotActive)),
        ("no server", &answers, &none, Ok(()), 12, Ok(()), Err(ServerNotActive)),
        ("an old answer", &answers, &active, Ok(()), 42, Ok(()), Err(ServerNotActive)),
    ];
    for (case, control, server, run, now, may_ask, may_start) in table {
        assert_eq!(ask_for_a_server(control, server, run), may_ask, "{case}");
        assert_eq!(start_engine(control, server, run, at(now)), may_start, "{case}");
    }
}

#[test]
fn engines_start_in_the_order_of_the_policy() {
    use Others::{AtRest, Underway};
    let table = [
        (StartOrder::Parallel, Underway, Underway, Ok(())),
        (StartOrder::Sequential, Underway, AtRest, Err(OneAtATime)),
        (StartOrder::Sequential, AtRest, AtRest, Ok(())),
        (StartOrder::Staggered, Underway, Underway, Err(OneAtATime)),
        (StartOrder::Staggered, Underway, AtRest, Ok(())),
    ];
    for (order, starting, allocating, answer) in table {
        assert_eq!(start_another(order, starting, allocating), answer, "{order:?} {starting:?} {allocating:?}");
    }
}

#[test]
fn clients_are_taken_off_a_server_one_engine_at_a_time() {
    assert_eq!([Others::AtRest, Others::Underway].map(terminate_clients), [Ok(()), Err(OneAtATime)]);
}

#[test]
fn a_culprit_is_searched_for_where_the_policy_and_the_operator_let_it() {
    let table = [
        (IsolationMode::Enforce, Ok(()), Ok(())),
        (IsolationMode::Enforce, Err(Refusal::Hold), Err(Refusal::Hold)),
        (IsolationMode::Observe, Ok(()), Err(Refusal::Observe)),
        (IsolationMode::Off, Ok(()), Err(Refusal::Off)),
    ];
    for (mode, act, answer) in table {
        assert_eq!(search(mode, act), answer, "{mode:?} {act:?}");
    }
}

#[test]
fn engines_move_one_at_a_time_and_not_while_the_group_is_held() {
    let table = [
        (Ok(()), Others::AtRest, Ok(())),
        (Ok(()), Others::Underway, Err(OneAtATime)),
        (Err(Refusal::Hold), Others::AtRest, Err(Refusal::Hold)),
    ];
    for (act, others, answer) in table {
        assert_eq!(move_engine(act, others), answer, "{act:?} {others:?}");
    }
}

#[test]
fn a_second_server_needs_a_gpu_that_takes_it_and_pids_that_tell_whose_memory_is_whose() {
    let table = [
        (Pids::Match, Some(ComputeMode::Default), Ok(())),
        (Pids::Match, None, Ok(())),
        (Pids::Match, Some(ComputeMode::ExclusiveProcess), Err(OneServer)),
        (Pids::Differ, Some(ComputeMode::Default), Err(OneServer)),
    ];
    for (pids, compute_mode, answer) in table {
        assert_eq!(run_a_second_server(pids, compute_mode), answer, "{pids:?} {compute_mode:?}");
    }
}

#[test]
fn clients_of_nobody_are_ended_where_the_policy_says_so() {
    let table = [
        (Mode::Enforce, UnknownClients::KillOnFault, Ok(())),
        (Mode::Enforce, UnknownClients::Report, Err(Refusal::Policy)),
        (Mode::Observe, UnknownClients::KillOnFault, Err(Refusal::Observe)),
        (Mode::Observe, UnknownClients::Report, Err(Refusal::Observe)),
    ];
    for (mode, policy, answer) in table {
        assert_eq!(kill_unknown_clients(mode, policy), answer, "{mode} {policy:?}");
    }
}

#[test]
fn processes_that_others_let_us_only_look_at_are_not_ended_and_one_of_them_is_enough() {
    let signalled = Custody::Others(Powers::Signal);
    assert_eq!(end_processes([Custody::Own, Custody::Adopted, signalled, Custody::Others(Powers::Supervisor)]), Ok(()));
    assert_eq!(end_processes([Custody::Own, Custody::Others(Powers::Look)]), Err(Refusal::NotOurs));
}
