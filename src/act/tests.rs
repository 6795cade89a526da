//! The verbs over real small processes: shell scripts for engines and for the control daemon.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::wildcard_enum_match_arm)]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::timeout;

use super::shared::make_directories;
use super::testing::{group, owner};
use super::{Executor, saved_memory};
use crate::host::cgroup::Cgroups;
use crate::host::clock;
use crate::host::pidfd::{identify, signal};
use crate::host::procfs::Procfs;
use crate::host::state_file::Loaded;
use crate::model::{
    Action, ActionId, Exit, GroupLaunch, Look, Member, Moment, Observation, Outcome, Owner, ProbeState, ProcessId,
    Report,
};

use super::stage::{CONTROL, LONG, Stage};

/// A script that names the stage's directory.
fn script(stage_relative: &str) -> String {
    format!("cd \"$CUDA_MPS_PIPE_DIRECTORY/..\"; {stage_relative}")
}

/// Results of both ways: without cgroups, and with them where this machine lets us make them.
fn with_and_without_cgroups() -> Vec<Result<Cgroups, String>> {
    let found = Cgroups::find();
    if found.is_ok() { vec![found, Err("not in this test".into())] } else { vec![found] }
}

fn state_of(process: ProcessId) -> Option<ProcessId> {
    identify(process.pid).unwrap().filter(|now| *now == process)
}

#[tokio::test]
async fn children_of_engines_are_killed_with_them_and_proven_gone() {
    for cgroups in with_and_without_cgroups() {
        let one = script("sleep 1000 & echo $! >one; wait");
        let two = script("sh -c 'sleep 1000 & echo $! >two; wait'");
        let mut stage = Stage::with(&[&one, &two], CONTROL, cgroups);
        let mains = [stage.start(0).await, stage.start(1).await];
        let child = |pid: String| identify(pid.parse().unwrap()).unwrap().unwrap();
        let children = [child(stage.written("one").await), child(stage.written("two").await)];
        stage.kill_and_prove().await;
        for process in mains.into_iter().chain(children) {
            assert!(state_of(process).is_none_or(is_zombie), "{process}");
        }
    }
}

fn is_zombie(process: ProcessId) -> bool {
    let stat = crate::host::procfs::Procfs::new(Path::new("/proc")).stat(process.pid).unwrap();
    stat.is_none_or(|stat| !stat.lives())
}

#[tokio::test]
async fn an_orphan_with_a_session_of_its_own_is_still_its_engines() {
    for cgroups in with_and_without_cgroups() {
        let text = script("(setsid sh -c 'echo $$ >orphan; exec sleep 1000' &); exit 3");
        let mut stage = Stage::with(&[&text], CONTROL, cgroups);
        let main = stage.start(0).await;
        let owner = Owner::Engine(stage.key(0).instance(1));
        assert_eq!(stage.ended().await, (owner, main, Exit::Status(3)));
        let orphan = identify(stage.written("orphan").await.parse().unwrap()).unwrap().unwrap();
        let trees = stage.executor.trees().look(&stage.group.domain).unwrap();
        assert_eq!(trees.iter().flat_map(|(_, tree)| tree).map(|usage| usage.process).collect::<Vec<_>>(), [orphan]);
        assert_eq!(stage.kill_and_prove().await, [orphan]);
        let trees = stage.executor.trees().look(&stage.group.domain).unwrap();
        assert_eq!(trees, [(stage.key(0), vec![])]);
    }
}

#[tokio::test]
async fn a_process_that_no_look_has_seen_yet_has_its_owner_and_a_stranger_has_none() {
    for cgroups in with_and_without_cgroups() {
        let text = script("sleep 1000 & echo $! >child; (setsid sh -c 'echo $$ >orphan; exec sleep 1000' &); wait");
        let mut stage = Stage::with(&[&text], CONTROL, cgroups);
        let main = stage.start(0).await;
        let (child, orphan) = (stage.written("child").await, stage.written("orphan").await);
        let trees = stage.executor.trees();
        for pid in [main.pid, child.parse().unwrap(), orphan.parse().unwrap()] {
            let (engine, held) = trees.owner_of(pid).unwrap().unwrap();
            assert_eq!((engine, held.id.pid), (stage.key(0), pid));
        }
        assert!(trees.owner_of(std::process::id()).unwrap().is_none());
        stage.kill_and_prove().await;
        assert!(trees.owner_of(main.pid).unwrap().is_none());
    }
}

/// What the engine's environment has of the probe, and what is reported of it at the start.
async fn started_with_probe(injection: Option<&str>) -> (String, (ProbeState, Option<String>), tempfile::TempDir) {
    let mut stage = Stage::new(&[&script("echo \"$CUDA_INJECTION64_PATH $MPSWARDEN_PROBE_SOCKET\" >told")]);
    let engine = &mut stage.group.engines[0];
    engine.probe = true;
    engine.environment.extend(injection.map(|path| ("CUDA_INJECTION64_PATH".to_owned(), path.to_owned())));
    stage.executor.take_up(std::slice::from_ref(&stage.group));
    stage.start(0).await;
    let told = stage.find(|report| match report {
        Report::Observed(Observation::Probe { state, why, .. }) => Some((*state, why.clone())),
        _ => None,
    });
    let told = told.await;
    (stage.written("told").await, told, stage.directory)
}

#[tokio::test]
async fn a_probed_engine_finds_the_library_and_the_socket_and_is_waited_for() {
    let (environment, told, directory) = started_with_probe(None).await;
    let probe = directory.path().join("state/probe").canonicalize().unwrap();
    assert!(probe.join("libmpswarden_probe.so").is_file());
    assert_eq!(environment, format!("{0}/libmpswarden_probe.so {0}/probe.sock", probe.display()));
    assert_eq!(told, (ProbeState::Waiting, None));
}

#[tokio::test]
async fn an_engine_with_another_injection_starts_with_it_and_without_the_probe() {
    let (environment, (state, why), _directory) = started_with_probe(Some("/opt/profiler.so")).await;
    assert_eq!((environment.as_str(), state), ("/opt/profiler.so", ProbeState::Unavailable));
    assert!(why.unwrap().contains("another injection"));
}

#[tokio::test]
async fn an_engine_that_forks_on_and_on_loses() {
    for cgroups in with_and_without_cgroups() {
        let text = script("echo >forks; while :; do setsid sh -c 'sleep 1000 & sleep 1000' & sleep 0.002; done");
        let mut stage = Stage::with(&[&text], CONTROL, cgroups);
        stage.start(0).await;
        stage.written("forks").await;
        stage.kill_and_prove().await;
    }
}

#[test]
fn a_pipe_directory_that_is_there_is_opened_for_engines_of_another_user() {
    let directory = tempfile::tempdir().unwrap();
    let mut group = super::testing::group(directory.path(), &["true"]);
    let mode_after = |group: &GroupLaunch| {
        make_directories(group).unwrap();
        std::fs::metadata(&group.control.pipe_directory).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode_after(&group), 0o700);
    group.engines[0].user = Some("nobody".into());
    assert_eq!(mode_after(&group), 0o755);
}

#[tokio::test]
async fn a_stray_is_killed_only_while_the_server_calls_it_a_client() {
    let mut children: Vec<_> = (0..2).map(|_| Command::new("sleep").arg("1000").spawn().unwrap()).collect();
    let ids: Vec<_> = children.iter().map(|child| identify(child.id()).unwrap().unwrap()).collect();
    let answers = format!("case $(cat) in get_server_list) echo 7;; 'get_client_list 7') echo {};; esac", ids[0].pid);
    let mut stage = Stage::with(&[], &answers, Err("none".into()));
    let strays = ids.iter().map(|id| id.pid).collect();
    let kill = Action::KillEngines { domain: stage.group.domain.clone(), engines: vec![], strays };
    assert_eq!(stage.outcome(kill).await, Outcome::Killed { processes: vec![ids[0]] });
    children[0].wait().unwrap();
    assert!(children[1].try_wait().unwrap().is_none());
    signal(ids[1], Signal::SIGKILL).unwrap();
    children[1].wait().unwrap();
}

#[tokio::test]
async fn who_is_still_there_at_the_deadline_is_told_with_its_state() {
    let mut stage = Stage::new(&["sleep 1000"]);
    let main = stage.start(0).await;
    let soon = clock::now().after(Duration::from_millis(20));
    let Outcome::Gone { remaining } = stage.outcome_by(stage.await_all(vec![main]), soon).await else { panic!() };
    assert!(remaining.iter().any(|left| left.process == main && left.state != 'Z'), "{remaining:?}");
    stage.kill_and_prove().await;
}

#[tokio::test]
async fn a_command_that_does_not_exist_is_named() {
    let mut stage = Stage::new(&[""]);
    stage.group.engines[0].command = vec!["/no/such/engine".into()];
    let mark = owner(stage.directory.path());
    let (send, reports) = unbounded_channel();
    stage.executor = Executor::new(vec![stage.group.clone()], mark, send).unwrap();
    stage.reports = reports;
    let engine = stage.key(0);
    let Outcome::Failed { why } =
        stage.outcome(Action::StartEngine { instance: engine.instance(1), outside: false }).await
    else {
        panic!()
    };
    assert!(why.contains("`/no/such/engine` was not found") && why.contains("/e0"), "{why}");
}

#[tokio::test]
async fn no_twin_starts_beside_a_living_incarnation() {
    let mut stage = Stage::new(&["sleep 1000"]);
    let main = stage.start(0).await;
    let engine = stage.key(0);
    let twin = Action::StartEngine { instance: engine.instance(2), outside: false };
    let Outcome::Failed { why } = stage.outcome(twin.clone()).await else { panic!() };
    assert!(why.contains(&main.to_string()), "{why}");
    stage.kill_and_prove().await;
    let Outcome::Started { .. } = stage.outcome(twin).await else { panic!() };
    stage.kill_and_prove().await;
}

#[tokio::test]
async fn a_stopped_engine_may_end_by_itself_and_is_killed_if_it_does_not() {
    let gentle = script("trap 'echo bye >bye; exit 0' TERM; echo >gentle; while :; do sleep 0.01; done");
    let stubborn = script("trap '' TERM; echo >stubborn; sleep 1000");
    let mut stage = Stage::new(&[&gentle, &stubborn]);
    let mains = [stage.start(0).await, stage.start(1).await];
    stage.written("gentle").await;
    stage.written("stubborn").await;
    let stop = |engine, grace| Action::StopEngine { engine, grace };
    assert_eq!(stage.outcome(stop(stage.key(0), LONG)).await, Outcome::Done);
    assert_eq!(stage.written("bye").await, "bye");
    assert_eq!(stage.outcome(stop(stage.key(1), Duration::from_millis(30))).await, Outcome::Done);
    assert!(mains.into_iter().all(is_zombie));
    assert_eq!(stage.outcome(stop(stage.key(1), LONG)).await, Outcome::Done, "gone already");
}

#[tokio::test]
async fn the_control_daemon_is_started_asked_and_stopped() {
    let mut stage = Stage::new(&[]);
    let domain = stage.group.domain.clone();
    let Outcome::Started { process } = stage.outcome(Action::StartControl { domain: domain.clone() }).await else {
        panic!()
    };
    let second = stage.outcome(Action::StartControl { domain: domain.clone() }).await;
    let Outcome::Waits { why, .. } = second else { panic!("{second:?}") };
    assert!(why.contains("is used by") && why.contains(&process.to_string()), "{why}");
    assert_eq!(stage.outcome(Action::StartServer { domain: domain.clone() }).await, Outcome::Done);
    let stop = Action::StopControl { domain: domain.clone(), grace: LONG, server: None };
    assert_eq!(stage.outcome(stop).await, Outcome::Done);
    let commands = std::fs::read_to_string(stage.group.control.pipe_directory.join("commands")).unwrap();
    let uid = nix::unistd::getuid();
    assert!(
        commands.contains(&format!("start_server -uid {uid}\n")) && commands.contains("quit -t 20\n"),
        "{commands}"
    );
    assert!(!stage.group.control.pipe_directory.join("nvidia-cuda-mps-control.pid").exists(), "swept");
    let log = std::fs::read_to_string(stage.group.control.log_directory.join("daemon.log")).unwrap();
    assert_eq!(log, "Starting control daemon\n");
}

#[tokio::test]
async fn the_end_of_the_control_daemon_is_reported() {
    let mut stage = Stage::new(&[]);
    let domain = stage.group.domain.clone();
    let Outcome::Started { process } = stage.outcome(Action::StartControl { domain: domain.clone() }).await else {
        panic!()
    };
    signal(process, Signal::SIGKILL).unwrap();
    assert_eq!(stage.ended().await, (Owner::Control(domain.clone()), process, Exit::Signal(9)));
    let stop = Action::StopControl { domain, grace: Duration::ZERO, server: None };
    assert_eq!(stage.outcome(stop).await, Outcome::Done, "what it left is swept");
}

#[tokio::test]
async fn a_control_daemon_that_ends_at_once_is_told_with_its_last_lines() {
    let control =
        "#!/bin/sh\n[ \"$1\" = -f ] && echo 'An instance of this daemon is already running' && exit 1\nexit 1\n";
    let mut stage = Stage::with(&[], control, Err("not in this test".into()));
    let domain = stage.group.domain.clone();
    let Outcome::Failed { why } = stage.outcome(Action::StartControl { domain }).await else { panic!() };
    assert!(why.contains("An instance of this daemon is already running"), "{why}");
}

#[tokio::test]
async fn a_control_daemon_that_never_answers_costs_no_more_than_the_deadline() {
    let control = "#!/bin/sh\nexec sleep 1000\n";
    let mut stage = Stage::with(&[], control, Err("not in this test".into()));
    let domain = stage.group.domain.clone();
    let soon = clock::now().after(Duration::from_millis(100));
    assert_eq!(stage.outcome_by(Action::StartControl { domain: domain.clone() }, soon).await, Outcome::TimedOut);
    let stop = Action::StopControl { domain: domain.clone(), grace: Duration::ZERO, server: None };
    assert_eq!(stage.outcome(stop).await, Outcome::Done);
    let (owner, _, exit) = stage.ended().await;
    assert_eq!((owner, exit), (Owner::Control(domain), Exit::Signal(9)));
}

#[tokio::test]
async fn clients_are_terminated_one_by_one_whoever_is_gone_is_done_and_trouble_is_named() {
    let mut stage = Stage::new(&["true"]);
    let domain = stage.group.domain.clone();
    let Outcome::Started { .. } = stage.outcome(Action::StartControl { domain: domain.clone() }).await else {
        panic!()
    };
    let terminate = |clients| Action::TerminateClients { engine: stage.key(0), server: 1, clients };
    let (fine, bad) = (terminate(vec![7, 8]), terminate(vec![9]));
    assert_eq!(stage.outcome(fine).await, Outcome::Done);
    let Outcome::Failed { why } = stage.outcome(bad).await else { panic!() };
    assert!(why.contains("client 9: answered `1`"), "{why}");
    let stop = Action::StopControl { domain, grace: Duration::ZERO, server: None };
    assert_eq!(stage.outcome(stop).await, Outcome::Done);
}

#[tokio::test]
async fn an_engine_that_a_signal_stopped_goes_on_before_its_client_is_terminated() {
    let mut stage = Stage::new(&["exec sleep 1000"]);
    let domain = stage.group.domain.clone();
    let Outcome::Started { .. } = stage.outcome(Action::StartControl { domain }).await else { panic!() };
    let start = Action::StartEngine { instance: stage.key(0).instance(1), outside: false };
    let Outcome::Started { process } = stage.outcome(start).await else { panic!() };
    signal(process, Signal::SIGSTOP).unwrap();
    becomes(process, 'T').await;
    let terminate = Action::TerminateClients { engine: stage.key(0), server: 1, clients: vec![7] };
    assert_eq!(stage.outcome(terminate).await, Outcome::Done);
    becomes(process, 'S').await;
}

async fn becomes(process: ProcessId, state: char) {
    let now = || Procfs::new(Path::new("/proc")).stat(process.pid).unwrap().map(|stat| stat.state);
    timeout(LONG, async {
        while now() != Some(state) {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn the_end_of_a_watched_server_is_reported() {
    let mut stage = Stage::new(&[]);
    let domain = stage.group.domain.clone();
    let mut server = Command::new("sleep").arg("1000").spawn().unwrap();
    let watch = Action::WatchServer { domain: domain.clone(), server: server.id() };
    let Outcome::Started { process } = stage.outcome(watch.clone()).await else { panic!() };
    server.kill().unwrap();
    assert_eq!(stage.ended().await, (Owner::Server(domain), process, Exit::Unknown));
    server.wait().unwrap();
    let Outcome::Failed { why } = stage.outcome(watch).await else { panic!() };
    assert!(why.contains("is gone"), "{why}");
}

#[tokio::test]
async fn memory_is_on_disk_before_the_next_order_is_looked_at() {
    let mut stage = Stage::new(&[]);
    stage.order(Action::Save { memory: "{\"budget\":1}".into() }, Moment::ZERO);
    let state = stage.directory.path().join("state");
    assert_eq!(saved_memory(&state).unwrap(), Loaded::Saved("{\"budget\":1}".into()));
    assert_eq!(stage.next().await, Report::Finished(ActionId(1), Outcome::Done));
}

#[tokio::test]
async fn what_is_unknown_or_not_ours_to_do_still_gets_its_outcome() {
    let mut stage = Stage::new(&[]);
    let nobody = || "nobody".into();
    let engine = Member::new(&nobody(), &"e".into());
    for action in [
        Action::Look(Look::Trees(nobody())),
        Action::StartControl { domain: nobody() },
        Action::StartServer { domain: nobody() },
        Action::StopControl { domain: nobody(), grace: LONG, server: None },
        Action::StartEngine { instance: engine.instance(1), outside: false },
        Action::TerminateClients { engine, server: 1, clients: vec![1] },
        Action::WatchServer { domain: nobody(), server: 0 },
    ] {
        let outcome = stage.outcome(action.clone()).await;
        assert!(matches!(outcome, Outcome::Failed { .. }), "{action:?}: {outcome:?}");
    }
}

#[test]
fn a_directory_that_can_not_be_made_is_named() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("pipe"), "a file").unwrap();
    let (send, _reports) = unbounded_channel();
    let launches = vec![group(directory.path(), &[])];
    let error = Executor::new(launches, owner(directory.path()), send).unwrap_err().to_string();
    assert!(error.contains("pipe_directory") && error.contains("/pipe"), "{error}");
}
