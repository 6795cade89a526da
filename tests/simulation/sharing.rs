//! How clients share the simulated GPU, how that makes engines faster or not, and which subscriber is called for
//! kernels. Times are those of the simulated GPU, so that a busy machine changes little; margins are wide all the same.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;

use super::play::{self, Client, Play, until};

/// What its kernels took each, in milliseconds, of a client that is done.
fn each(client: &Client) -> f64 {
    let (_, line) = client.hears("done");
    line.split_once("each=").unwrap().1.trim_end_matches(" ms").parse().unwrap()
}

/// Two clients that launch kernels of 20 ms alone, at the same time; what theirs took.
fn two(client: impl Fn(&str) -> Client, demand: f64) -> [f64; 2] {
    let story = format!("spin --seconds 25 --kernels 40 --us 20000 --demand {demand}");
    let clients = [client(&story), client(&story)];
    clients.iter().for_each(|client| drop(client.hears("context ready")));
    [each(&clients[0]), each(&clients[1])]
}

#[test]
fn small_kernels_of_two_clients_do_not_slow_each_other_down() {
    let play = Play::with_server();
    assert_eq!(two(|story| play.client(story), 0.5), [20.0, 20.0]);
}

#[test]
fn kernels_that_fill_the_gpu_take_twice_as_long_beside_each_other() {
    let play = Play::with_server();
    let took = two(|story| play.client(story), 1.0);
    assert!(took.iter().all(|each| (30.0..=40.01).contains(each)), "{took:?}");
}

#[test]
fn processes_outside_mps_take_turns_however_small_their_kernels_are() {
    let (play, nowhere) = (Play::begin(), tempfile::tempdir().unwrap());
    let took = two(|story| play.client_of(story, nowhere.path()), 0.1);
    assert!(took.iter().all(|each| (30.0..=40.01).contains(each)), "{took:?}");
}

#[test]
fn a_client_with_half_the_sms_that_it_can_use_takes_twice_as_long() {
    let play = Play::with_server();
    let story = "spin --kernels 10 --us 5000 --demand 0.6";
    assert_eq!(each(&play.client_with(story, "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "30")), 10.0);
    let nowhere = tempfile::tempdir().unwrap();
    assert_eq!(each(&play.client_of(story, nowhere.path())), 5.0);
}

/// The recorder's library, made once by this toolchain's compiler.
fn recorder() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("librecorder.so");
        let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()));
        rustc.args(["--crate-type=cdylib", "--crate-name=recorder", "--edition=2024", "tests/simulation/recorder.rs"]);
        rustc.arg("-o").arg(&library).current_dir(env!("CARGO_MANIFEST_DIR"));
        assert!(rustc.status().unwrap().success());
        library
    })
}

/// Begins and ends of kernels that were written down, in nanoseconds.
fn kernels(notes: &Path) -> Vec<(u64, u64)> {
    let numbers = |line: &str| line.split_once(' ').map(|(a, b)| (a.parse().unwrap(), b.parse().unwrap()));
    fs::read_to_string(notes).unwrap().lines().filter_map(numbers).collect()
}

#[test]
fn every_kernel_is_told_with_the_times_at_which_it_kept_the_gpu_busy() {
    let (play, directory) = (Play::with_server(), tempfile::tempdir().unwrap());
    let notes = directory.path().join("notes");
    let before = play::now().as_nanos() as u64;
    let mut client = play.environment(Command::new(play.stage.program()));
    client.args("sim client spin --kernels 50 --us 4000 --demand 0.5 --gpu".split(' ')).arg(play.stage.gpu_socket());
    client.env("CUDA_INJECTION64_PATH", recorder()).env("MPSWARDEN_CUPTI", recorder()).env("RECORDER", &notes);
    assert!(client.stdout(Stdio::null()).status().unwrap().success());
    let after = play::now().as_nanos() as u64;
    let told = fs::read_to_string(&notes).unwrap();
    assert!(told.starts_with("injected\nlaunched\n"), "{told}");
    assert_eq!(told.matches("launched").count(), 50);
    let times = kernels(&notes);
    assert_eq!(times.len(), 50);
    assert!(times.iter().all(|(begin, end)| before < *begin && *end < after));
    let total: u64 = times.iter().map(|(begin, end)| end - begin).sum();
    assert_eq!(total / 1000, 50 * 4000);
    let used: u64 = play.stage.ask_gpu("sm-time").unwrap().parse().unwrap();
    assert!(used.abs_diff(total / 2) < 10_000, "{used} of {total}");
}

#[test]
fn an_injection_that_cannot_be_loaded_does_no_harm() {
    let play = Play::with_server();
    for junk in ["/nonexistent.so", "/etc/passwd"] {
        play.client_with("spin --kernels 1", "CUDA_INJECTION64_PATH", junk).hears("done");
    }
}

/// An engine process that ends with the test.
struct Engine(Child);

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A play with two engines of this pace that serve.
fn engines(pace: &str) -> (Play, [Engine; 2]) {
    let mut options = play::options(2);
    options.pace = pace.split_whitespace().map(str::to_owned).collect();
    let play = Play::on(&options);
    play.start_server();
    let engines = ["qwen-a", "qwen-b"].map(|name| {
        let argv = play.stage.engine_command(name);
        let mut command = play.environment(Command::new(&argv[0]));
        command.env("MPSWARDEN_CUPTI", recorder()).env("RECORDER", notes(&play, name));
        let engine = Engine(command.args(&argv[1..]).stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        until("the engine serves", || http(&play, name, "GET /health", "").starts_with("HTTP/1.1 200"));
        engine
    });
    (play, engines)
}

fn http(play: &Play, engine: &str, what: &str, body: &str) -> String {
    let Ok(mut stream) = TcpStream::connect(play.stage.engine_address(engine).unwrap()) else { return String::new() };
    let length = body.len();
    let _ = write!(stream, "{what} HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

fn notes(play: &Play, engine: &str) -> PathBuf {
    play.stage.directory().join(format!("{engine}.notes"))
}

/// Seconds of GPU time, by its own count, that the first of these engines needs for such a request beside the others.
fn needs(play: &Play, engines: &[&str], body: &str) -> f64 {
    let _ = fs::remove_file(notes(play, engines[0]));
    thread::scope(|scope| {
        for engine in engines {
            scope.spawn(|| {
                let answer = http(play, engine, "POST /v1/completions", body);
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            });
        }
    });
    kernels(&notes(play, engines[0])).iter().map(|(begin, end)| (end - begin) as f64 / 1e9).sum()
}

/// What two engines get done together over what one does alone, if the host needs so many seconds beside the GPU.
fn gain(pace: &str, body: &str, host: f64) -> f64 {
    let (play, _engines) = engines(pace);
    let alone = host + needs(&play, &["qwen-a"], body);
    2.0 * alone / (host + needs(&play, &["qwen-a", "qwen-b"], body))
}

#[test]
fn two_engines_that_wait_for_their_cpu_get_nearly_twice_as_much_done() {
    let pace = "--step-gpu 10ms --demand 0.6 --step-cpu 20ms";
    let gain = gain(pace, r#"{"prompt": "a", "max_tokens": 40}"#, 40.0 * 0.020);
    assert!((1.7..=2.01).contains(&gain), "{gain}");
}

#[test]
fn two_engines_that_fill_the_gpu_get_done_what_one_does() {
    let gain = gain("--step-gpu 50ms --demand 1", r#"{"prompt": "a", "max_tokens": 20}"#, 0.0);
    assert!((0.99..1.4).contains(&gain), "{gain}");
}

#[test]
fn two_engines_that_read_long_prompts_get_done_what_one_does() {
    let body = r#"{"prompt": "a", "prompt_tokens": 10240, "max_tokens": 1}"#;
    let gain = gain("--chunk-gpu 50ms --step-gpu 4ms --demand 0.3", body, 0.0);
    assert!((0.99..1.4).contains(&gain), "{gain}");
}

#[test]
fn completions_are_served_as_load_generators_ask_for_them() {
    let (play, _engines) = engines("--tokens-per-second 20000");
    let body = r#"{"model": "m", "prompt": [1, 2, 3, 4, 5], "max_tokens": 2000, "stream": true, "temperature": 0,
        "ignore_eos": true, "stream_options": {"include_usage": true}}"#;
    let streamed = http(&play, "qwen-a", "POST /v1/completions", body);
    let events: Vec<&str> = streamed.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!((events.len(), events[2001]), (2002, "[DONE]"));
    let parsed = |place: usize| serde_json::from_str::<serde_json::Value>(events[place]).unwrap();
    assert_eq!(parsed(0)["choices"][0]["finish_reason"], serde_json::Value::Null);
    assert_eq!(parsed(1999)["choices"][0]["finish_reason"], "length");
    let usage = serde_json::json!({"prompt_tokens": 5, "completion_tokens": 2000, "total_tokens": 2005});
    assert_eq!((&parsed(2000)["usage"], parsed(2000)["choices"].as_array().unwrap().len()), (&usage, 0));
    let models = http(&play, "qwen-b", "GET /v1/models", "");
    assert!(models.contains(r#""id":"Qwen/Qwen2.5-1.5B-Instruct""#), "{models}");
    let nulls = r#"{"prompt": "a", "stream_options": null, "max_tokens": null}"#;
    let whole = http(&play, "qwen-b", "POST /v1/completions", nulls);
    assert!(whole.contains(r#""completion_tokens":16"#), "{whole}");
}
