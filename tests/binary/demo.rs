//! `mpswarden demo`, as a new user runs it.

use std::fs::{self, File};
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
        let directory = tempfile::Builder::new().prefix("mw-").tempdir_in("/tmp").unwrap();
        fs::create_dir(directory.path().join("tmp")).unwrap();
        let output = File::create(directory.path().join("output")).unwrap();
        let mut command = Command::new(program());
        command.arg("demo").args(arguments).args(["--web.listen-address", "127.0.0.1:0"]);
        command.env("TMPDIR", directory.path().join("tmp"));
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

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    fn ended(&mut self) -> ExitStatus {
        eventually("the demo's end", || self.child.try_wait().unwrap())
    }

    fn assert_nothing_is_left(&self) {
        let left = processes::naming(self.directory.path());
        assert!(left.is_empty(), "left behind: {left:#?}");
        let files: Vec<_> = fs::read_dir(self.directory.path().join("tmp")).unwrap().flatten().collect();
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
        "serving         small-llms/qwen-b",
        "gpu_fault       small-llms",
        "restarting all clients because of gpu_fault",
        "gone took",
        "memory took",
        "active took",
        "serving         small-llms/qwen-a",
        "restart of all clients ended serving after",
        "stopped in order",
        "requests: ",
    ] {
        let at = rest.find(part).unwrap_or_else(|| panic!("`{part}` is missing, or out of order:\n{told}"));
        rest = &rest[at + part.len()..];
    }
    let answered: u32 = rest.split(' ').next().unwrap().parse().unwrap();
    assert!(answered > 50, "{answered} requests answered");
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
