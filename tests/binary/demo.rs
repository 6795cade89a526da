//! `mpswarden demo`, as a new user runs it.

use std::fs::{self, File};
use std::net::TcpListener;
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::support::processes;
use crate::support::scene::{eventually, program};

/// A demo with a temporary directory of its own; its output goes beside that.
struct Demo {
    child: Child,
    directory: TempDir,
}

impl Demo {
    fn play(arguments: &[&str]) -> Demo {
        Demo::play_in("tmp", &[arguments, &["--web.listen-address", "127.0.0.1:0"]].concat())
    }

    /// The same on the default address, with a temporary directory of this name.
    fn play_in(temporary: &str, arguments: &[&str]) -> Demo {
        let directory = tempfile::Builder::new().prefix("mw-").tempdir_in("/tmp").unwrap();
        fs::create_dir(directory.path().join(temporary)).unwrap();
        let output = File::create(directory.path().join("output")).unwrap();
        let mut command = Command::new(program());
        command.arg("demo").args(arguments);
        command.env("TMPDIR", directory.path().join(temporary));
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        Demo { child: command.spawn().unwrap(), directory }
    }

    /// Standard output and standard error so far.
    fn told(&self) -> String {
        fs::read_to_string(self.directory.path().join("output")).unwrap()
    }

    fn await_line(&self, part: &str) {
        eventually(part, || self.told().contains(part).then_some(()));
    }

    /// What stands behind this on its line; panics where it stands nowhere.
    fn behind(&self, words: &str) -> String {
        let told = self.told();
        let (_, rest) = told.split_once(words).unwrap_or_else(|| panic!("`{words}` is missing:\n{told}"));
        rest.lines().next().unwrap_or_default().to_owned()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    fn ended(&mut self) -> ExitStatus {
        eventually("the demo's end", || self.child.try_wait().unwrap())
    }

    fn assert_nothing_is_left(&self) {
        let left = processes::naming(self.directory.path());
        assert!(left.is_empty(), "left behind: {left:#?}");
        let there = |name: &str| fs::read_dir(self.directory.path().join(name)).into_iter().flatten().flatten();
        let files: Vec<_> = there("tmp").collect();
        assert!(files.is_empty(), "left behind: {files:?}");
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        processes::naming(self.directory.path()).iter().for_each(|process| process.signal(Signal::SIGKILL));
    }
}

#[test]
fn the_demo_tells_the_incident_with_its_times_and_leaves_nothing() {
    let mut demo = Demo::play(&["--engines", "2", "--for", "10m", "--inject", "illegal-address@12s"]);
    demo.await_line("restart of all clients ended serving after");
    demo.signal(Signal::SIGTERM);
    let status = demo.ended();
    let told = demo.told();
    assert_eq!(status.code(), Some(0), "{told}");
    let mut rest = told.as_str();
    for part in [
        "  page    http://127.0.0.1:",
        "  faults  at 12s illegal-address into the first engine that runs",
        "serving         small-llms/qwen-b",
        "INJECTED        small-llms/qwen-a",
        "illegal-address into qwen-a",
        "gpu_fault       small-llms",
        "restarting all clients because of gpu_fault",
        "gone took",
        "memory took",
        "active took",
        "serving         small-llms/qwen-a",
        "restart of all clients ended serving after",
        "stopped in order",
        "what was seen of faults:",
        "gpu_fault  small-llms",
        "serving",
        "requests: ",
    ] {
        let at = rest.find(part).unwrap_or_else(|| panic!("`{part}` is missing, or out of order:\n{told}"));
        rest = &rest[at + part.len()..];
    }
    let answered: u32 = rest.split(' ').next().unwrap().parse().unwrap();
    assert!(answered > 50, "{answered} requests answered");
    assert!(!told.contains("serving HTTP on"), "the log was not asked for:\n{told}");
    demo.assert_nothing_is_left();
}

#[test]
fn the_demo_ends_by_itself_after_its_time() {
    let mut demo = Demo::play(&["--engines", "1", "--for", "3s"]);
    assert_eq!(demo.ended().code(), Some(0), "{}", demo.told());
    assert!(demo.told().contains("requests: "), "{}", demo.told());
    demo.assert_nothing_is_left();
}

#[test]
fn sigint_ends_the_demo_clean() {
    let mut demo = Demo::play(&["--engines", "1", "--for", "10m"]);
    demo.await_line("healthy and attached");
    demo.signal(Signal::SIGINT);
    assert_eq!(demo.ended().code(), Some(0), "{}", demo.told());
    demo.assert_nothing_is_left();
}

#[test]
fn a_fault_or_an_engine_that_is_not_there_ends_with_64() {
    for (wrong, cure) in [("nonsense@1s", "there are illegal-address"), ("trap:qwen-z@1s", "there are qwen-a, qwen-b")]
    {
        let mut demo = Demo::play(&["--engines", "2", "--inject", wrong]);
        assert_eq!(demo.ended().code(), Some(64), "{}", demo.told());
        assert!(demo.told().contains(cure), "{}", demo.told());
        demo.assert_nothing_is_left();
    }
}

#[test]
fn the_first_block_says_where_it_is_seen_and_how_it_is_asked() {
    let mut demo = Demo::play(&["--engines", "1", "--for", "10m", "--inject", "trap@9m", "--inject", "hang@595s"]);
    demo.await_line("healthy and attached");
    let page = demo.behind("  page    ");
    assert_eq!(demo.behind("  metrics "), format!("{page}metrics"));
    assert!(demo.behind("  ends    ").starts_with("after 10 min, at "), "{}", demo.told());
    let note = demo.behind("  note    ");
    assert!(note.starts_with("hang@595s may not be seen before the end") && note.contains("--for 615s"), "{note}");
    let command = demo.behind("  status  ");
    let asked = Command::new("sh").args(["-c", &command]).output().unwrap();
    let status = String::from_utf8(asked.stdout).unwrap();
    assert!(status.contains("(simulated)") && status.contains("qwen-a"), "{command}: {status}");
    demo.signal(Signal::SIGTERM);
    assert_eq!(demo.ended().code(), Some(0), "{}", demo.told());
}

#[test]
fn the_log_is_there_where_it_is_asked_for() {
    let mut demo = Demo::play(&["--engines", "1", "--for", "10m", "--log.level", "info"]);
    demo.await_line("healthy and attached");
    demo.signal(Signal::SIGTERM);
    demo.ended();
    assert!(demo.told().contains("serving HTTP on http://127.0.0.1:"), "{}", demo.told());
    assert!(demo.told().contains("serving in small-llms/qwen-a: healthy and attached"), "{}", demo.told());
}

#[test]
fn an_injection_after_the_end_is_refused_with_the_cure() {
    let mut demo = Demo::play(&["--for", "20s", "--inject", "trap@20s"]);
    assert_eq!(demo.ended().code(), Some(64), "{}", demo.told());
    assert!(
        demo.told().contains("trap@20s comes after the end") && demo.told().contains("--for 22s"),
        "{}",
        demo.told()
    );
    demo.assert_nothing_is_left();
}

#[test]
fn the_configuration_that_it_runs_with_passes_the_check() {
    let directory = tempfile::tempdir().unwrap();
    for arguments in [&["--engines", "16"][..], &["--mode", "observe"]] {
        let printed = Command::new(program()).args(["demo", "--print-config"]).args(arguments).output().unwrap();
        assert!(printed.status.success() && printed.stderr.is_empty(), "{printed:?}");
        let file = directory.path().join("demo.toml");
        fs::write(&file, &printed.stdout).unwrap();
        let checked = Command::new(program()).arg("check").arg(&file).output().unwrap();
        assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stderr));
        let text = String::from_utf8(printed.stdout).unwrap();
        assert!(text.contains("hang_after = \"15s\"") && text.contains("leak_after = \"20s\""), "{text}");
    }
}

#[test]
fn a_demo_that_observes_says_what_it_would_do() {
    let mut demo = Demo::play(&["--engines", "1", "--for", "10m", "--mode", "observe", "--inject", "server-kill@6s"]);
    demo.await_line("would restart_clients, but observe");
    demo.signal(Signal::SIGTERM);
    assert_eq!(demo.ended().code(), Some(0), "{}", demo.told());
    assert!(demo.told().contains("INJECTED        ") && demo.told().contains("server-kill into the MPS server"));
}

#[test]
fn where_the_default_port_is_in_use_the_next_one_is_taken() {
    // Whoever else has it will do.
    let _taken = TcpListener::bind("127.0.0.1:10677");
    let mut demo = Demo::play_in("tmp", &["--engines", "1", "--for", "10m"]);
    demo.await_line("port 10677 is in use");
    let page = demo.behind("  page    ");
    assert!(page.starts_with("http://127.0.0.1:106") && !page.contains(":10677"), "{page}");
    demo.signal(Signal::SIGTERM);
    assert_eq!(demo.ended().code(), Some(0), "{}", demo.told());
}

#[test]
fn a_temporary_directory_too_long_for_sockets_is_said_to_be_one() {
    let mut demo = Demo::play_in(&"long".repeat(20), &["--engines", "1"]);
    assert_eq!(demo.ended().code(), Some(69), "{}", demo.told());
    assert!(demo.told().contains("TMPDIR is too long") && demo.told().contains("TMPDIR=/tmp"), "{}", demo.told());
}

#[test]
fn an_engine_that_does_not_run_is_passed_over_and_a_named_one_is_said_to_be_gone() {
    let injections = ["--inject", "trap:qwen-b@8s", "--inject", "sigkill-idle@9s"];
    let mut demo = Demo::play(&[&["--engines", "2", "--for", "10m"][..], &injections].concat());
    demo.await_line("healthy and attached");
    let order = demo.behind("  status  ").replace(" status", " quarantine qwen-b --wait");
    demo.await_line("serving         small-llms/qwen-b");
    assert!(Command::new("sh").args(["-c", &order]).output().unwrap().status.success());
    demo.await_line("trap: qwen-b does not run now");
    demo.await_line("sigkill-idle into qwen-a");
    demo.signal(Signal::SIGTERM);
    assert_eq!(demo.ended().code(), Some(0), "{}", demo.told());
}

/// Plays a demo of less than a minute with these faults, and gives what it told.
fn a_minute_with(injections: &[&str]) -> String {
    let injections: Vec<&str> = injections.iter().flat_map(|injection| ["--inject", injection]).collect();
    let mut demo = Demo::play(&[&["--for", "45s"], &injections[..]].concat());
    assert_eq!(demo.ended().code(), Some(0), "{}", demo.told());
    demo.told()
}

#[test]
fn an_engine_that_hangs_and_one_that_leaks_are_seen_within_a_minute() {
    let told = a_minute_with(&["hang:qwen-a@8s", "leak:qwen-b@8s"]);
    assert!(told.contains("  hang            small-llms/qwen-a  "), "{told}");
    assert!(told.contains("  memory_leak     small-llms/qwen-b  "), "{told}");
}

#[test]
fn an_engine_that_starves_is_seen_within_a_minute() {
    let told = a_minute_with(&["starve:qwen-c@8s"]);
    assert!(told.contains("  starved         small-llms/qwen-c  "), "{told}");
}
