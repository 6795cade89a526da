//! Simulated engines that are like vLLM and SGLang down to what makes them hard to see.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use mpswarden::cli::KNOWN_FAULTS;
use mpswarden::host::mps_log::{MpsLine, hear};
use mpswarden::sim::{Dialect, Injection, Program, Role};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::play::{self, Play, until};

/// An engine that ends with the test, and its log.
struct Engine {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Engine {
    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn terminate(&self) {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM).unwrap();
    }

    fn ended(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

/// A stage of so many faithful engines of one kind, with its server.
fn stage(kind: Program, engines: usize) -> Play {
    let mut options = play::options(engines);
    (options.kinds, options.faithful) = (vec![kind], true);
    let play = Play::on(&options);
    play.start_server();
    play
}

fn start(play: &Play, name: &'static str) -> Engine {
    let argv = play.stage.engine_command(name);
    let mut command = play.environment(Command::new(&argv[0]));
    let log = play.stage.directory().join(format!("{name}.log"));
    command.args(&argv[1..]).env("TOLD", "before").stdin(Stdio::null()).stderr(File::create(&log).unwrap());
    let engine = Engine { name, child: command.spawn().unwrap(), log };
    until("the engine is healthy", || get(play, name, "/health").starts_with("HTTP/1.1 200"));
    engine
}

fn send(play: &Play, engine: &str, what: &str, body: &str) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(play.stage.engine_address(engine).unwrap()).ok()?;
    let length = body.len();
    write!(stream, "{what} HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}").ok()?;
    Some(stream)
}

fn get(play: &Play, engine: &str, path: &str) -> String {
    let mut answer = String::new();
    if let Some(mut stream) = send(play, engine, &format!("GET {path}"), "") {
        let _ = stream.read_to_string(&mut answer);
    }
    answer
}

/// The sum of the series whose text begins so.
fn figure(play: &Play, engine: &Engine, begin: &str) -> f64 {
    let page = get(play, engine.name, "/metrics");
    let values = page.lines().filter(|line| line.starts_with(begin)).map(|line| line.rsplit(' ').next().unwrap());
    values.map(|value| value.parse::<f64>().unwrap()).sum()
}

/// A caller who got its first token.
fn caller(play: &Play, engine: &Engine, tokens: u32) -> BufReader<TcpStream> {
    let body = format!(r#"{{"prompt": "a b c", "max_tokens": {tokens}, "stream": true}}"#);
    let mut caller = BufReader::new(send(play, engine.name, "POST /v1/completions", &body).unwrap());
    let mut line = String::new();
    until("the first token", || {
        line.clear();
        caller.read_line(&mut line).unwrap();
        line.starts_with("data:")
    });
    caller
}

fn core(play: &Play, engine: &Engine) -> u32 {
    get(play, engine.name, "/sim/core").rsplit("\r\n").next().unwrap().parse().unwrap()
}

fn lives(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn the_environment_of_both_processes_is_overwritten_and_they_have_their_variables_all_the_same() {
    for kind in [Program::Vllm, Program::Sglang] {
        let play = stage(kind, 1);
        let engine = start(&play, "qwen-a");
        for pid in [engine.child.id(), core(&play, &engine)] {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap();
            assert!(environment.len() > 100 && environment.iter().all(|byte| *byte == 0), "{kind:?} {pid}");
        }
        let clients = play.stage.ask_gpu("mps").unwrap();
        assert!(clients.contains(&core(&play, &engine).to_string()), "the core found its daemon: {clients}");
    }
}

#[test]
fn vllms_gauges_stay_when_all_callers_go_away_at_once_and_until_the_next_request() {
    let play = stage(Program::Vllm, 1);
    let engine = start(&play, "qwen-a");
    let running = || figure(&play, &engine, "vllm:num_requests_running");
    play.stage.inject(Injection::AbortAll, None).unwrap();
    until("all are let go of", || {
        figure(&play, &engine, "vllm:request_success_total{engine=\"0\",finished_reason=\"abort\"") == 12.0
    });
    let frozen = running();
    assert!(frozen > 0.0);
    let steps = figure(&play, &engine, "vllm:iteration_tokens_total_count");
    assert_eq!((running(), figure(&play, &engine, "vllm:iteration_tokens_total_count")), (frozen, steps));
    let mut next = caller(&play, &engine, 2);
    next.read_to_string(&mut String::new()).unwrap();
    until("the next request moves them", || running() == 0.0);
}

#[test]
fn a_caller_who_goes_away_without_a_byte_of_its_answer_takes_its_request_along() {
    let play = stage(Program::Vllm, 1);
    let engine = start(&play, "qwen-a");
    let waiting = send(&play, "qwen-a", "POST /v1/completions", r#"{"prompt": "a", "max_tokens": 100000}"#);
    until("it runs", || figure(&play, &engine, "vllm:num_requests_running") == 1.0);
    drop(waiting);
    until("it is let go of", || {
        figure(&play, &engine, "vllm:request_success_total{engine=\"0\",finished_reason=\"abort\"") == 1.0
    });
}

#[test]
fn sglang_counts_a_request_at_its_end_and_says_meanwhile_that_it_gets_on() {
    let play = stage(Program::Sglang, 1);
    let engine = start(&play, "qwen-a");
    let mut caller = caller(&play, &engine, 210);
    let so_far = || figure(&play, &engine, "sglang:realtime_tokens_total");
    until("tokens are made", || so_far() > 60.0);
    assert_eq!(figure(&play, &engine, "sglang:generation_tokens_total"), 0.0);
    assert!(figure(&play, &engine, "sglang:gen_throughput") > 0.0);
    assert_eq!(figure(&play, &engine, "sglang:num_running_reqs"), 1.0);
    caller.read_to_string(&mut String::new()).unwrap();
    until("it is counted", || figure(&play, &engine, "sglang:generation_tokens_total") == 210.0);
    assert_eq!(figure(&play, &engine, "sglang:prompt_tokens_total"), 3.0);
    assert_eq!(figure(&play, &engine, "sglang:num_running_reqs"), 1.0, "it was seen at the last interval");
    let log = engine.log();
    assert!(log.contains(" TP0] Decode batch, #running-req: 1,"), "{log}");
}

#[test]
fn sglangs_health_is_a_token_that_it_looks_for_after_a_second_and_in_no_counter() {
    let play = stage(Program::Sglang, 1);
    let engine = start(&play, "qwen-a");
    let asked = Instant::now();
    assert!(get(&play, "qwen-a", "/health").starts_with("HTTP/1.1 200"));
    assert!(asked.elapsed() >= Duration::from_secs(1));
    assert_eq!(figure(&play, &engine, "sglang:num_requests_total"), 0.0);
}

#[test]
fn each_dialect_tells_of_its_memory_and_its_start_in_its_own_words_and_order() {
    let words = [
        (
            Program::Vllm,
            ["(APIServer pid=", "[core.py:114]", "GPU KV cache size: 87,381 tokens", "Application startup complete."],
        ),
        (
            Program::Sglang,
            ["server_args=", " TP0] Load weight begin", "KV Cache is allocated. #tokens: ", "The server is fired up"],
        ),
    ];
    for (kind, parts) in words {
        let play = {
            let mut options = play::options(1);
            (options.kinds, options.memory) = (vec![kind], 4 << 30);
            Play::on(&options)
        };
        play.start_server();
        let log = start(&play, "qwen-a").log();
        let places: Vec<_> =
            parts.iter().map(|part| log.find(part).unwrap_or_else(|| panic!("{part}: {log}"))).collect();
        assert!(places.is_sorted(), "{places:?} {log}");
    }
}

#[test]
fn vllm_ends_with_status_0_when_its_core_was_killed_and_is_unwell_before() {
    let play = stage(Program::Vllm, 1);
    let mut engine = start(&play, "qwen-a");
    play.stage.inject(Injection::SigkillIdle, None).unwrap();
    until("it says so", || engine.log().contains("[shutdown] MPClient: engine core exited unexpectedly"));
    assert_eq!(engine.ended().code(), Some(0));
    assert!(engine.log().contains("vllm.v1.engine.exceptions.EngineDeadError"), "{}", engine.log());
}

#[test]
fn sglang_kills_itself_when_its_scheduler_has_died() {
    let play = stage(Program::Sglang, 1);
    let mut engine = start(&play, "qwen-a");
    play.stage.inject(Injection::IllegalAddress, None).unwrap();
    assert_eq!(engine.ended().signal(), Some(9));
    let log = engine.log();
    let words =
        ["Scheduler hit an exception", "CUDA error: an illegal memory access was encountered", "SIGQUIT received."];
    let places: Vec<_> = words.iter().map(|part| log.find(part).unwrap_or_else(|| panic!("{part}: {log}"))).collect();
    assert!(places.is_sorted(), "{log}");
}

#[test]
fn vllm_aborts_at_sigterm_and_ends_with_status_0() {
    let play = stage(Program::Vllm, 1);
    let mut engine = start(&play, "qwen-a");
    let mut cut = caller(&play, &engine, 100_000);
    engine.terminate();
    assert_eq!(engine.ended().code(), Some(0));
    let mut rest = String::new();
    let _ = cut.read_to_string(&mut rest);
    assert!(!rest.contains("[DONE]"), "{rest}");
    assert!(engine.log().contains("[shutdown] API server: shutdown triggered"), "{}", engine.log());
    assert!(!engine.log().contains("exited unexpectedly"), "{}", engine.log());
}

#[test]
fn sglang_serves_to_the_end_at_sigterm() {
    let play = stage(Program::Sglang, 1);
    let mut engine = start(&play, "qwen-a");
    let mut served = caller(&play, &engine, 100);
    engine.terminate();
    let mut rest = String::new();
    served.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("[DONE]"), "{rest}");
    assert_eq!(engine.ended().signal(), Some(9));
    assert!(engine.log().contains("Gracefully exiting... Remaining number of requests 1."), "{}", engine.log());
}

#[test]
fn an_engine_whose_end_hangs_lets_go_of_gpu_and_port_and_stays_until_it_is_killed() {
    let play = stage(Program::Vllm, 1);
    let mut engine = start(&play, "qwen-a");
    let core = core(&play, &engine);
    play.stage.inject(Injection::TermHangs, None).unwrap();
    engine.terminate();
    until("its GPU process is gone", || !lives(core));
    until("its port is closed", || TcpStream::connect(play.stage.engine_address("qwen-a").unwrap()).is_err());
    assert!(engine.child.try_wait().unwrap().is_none());
    engine.child.kill().unwrap();
    assert_eq!(engine.ended().signal(), Some(9));
}

#[test]
fn users_who_quote_an_error_have_it_logged_by_two_engines_and_nothing_is_wrong() {
    for kind in [Program::Vllm, Program::Sglang] {
        let play = stage(kind, 2);
        let mut engines = ["qwen-a", "qwen-b"].map(|name| start(&play, name));
        play.stage.inject(Injection::Echo, None).unwrap();
        for engine in &mut engines {
            let log = engine.log();
            let quotes = log.lines().filter(|line| line.contains("an illegal memory access was encountered"));
            assert!(quotes.clone().all(|line| line.contains("eceive")) && quotes.count() == 1, "{log}");
            assert!(engine.child.try_wait().unwrap().is_none());
        }
    }
}

#[test]
fn a_flood_of_quotes_is_ten_thousand_lines_a_second() {
    let play = stage(Program::Vllm, 1);
    let engine = start(&play, "qwen-a");
    play.stage.inject(Injection::EchoFlood, None).unwrap();
    until("the flood is there", || engine.log().matches("an illegal memory access").count() >= 10_000);
    assert!(get(&play, "qwen-a", "/health").starts_with("HTTP/1.1 200"));
}

#[test]
fn the_command_line_knows_each_fault_of_the_stage() {
    let known: Vec<&str> = KNOWN_FAULTS.iter().map(|fault| fault.name).collect();
    let all: Vec<&str> = Injection::ALL.iter().map(|fault| fault.as_str()).collect();
    assert_eq!(known, all);
}

#[test]
fn every_line_of_a_recording_is_understood_in_every_dialect() {
    let log = include_str!("../fixtures/recordings/illegal_address_clients_exit/daemon.log");
    for dialect in Dialect::ALL {
        for line in log.lines() {
            let (head, text) = line.split_once("] ").unwrap();
            let (stamp, writer) = head.split_at(24);
            let mut writer = writer.split_whitespace();
            let role = match writer.next().unwrap() {
                "Control" => Role::Control,
                "Other" => Role::Other,
                _ => Role::Server,
            };
            let Some((name, text)) = dialect.line(role, text) else { continue };
            let line = format!("{stamp} {name} {}] {text}", writer.next().unwrap());
            let heard = hear(&line);
            assert!(matches!(heard, MpsLine::Said(..) | MpsLine::Chatter { .. }), "{dialect:?}: {heard:?}: {line}");
        }
    }
}
