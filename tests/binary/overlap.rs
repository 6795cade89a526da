//! The kernel probe at the real binary: engines find the library and the socket, and only they are heard there.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mpswarden::probe::LIBRARY;
use mpswarden::probe::wire::{Kernels, Order, VERSION, Word};
use mpswarden::sim::{CUPTI, Traffic};
use toml::Value;

use crate::support::scene::{PATIENCE, Scene, eventually};
use crate::support::watchdog::Watchdog;

/// Variable in an engine's environment: it is to have another process, which plays a probe.
const PLAYS: &str = "MPSWARDEN_TEST_PLAYS_A_PROBE";

/// Both engines are probed, over the stand-in CUPTI, and windows come often.
fn scene() -> Scene {
    let mut scene = Scene::set();
    let cupti = scene.directory().join("libcupti.so");
    fs::write(&cupti, CUPTI).unwrap();
    let cupti = cupti.display().to_string();
    for index in 0..2 {
        scene.engine(index).insert("overlap".to_owned(), "probe".into());
        scene.engine(index).insert(
            "environment".to_owned(),
            toml::Table::from_iter([("MPSWARDEN_CUPTI".to_owned(), Value::from(cupti.clone()))]).into(),
        );
    }
    let overlap = toml::toml! { window = "20ms" period = "1s" };
    scene.group().insert("overlap".to_owned(), overlap.into());
    scene
}

/// Adds this very test program beside an engine, in its tree, as its probe.
fn with_a_player(scene: &mut Scene, index: usize) {
    let tests = std::env::current_exe().unwrap().display().to_string();
    let script = format!("{PLAYS}=1 '{tests}' --exact binary::overlap::a_player_answers_its_orders & exec \"$@\"");
    scene.wrap(index, &["sh", "-c", &script, "sh"]);
}

/// Not a test of its own: where an engine starts it so, it is a process with a probe, until it is killed. Each of its
/// windows has one kernel, of the window's first half.
#[test]
fn a_player_answers_its_orders() {
    if std::env::var_os(PLAYS).is_none() {
        return;
    }
    let socket = std::env::var_os("MPSWARDEN_PROBE_SOCKET").unwrap();
    loop {
        // Hung up on by a watchdog that did not know its engine yet, it calls again, as a probe does.
        let stream = eventually("a socket that answers", || UnixStream::connect(&socket).ok());
        let _ = play(stream);
    }
}

fn play(mut stream: UnixStream) -> std::io::Result<()> {
    stream.write_all(&Word::Hello { version: VERSION }.frame())?;
    let mut length = [0; 4];
    loop {
        stream.read_exact(&mut length)?;
        let mut body = vec![0; u32::from_le_bytes(length) as usize];
        stream.read_exact(&mut body)?;
        let Some(Order::Record { window, from, to }) = Order::read(&body) else { panic!("{body:?}") };
        let times = vec![(from, from + (to - from) / 2)];
        let kernels = Kernels { window, covered: (from, to), dropped: 0, times };
        stream.write_all(&Word::Kernels(kernels).frame())?;
    }
}

fn probe_directory(scene: &Scene) -> PathBuf {
    let state = scene.configuration["state_directory"].as_str().unwrap();
    Path::new(state).canonicalize().unwrap().join("probe")
}

/// A variable of an engine's main process.
fn variable(watchdog: &Watchdog, engine: &str, name: &str) -> Option<String> {
    let main = watchdog.engines().into_iter().find(|pids| pids.name == engine).unwrap().main;
    let environment = fs::read(format!("/proc/{main}/environ")).unwrap();
    let prefix = format!("{name}=");
    let variables = environment.split(|byte| *byte == 0).map(|one| String::from_utf8_lossy(one).into_owned());
    variables.filter_map(|one| one.strip_prefix(&prefix).map(str::to_owned)).next()
}

#[test]
fn a_probed_engine_finds_the_library_and_is_heard_and_another_is_left_alone() {
    let mut scene = scene();
    scene.engine(1).remove("overlap");
    with_a_player(&mut scene, 0);
    let mut watchdog = scene.serving();
    let directory = probe_directory(&scene);
    let library = directory.join("libmpswarden_probe.so");
    assert_eq!(fs::read(&library).unwrap(), LIBRARY);
    assert_eq!(fs::metadata(&library).unwrap().permissions().mode() & 0o777, 0o644);
    let told = |engine| variable(&watchdog, engine, "CUDA_INJECTION64_PATH");
    assert_eq!((told("qwen-a"), told("qwen-b")), (Some(library.display().to_string()), None));
    let socket = directory.join("probe.sock").display().to_string();
    assert_eq!(variable(&watchdog, "qwen-a", "MPSWARDEN_PROBE_SOCKET"), Some(socket));
    watchdog.await_line("a player that is heard", |line| {
        line.message().ends_with("of small-llms/qwen-a has a kernel probe")
    });
    watchdog.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn a_stranger_at_the_socket_is_hung_up_on_and_the_group_serves_on() {
    let scene = scene();
    let mut watchdog = scene.serving();
    let socket = probe_directory(&scene).join("probe.sock");
    let mut stranger = UnixStream::connect(socket).unwrap();
    stranger.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = stranger.write_all(&Word::Hello { version: VERSION }.frame());
    // An order, or a connection that stays open, would be an answer.
    assert!(!matches!(stranger.read(&mut [0; 64]), Ok(1..)));
    let us = format!("process Some({}) called as a kernel probe and is no engine's", std::process::id());
    watchdog.await_line("the stranger", |line| line.message() == us);
    assert_eq!(watchdog.ready(), 200);
    watchdog.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn an_engine_with_another_profiler_keeps_it() {
    let mut scene = scene();
    // By its file: the configuration itself refuses both.
    let file = scene.directory().join("profiler.env");
    fs::write(&file, "CUDA_INJECTION64_PATH=/nonexistent/profiler.so\n").unwrap();
    scene.engine(0).insert("environment_file".to_owned(), Value::from(file.display().to_string()));
    let mut watchdog = scene.serving();
    let told = |name| variable(&watchdog, "qwen-a", name);
    assert_eq!(told("CUDA_INJECTION64_PATH").as_deref(), Some("/nonexistent/profiler.so"));
    assert_eq!(told("MPSWARDEN_PROBE_SOCKET"), None);
    watchdog.await_line("why it has no probe", |line| {
        line.message().starts_with("engine `small-llms/qwen-a` runs without the kernel probe: another injection")
    });
    watchdog.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn a_state_directory_that_is_too_long_for_a_socket_costs_the_probe_and_no_engine() {
    let mut scene = scene();
    let state = scene.directory().join("s".repeat(100)).display().to_string();
    scene.configuration.insert("state_directory".to_owned(), state.into());
    let mut watchdog = scene.serving();
    assert_eq!(variable(&watchdog, "qwen-a", "CUDA_INJECTION64_PATH"), None);
    watchdog.await_line("why it has no probe", |line| line.message().contains("name a shorter state_directory"));
    watchdog.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn a_library_that_an_earlier_version_left_is_replaced_before_an_engine_starts() {
    let scene = scene();
    let state = scene.configuration["state_directory"].as_str().unwrap();
    let library = Path::new(state).join("probe/libmpswarden_probe.so");
    fs::create_dir_all(library.parent().unwrap()).unwrap();
    fs::write(&library, "an earlier one").unwrap();
    let mut watchdog = scene.serving();
    assert_eq!(fs::read(&library).unwrap(), LIBRARY);
    watchdog.stop();
    scene.assert_nothing_is_left();
}

/// A span as the document has it.
fn time(value: &serde_json::Value) -> Duration {
    Duration::from_secs_f64(value.as_f64().unwrap())
}

/// The time with each number of clients, which is its place.
fn times_by_clients(status: &serde_json::Value) -> Vec<Duration> {
    let by_clients = status["overlap"]["by_clients"].as_array().unwrap();
    assert!(by_clients.iter().enumerate().all(|(clients, time)| time["clients"] == clients));
    by_clients.iter().map(|of| time(&of["seconds"])).collect()
}

#[test]
fn the_kernels_of_simulated_engines_are_counted_by_the_real_library() {
    let scene = scene();
    let mut watchdog = scene.serving();
    let names = ["qwen-a", "qwen-b"];
    let traffic = Traffic::start(names.iter().filter_map(|name| scene.stage.engine_address(name))).unwrap();
    let status = eventually("kernels of both", || {
        let status = watchdog.status();
        let busy = |index: usize| time(&status["engines"][index]["sharing"]["kernel_busy_seconds"]) > Duration::ZERO;
        (busy(0) && busy(1)).then_some(status)
    });
    let of_engines: Duration =
        (0..2).map(|index| time(&status["engines"][index]["sharing"]["kernel_busy_seconds"])).sum();
    let of_clients: Duration = (0..).zip(times_by_clients(&status)).map(|(clients, time)| time * clients).sum();
    // Each is a sum of spans that were rounded by themselves.
    assert!(of_clients.abs_diff(of_engines) < Duration::from_micros(1), "each engine is one client: {status:#}");
    traffic.finish();
    watchdog.stop();
    scene.assert_nothing_is_left();
}

/// Windows of this group so far.
fn windows(watchdog: &Watchdog) -> u64 {
    watchdog.status()["overlap"]["windows"].as_u64().unwrap()
}

#[test]
fn a_probe_turned_off_by_a_reload_rolls_its_engine_alone_and_windows_go_on_for_the_other() {
    let mut scene = scene();
    with_a_player(&mut scene, 1);
    let mut watchdog = scene.serving();
    let before = watchdog.engines();
    scene.engine(0).insert("overlap".to_owned(), "off".into());
    scene.file();
    watchdog.signal(nix::sys::signal::Signal::SIGHUP);
    watchdog.await_event("reloaded", "small-llms/qwen-a rolls (overlap)");
    eventually("another main process", || {
        let now = watchdog.engines();
        (now[0].main != before[0].main && now[0].main > 0 && now[1].main == before[1].main).then_some(())
    });
    watchdog.await_serving();
    assert_eq!(variable(&watchdog, "qwen-a", "CUDA_INJECTION64_PATH"), None);
    let so_far = windows(&watchdog);
    eventually("another window", || (windows(&watchdog) > so_far).then_some(()));
    watchdog.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn windows_are_counted_and_the_player_is_busy_for_half_of_their_time() {
    let mut scene = scene();
    scene.engine(1).remove("overlap");
    with_a_player(&mut scene, 0);
    let mut watchdog = scene.serving();
    let status = eventually("three windows", || {
        let status = watchdog.status();
        (status["overlap"]["windows"].as_u64()? >= 3).then_some(status)
    });
    let (sampled, engine) = (time(&status["overlap"]["sampled_seconds"]), &status["engines"][0]["sharing"]);
    assert_eq!(engine["probe"], "working");
    // The engine's own kernels, where it has a probe too, come on top.
    assert!(time(&engine["kernel_busy_seconds"]) >= sampled / 2, "{status:#}");
    let sum: Duration = times_by_clients(&status).iter().sum();
    assert!(sum.abs_diff(sampled) < Duration::from_micros(1), "{status:#}");
    watchdog.stop();
    scene.assert_nothing_is_left();
}
