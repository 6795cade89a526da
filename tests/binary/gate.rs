//! Engines that others start, with the gate in front of them: they wait for the group, one after the other, and become
//! clients of its server; without a control daemon they do not start at all.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use mpswarden::gate::client::wire::SOCKET;
use mpswarden::sim::Injection;

use crate::binary::orders::done;
use crate::support::needs;
use crate::support::scene::{Scene, eventually, program};

/// A command behind the gate, in a pipe directory. It ends with the test.
pub(super) struct Gated(Child);

impl Gated {
    /// `program`: what is called before its arguments.
    pub(super) fn start(program: &[&str], pipe: &Path, arguments: &[&str]) -> Gated {
        let mut command = Command::new(program[0]);
        command.args(&program[1..]).args(arguments).env("CUDA_MPS_PIPE_DIRECTORY", pipe);
        // As its own shell or supervisor starts it.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Gated(command.spawn().unwrap())
    }

    /// `mpswarden gate ARGUMENTS` in the group's pipe directory.
    fn of(scene: &Scene, arguments: &[&str]) -> Gated {
        let own = program().display().to_string();
        Gated::start(&[&own, "gate"], &scene.stage.pipe_directory(), arguments)
    }

    /// Its exit status, what it printed and what it said on stderr.
    pub(super) fn ended(mut self) -> (Option<i32>, String, String) {
        let status = eventually("the gate's end", || self.0.try_wait().unwrap());
        let (mut printed, mut said) = (String::new(), String::new());
        self.0.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
        self.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (status.code(), printed, said)
    }

    pub(super) fn stdout(&mut self) -> BufReader<ChildStdout> {
        BufReader::new(self.0.stdout.take().unwrap())
    }

    /// Waits until it says on stderr that it waits for this.
    pub(super) fn waits_for(&mut self, what: &str) {
        let mut said = BufReader::new(self.0.stderr.as_mut().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        assert!(line.starts_with(&format!("gate: waiting for {what}: ")), "{line}");
    }
}

impl Drop for Gated {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A client of the group behind the gate, whose first line says which of its servers it has.
fn client(scene: &Scene, options: &[&str]) -> Gated {
    let own = program().display().to_string();
    let gpu = scene.stage.gpu_socket().display().to_string();
    let engine = [
        own.as_str(),
        "sim",
        "client",
        "spin",
        "--gpu",
        &gpu,
        "--memory",
        "1GiB",
        "--gap",
        "1000000",
        "--seconds",
        "60",
    ];
    Gated::of(scene, &[options, &["--"], &engine].concat())
}

#[test]
fn a_command_passes_at_once_where_the_group_serves_and_gets_its_pipe_directory() {
    let scene = Scene::with(1);
    let mut watchdog = scene.serving();
    let pipe = scene.stage.pipe_directory().display().to_string();
    let (code, printed, said) = Gated::of(&scene, &["g/e", "--", "sh", "-c", "echo $CUDA_MPS_PIPE_DIRECTORY"]).ended();
    assert_eq!((code, printed, said), (Some(0), format!("{pipe}\n"), String::new()));
    watchdog.await_line("who passed", |line| line.message().contains("(g/e) of user"));
    let socket = fs::metadata(scene.stage.pipe_directory().join(SOCKET)).unwrap();
    assert_eq!(socket.permissions().mode() & 0o777, 0o666);
    watchdog.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn the_status_of_the_command_is_the_gates_and_one_that_is_not_there_has_its_own() {
    let scene = Scene::with(1);
    let _watchdog = scene.serving();
    assert_eq!(Gated::of(&scene, &["--", "sh", "-c", "exit 7"]).ended().0, Some(7));
    assert_eq!(Gated::of(&scene, &["--", "/no/such/engine"]).ended().0, Some(127));
    assert_eq!(Gated::of(&scene, &["--within", "soon", "--", "true"]).ended().0, Some(64));
}

#[test]
fn without_a_control_daemon_nothing_starts_whatever_was_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let own = program().display().to_string();
    for otherwise in ["start", "fail"] {
        let arguments = ["--within", "300ms", "--or", otherwise, "--", "echo", "started"];
        let (code, printed, said) = Gated::start(&[&own, "gate"], directory.path(), &arguments).ended();
        assert_eq!((code, printed.as_str()), (Some(75), ""), "{said}");
        assert!(said.contains("no watchdog answers at"), "{said}");
    }
}

#[test]
fn while_the_group_is_stopped_it_waits_and_passes_once_the_group_is_started() {
    let scene = Scene::with(1);
    let watchdog = scene.serving();
    done(&scene, &["stop", "small-llms"]);
    let mut waiting = Gated::of(&scene, &["--", "echo", "started"]);
    waiting.waits_for("daemon");
    let (code, printed, said) = Gated::of(&scene, &["--within", "300ms", "--or", "start", "--", "echo", "no"]).ended();
    assert_eq!((code, printed.as_str()), (Some(75), ""), "{said}");
    done(&scene, &["start", "small-llms"]);
    watchdog.await_serving();
    assert_eq!(waiting.ended().1, "started\n");
}

#[test]
fn one_starts_after_the_other_once_it_is_ready_ends_or_has_had_its_time() {
    let scene = Scene::with(1);
    let _watchdog = scene.serving();
    let mut first = Gated::of(&scene, &["--", "sh", "-c", "echo up; exec sleep 60"]);
    first.stdout().read_line(&mut String::new()).unwrap();
    let mut second = Gated::of(&scene, &["--turn", "300ms", "--", "sh", "-c", "echo up; exec sleep 60"]);
    second.waits_for("turn");
    assert_eq!(Gated::of(&scene, &["--ready"]).ended().0, Some(0));
    second.stdout().read_line(&mut String::new()).unwrap();
    // The second never says that it is ready.
    let third = Gated::of(&scene, &["--", "echo", "started"]);
    assert_eq!(third.ended().1, "started\n");
}

#[test]
fn memory_that_is_not_free_is_waited_for_and_given_up_only_where_that_was_asked_for() {
    let scene = Scene::with(1);
    let _watchdog = scene.serving();
    let much = ["--memory", "4000GiB", "--within", "500ms"];
    let (code, printed, said) = Gated::of(&scene, &[&much[..], &["--", "echo", "started"]].concat()).ended();
    assert_eq!((code, printed.as_str()), (Some(75), ""), "{said}");
    assert!(said.contains("4000.0 GiB are needed"), "{said}");
    let bold = [&much[..], &["--or", "start", "--", "echo", "started"]].concat();
    assert_eq!(Gated::of(&scene, &bold).ended().1, "started\n");
}

#[test]
fn an_engine_is_ready_only_where_it_answers_and_its_group_is_well() {
    let scene = Scene::with(1);
    let watchdog = scene.serving();
    let well = format!("{}/health", scene.stage.engine_url("qwen-a"));
    assert_eq!(Gated::of(&scene, &["--ready", "--url", &well]).ended().0, Some(0));
    assert_eq!(Gated::of(&scene, &["--ready", "--url", "http://127.0.0.1:1/health"]).ended().0, Some(75));
    drop(watchdog);
    let (code, _, said) = Gated::of(&scene, &["--ready", "--url", &well]).ended();
    assert!(code == Some(75) && said.starts_with("gate: not ready: "), "{said}");
}

#[test]
fn whatever_comes_to_the_gate_harms_nobody() {
    let scene = Scene::with(1);
    let _watchdog = scene.serving();
    let said = |bytes: &[u8]| {
        let mut stream = UnixStream::connect(scene.stage.pipe_directory().join(SOCKET)).unwrap();
        // It may have had enough.
        let _ = stream.write_all(bytes).and_then(|()| stream.shutdown(std::net::Shutdown::Write));
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    for bytes in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\xff\xfe\n", b"\n", b"mpswarden-gate 1 restart\n", b"mpswarden-gate 1 pass"]
    {
        let answer = said(bytes);
        assert!(answer.starts_with("refused ") && answer.lines().count() == 1, "{answer}");
    }
    said(&vec![b'x'; 1 << 20]);
    let idle: Vec<_> =
        (0..80).map(|_| UnixStream::connect(scene.stage.pipe_directory().join(SOCKET)).unwrap()).collect();
    drop(idle);
    let (code, printed, said) = Gated::of(&scene, &["--", "echo", "started"]).ended();
    assert_eq!((code, printed.as_str()), (Some(0), "started\n"), "{said}");
}

#[test]
fn what_a_stranger_says_at_the_socket_drives_no_terminal() {
    let directory = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(directory.path().join(SOCKET)).unwrap();
    let stranger = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all("refused \u{1b}]0;owned\u{7}\u{9b}31m\u{202e}\n".as_bytes()).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let own = program().display().to_string();
    let (code, printed, said) = Gated::start(&[&own, "gate"], directory.path(), &["--", "echo", "started"]).ended();
    stranger.join().unwrap();
    assert_eq!((code, printed.as_str()), (Some(75), ""));
    assert_eq!(said, "gate: it does not start: \u{fffd}]0;owned\u{fffd}\u{fffd}31m\u{fffd}\n");
}

/// `mpswarden-gate`, as it is copied into an image, and what was said of it.
fn installed(scene: &Scene) -> (PathBuf, String) {
    let file = scene.directory().join("mpswarden-gate");
    let output = Command::new(program()).args(["gate", "--install"]).arg(&file).output().unwrap();
    assert!(output.status.success());
    (file, String::from_utf8(output.stderr).unwrap())
}

#[test]
fn the_program_of_its_own_needs_nothing_of_its_image_and_does_the_same() {
    let scene = Scene::with(1);
    let _watchdog = scene.serving();
    let (file, said) = installed(&scene);
    if !said.is_empty() {
        needs::skipped(&format!("a static C library (Fedora: dnf install glibc-static): {said}"));
        return;
    }
    let bytes = fs::read(&file).unwrap();
    let interpreter = b"/lib64/ld-linux";
    assert!(!bytes.windows(interpreter.len()).any(|window| window == interpreter), "it asks for a loader");
    let gate = file.display().to_string();
    let (code, printed, said) =
        Gated::start(&[&gate], &scene.stage.pipe_directory(), &["--", "echo", "started"]).ended();
    assert_eq!((code, printed.as_str()), (Some(0), "started\n"), "{said}");
}

/// At the wrong moment: while all that was before ends, while the daemon is replaced, while the server starts.
#[test]
fn nothing_starts_outside_mps_though_engines_come_in_the_midst_of_faults() {
    let mut scene = Scene::with(1);
    scene.recovery("budget", 40);
    let watchdog = scene.serving();
    for round in 0..6 {
        let fault = [Injection::ServerKill, Injection::ControlKill, Injection::IllegalAddress][round % 3];
        let generation = watchdog.generation();
        scene.inject(fault);
        let mut engines: Vec<Gated> = (0..3).map(|_| client(&scene, &["--turn", "1s"])).collect();
        eventually("a new generation", || (watchdog.generation() > generation).then_some(()));
        watchdog.await_serving();
        for engine in &mut engines {
            let mut line = String::new();
            engine.stdout().read_line(&mut line).unwrap();
        }
        let foreign = watchdog.metrics().sum("mps_foreign_processes", &[]);
        assert_eq!(foreign, 0.0, "round {round}: an engine computes outside MPS");
    }
}
