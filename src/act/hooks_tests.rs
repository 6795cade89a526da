//! Hooks over real scripts.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::*;
use crate::act::testing::owner;

/// Upper bound for whatever is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

struct Stage {
    hooks: Hooks,
    ends: Receiver<(Hook, HookResult, String)>,
    directory: tempfile::TempDir,
}

impl Stage {
    fn set() -> Stage {
        let directory = tempfile::tempdir().unwrap();
        let (send, ends) = channel();
        let told = Box::new(move |hook, result, why| drop(send.send((hook, result, why))));
        Stage { hooks: Hooks::start(owner(directory.path()), told).unwrap(), ends, directory }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    fn call(&self, command: &[&str]) {
        self.hooks.call(Call {
            hook: Hook::OnHeld,
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            message: "{\"event\":\"held\"}\n".to_owned(),
            group: Some("small-llms".into()),
            engine: Some("qwen-a".into()),
        });
    }

    fn script(&self, script: &str) {
        self.call(&["sh", "-c", script, "hook", self.directory.path().to_str().unwrap()]);
    }

    fn end(&self) -> (HookResult, String) {
        let (_, result, why) = self.ends.recv_timeout(PATIENCE).unwrap();
        (result, why)
    }
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a process of that pid runs; a zombie does not.
fn lives(pid: &str) -> bool {
    fs::read(Path::new("/proc").join(pid.trim()).join("cmdline")).is_ok_and(|line| !line.is_empty())
}

#[test]
fn a_hook_gets_the_event_on_stdin_and_in_its_environment_and_nothing_else_of_ours() {
    let stage = Stage::set();
    // SAFETY of the scene: what the watchdog has open beside its standard streams is not inherited.
    let _open = fs::File::open("/proc/self/status").unwrap();
    stage.script(
        "cat >$1/stdin; echo $MPSWARDEN_EVENT $MPSWARDEN_GROUP $MPSWARDEN_ENGINE >$1/environment; \
         ls /proc/self/fd | wc -l >$1/descriptors; cut -d' ' -f6 /proc/$$/stat >$1/session; echo $$ >>$1/session",
    );
    assert_eq!(stage.end(), (HookResult::Ok, String::new()));
    let read = |name: &str| fs::read_to_string(stage.path(name)).unwrap();
    assert_eq!(read("stdin"), "{\"event\":\"held\"}\n");
    assert_eq!(read("environment"), "held small-llms qwen-a\n");
    assert_eq!(read("descriptors").trim(), "4", "its three, and the one that ls reads by");
    let session: Vec<String> = read("session").lines().map(str::to_owned).collect();
    assert_eq!(session[0], session[1]);
}

#[test]
fn a_hook_that_fails_is_told_with_its_status_and_first_words() {
    let stage = Stage::set();
    stage.script("echo no network >&2; echo more >&2; exit 3");
    assert_eq!(stage.end(), (HookResult::Failed, "it ended with status 3: no network".to_owned()));
    stage.call(&["/no/such/hook"]);
    let (result, why) = stage.end();
    assert_eq!(result, HookResult::Failed);
    assert!(why.contains("status 127") && why.contains("/no/such/hook"), "{why}");
}

#[test]
fn a_hook_that_reads_nothing_or_floods_its_output_is_fine() {
    let stage = Stage::set();
    stage.script("exec <&-; exit 0");
    assert_eq!(stage.end().0, HookResult::Ok);
    stage.script("head -c 50000000 /dev/zero; head -c 50000000 /dev/zero >&2");
    assert_eq!(stage.end().0, HookResult::Ok);
}

#[test]
fn a_hook_that_leaves_something_behind_is_not_waited_for() {
    let stage = Stage::set();
    stage.script("sleep 1000 & echo $! >$1/pid");
    assert_eq!(stage.end(), (HookResult::Ok, String::new()));
    let pid = fs::read_to_string(stage.path("pid")).unwrap().trim().parse().unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

#[test]
fn a_hook_that_hangs_is_killed_with_all_that_it_started() {
    let stage = Stage::set();
    stage.script("trap '' TERM; sleep 1000 & echo $! >$1/child; echo $$ >$1/main; wait");
    eventually("the hook", || fs::read_to_string(stage.path("main")).is_ok_and(|pid| pid.ends_with('\n')));
    // A watchdog that ends gives it 2 s, one that goes on 10 s: the same end.
    stage.hooks.finish();
    assert_eq!(stage.end(), (HookResult::Timeout, "it did not end in time and was killed".to_owned()));
    for name in ["main", "child"] {
        let pid = fs::read_to_string(stage.path(name)).unwrap();
        eventually("its end", || !lives(&pid));
    }
}

#[test]
fn in_a_storm_four_run_at_once_64_wait_and_the_oldest_are_dropped() {
    let stage = Stage::set();
    let script = "mkdir $1/$$; while [ ! -e $1/go ]; do sleep 0.01; done";
    let running = || fs::read_dir(stage.directory.path()).unwrap().count();
    (0..4).for_each(|_| stage.script(script));
    eventually("four that run", || running() == 4);
    (0..100).for_each(|_| stage.script(script));
    for _ in 0..36 {
        assert_eq!(stage.end(), (HookResult::Dropped, "over 64 were waiting".to_owned()));
    }
    assert_eq!(running(), 4);
    fs::write(stage.path("go"), "").unwrap();
    for _ in 0..68 {
        assert_eq!(stage.end(), (HookResult::Ok, String::new()));
    }
}

#[test]
fn those_that_wait_when_the_watchdog_ends_still_run() {
    let stage = Stage::set();
    (0..20).for_each(|_| stage.script("exit 0"));
    stage.hooks.finish();
    let ends: Vec<_> = stage.ends.try_iter().map(|(_, result, _)| result).collect();
    assert!(!ends.is_empty() && ends.iter().all(|result| *result == HookResult::Ok), "{ends:?}");
}
