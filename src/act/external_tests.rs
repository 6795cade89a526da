//! Engines of others over small real processes of another user, where this test may start some.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::wildcard_enum_match_arm)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::{User, geteuid};

use super::stage::{LONG, Stage};
use crate::host::child::{self, Child, Launch};
use crate::host::{clock, pidfd};
use crate::model::{Action, Exit, External, ExternalAt, Observation, Outcome, Owner, ProcessId, Report, RestartBy};

/// A stage whose engines others run.
struct Borrowed {
    stage: Stage,
    user: User,
}

impl Borrowed {
    /// Each engine has a pid file, and is restarted so.
    fn set(engines: usize, restart_by: impl Fn(&Stage) -> RestartBy) -> Borrowed {
        let mut stage = Stage::new(&vec!["exit 1"; engines]);
        fs::set_permissions(stage.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        // Processes of root are never signalled.
        let user = match geteuid().is_root() {
            true => User::from_name("nobody").unwrap().unwrap(),
            false => User::from_uid(geteuid()).unwrap().unwrap(),
        };
        for index in 0..engines {
            let (at, restart_by) = (ExternalAt::PidFile(pid_file(&stage, index)), restart_by(&stage));
            let engine = &mut stage.group.engines[index];
            engine.user = Some(user.name.clone());
            engine.external = Some(External { at, restart_by });
        }
        stage.executor.take_up(std::slice::from_ref(&stage.group));
        Borrowed { stage, user }
    }

    /// Starts a script as the engine's user, and writes its pid file.
    fn run(&self, index: usize, script: &str) -> Child {
        let child = child::start(&Launch {
            program: "sh".into(),
            arguments: vec!["-c".into(), script.into()],
            environment: std::env::vars_os().collect(),
            user: geteuid().is_root().then(|| self.user.name.clone()),
            ..Launch::default()
        });
        let child = child.unwrap();
        self.write(index, child.id().pid);
        child
    }

    fn write(&self, index: usize, pid: u32) {
        let file = pid_file(&self.stage, index);
        fs::write(&file, pid.to_string()).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        chown(&file, Some(self.user.uid.as_raw()), None).unwrap();
    }

    async fn find(&mut self, index: usize) -> Outcome {
        let instance = self.stage.key(index).instance(1);
        self.stage.outcome(Action::FindEngine { instance }).await
    }

    async fn stop(&mut self, grace: Duration) -> Outcome {
        let engine = self.stage.key(0);
        self.stage.outcome(Action::StopEngine { engine, grace }).await
    }

    /// What was reported of the end of its main process.
    async fn reported(&mut self) -> Observation {
        let wanted = |report: &Report| match report {
            Report::Observed(seen @ (Observation::Ended { .. } | Observation::Removed { .. })) => Some(seen.clone()),
            _ => None,
        };
        self.stage.find(wanted).await
    }
}

fn pid_file(stage: &Stage, index: usize) -> PathBuf {
    stage.directory.path().join(format!("e{index}.pid"))
}

fn lives(process: ProcessId) -> bool {
    pidfd::Pidfd::open_exact(process).unwrap().is_some_and(|held| !held.is_gone())
}

fn signal(_: &Stage) -> RestartBy {
    RestartBy::Signal
}

/// These scripts in the stage's directory.
fn commands(stop: &'static str, start: &'static str) -> impl Fn(&Stage) -> RestartBy {
    move |stage| {
        let of = |script: &str| {
            let text = format!("cd {}; {script}", stage.directory.path().display());
            vec!["sh".to_owned(), "-c".to_owned(), text]
        };
        RestartBy::Commands { stop: of(stop), start: of(start) }
    }
}

#[tokio::test]
async fn one_that_is_signalled_ends_in_order_and_what_ignores_that_is_killed() {
    let mut theirs = Borrowed::set(1, signal);
    let mut engine =
        theirs.run(0, "trap 'exit 0' TERM; sh -c 'trap \"\" TERM; while :; do sleep 1; done' & wait; wait");
    assert_eq!(theirs.find(0).await, Outcome::Started { process: engine.id() });
    let tree = || theirs.stage.executor.trees().look(&theirs.stage.group.domain).unwrap()[0].1.len();
    let deadline = clock::now().after(LONG);
    while tree() < 2 {
        assert!(clock::now() < deadline, "its child is seen");
    }
    let all: Vec<ProcessId> = theirs.stage.executor.trees().look(&theirs.stage.group.domain).unwrap()[0]
        .1
        .iter()
        .map(|usage| usage.process)
        .collect();
    assert_eq!(theirs.stop(Duration::from_secs(5)).await, Outcome::Done);
    assert_eq!(engine.wait().await, Exit::Status(0), "TERM came first");
    assert!(all.iter().all(|process| !lives(*process)), "{all:?}");
}

#[tokio::test]
async fn a_process_of_another_user_is_not_taken_for_the_engine_and_never_signalled() {
    if !geteuid().is_root() {
        return;
    }
    let mut theirs = Borrowed::set(1, signal);
    let engine = theirs.run(0, "exec sleep 1000");
    let roots = child::start(&Launch { program: "sleep".into(), arguments: vec!["1000".into()], ..Launch::default() });
    let roots = roots.unwrap();
    theirs.write(0, roots.id().pid);
    assert!(matches!(theirs.find(0).await, Outcome::Failed { why } if why.contains("not of user")));
    let uid = theirs.user.uid.as_raw();
    let hold = crate::host::hold::Hold::of(roots.id(), true).unwrap().unwrap();
    let refused = hold.signal_of_user(uid, Signal::SIGKILL).unwrap_err();
    assert!(refused.to_string().contains("are not signalled"), "{refused}");
    assert!(lives(roots.id()) && lives(engine.id()));
    for left in [engine.id(), roots.id()] {
        pidfd::signal(left, Signal::SIGKILL).unwrap();
    }
}

#[tokio::test]
async fn two_engines_that_lead_to_one_process_are_refused() {
    let mut theirs = Borrowed::set(2, signal);
    let engine = theirs.run(0, "exec sleep 1000");
    theirs.write(1, engine.id().pid);
    assert!(matches!(theirs.find(0).await, Outcome::Started { .. }));
    let second = theirs.find(1).await;
    assert!(
        matches!(&second, Outcome::Failed { why } if why.contains("two engines of the configuration")),
        "{second:?}"
    );
    pidfd::signal(engine.id(), Signal::SIGKILL).unwrap();
}

#[tokio::test]
async fn an_end_in_order_is_told_from_a_crash() {
    let mut theirs = Borrowed::set(1, signal);
    let mut engine = theirs.run(0, "exec sleep 1000");
    theirs.find(0).await;
    pidfd::signal(engine.id(), Signal::SIGTERM).unwrap();
    engine.wait().await;
    let instance = theirs.stage.key(0).instance(1);
    let reported = theirs.reported().await;
    assert!(matches!(&reported, Observation::Removed { instance: of, .. } if *of == instance), "{reported:?}");
    let mut again = theirs.run(0, "exec sleep 1000");
    theirs.find(0).await;
    pidfd::signal(again.id(), Signal::SIGSEGV).unwrap();
    again.wait().await;
    let reported = theirs.reported().await;
    // Where the kernel does not say how it ended (before 6.15) nothing is held against it.
    let known = matches!(&reported, Observation::Ended { owner: Owner::Engine(_), exit: Exit::Signal(11), .. });
    assert!(known || matches!(&reported, Observation::Removed { exit: Exit::Unknown, .. }), "{reported:?}");
}

#[tokio::test]
async fn commands_end_it_and_start_it_again() {
    let start = "setsid sh -c 'echo $$ >e0.new; exec sleep 1000' </dev/null >/dev/null 2>&1 & \
                 while [ ! -s e0.new ]; do sleep 0.01; done; mv e0.new e0.pid";
    let mut theirs = Borrowed::set(1, commands("kill $(cat e0.pid); echo stopped >said", start));
    // What the command starts is of this test's user.
    let own = User::from_uid(geteuid()).unwrap().unwrap();
    theirs.stage.group.engines[0].user = Some(own.name.clone());
    theirs.stage.executor.take_up(std::slice::from_ref(&theirs.stage.group));
    theirs.user = own;
    let mut engine = theirs.run(0, "exec sleep 1000");
    theirs.find(0).await;
    let domain = theirs.stage.group.domain.clone();
    let killed = theirs.stage.outcome(theirs.stage.kill_all()).await;
    assert_eq!(killed, Outcome::Killed { processes: vec![engine.id()] });
    engine.wait().await;
    let gone = theirs.stage.outcome(theirs.stage.await_all(vec![engine.id()])).await;
    assert_eq!(gone, Outcome::Gone { remaining: vec![] });
    assert_eq!(theirs.stage.written("said").await, "stopped");
    let instance = theirs.stage.key(0).instance(2);
    let started = theirs.stage.outcome(Action::StartEngine { instance, outside: false }).await;
    let Outcome::Started { process } = started else { panic!("{started:?}") };
    assert!(process != engine.id() && lives(process));
    assert_eq!(theirs.stage.executor.trees().look(&domain).unwrap()[0].1.len(), 1);
    pidfd::signal(process, Signal::SIGKILL).unwrap();
}

#[tokio::test]
async fn a_command_that_fails_or_hangs_is_reported_and_nothing_is_signalled() {
    for (stop, said) in [("echo no such service >&2; exit 3", "no such service"), ("sleep 1000", "was killed")] {
        let mut theirs = Borrowed::set(1, commands(stop, "exit 1"));
        let engine = theirs.run(0, "exec sleep 1000");
        theirs.find(0).await;
        let action = Action::StopEngine { engine: theirs.stage.key(0), grace: Duration::ZERO };
        let outcome = theirs.stage.outcome_by(action, clock::now().after(Duration::from_millis(900))).await;
        assert!(matches!(&outcome, Outcome::Failed { why } if why.contains(said)), "{outcome:?}");
        assert!(lives(engine.id()));
        let instance = theirs.stage.key(0).instance(2);
        assert!(matches!(
            theirs.stage.outcome(Action::StartEngine { instance, outside: false }).await,
            Outcome::Started { process } if process == engine.id()
        ));
        pidfd::signal(engine.id(), Signal::SIGKILL).unwrap();
    }
}
