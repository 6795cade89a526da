//! `mpswarden demo`: the same watchdog over a simulated GPU, MPS daemon and engines, with traffic and
//! faults. Only paths differ from `run`; the story of every event goes to stdout.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::cli::{DemoOptions, DriverLike, EnginesLike, ExitStatus, GpuKind, Injection};
use crate::config;
use crate::export::Story;
use crate::host::clock;
use crate::model::{Event, Request};
use crate::sim::{Dialect, GpuLike, Program, Stage, StageOptions, Traffic};

use super::build::Wishes;
use super::control::SocketWish;
use super::run::{open_log, supervise};
use super::signals;

/// The simulated engines' time to start: long enough for a restart to be seen.
const STARTUP: Duration = Duration::from_millis(1500);

/// Sets the stage, runs the watchdog over it for as long as asked, and takes everything away again. The
/// control socket is in its own directory unless the command line names another.
pub fn demo(options: DemoOptions, control_socket: Option<PathBuf>) -> ExitCode {
    let guard = match open_log(&options.log) {
        Ok(guard) => guard,
        Err(status) => return status.into(),
    };
    let status = play(&options, control_socket).unwrap_or_else(|why| {
        tracing::error!("the demo can't be played: {why}");
        ExitStatus::Software
    });
    drop(guard);
    status.into()
}

fn play(options: &DemoOptions, control_socket: Option<PathBuf>) -> io::Result<ExitStatus> {
    let directory = tempfile::Builder::new().prefix("mpswarden-").tempdir()?;
    let stage = Arc::new(set(directory.path(), options)?);
    if let Some(unknown) = unknown_engine(options, &stage) {
        tracing::error!("there is no engine `{unknown}`; there are {}", names(&stage).join(", "));
        return Ok(ExitStatus::Usage);
    }
    let listen = options.listen.first().map_or_else(|| "127.0.0.1:0".to_owned(), SocketAddr::to_string);
    let text = stage.configuration(&listen);
    let configuration = config::parse(&text, Path::new("demo.toml")).map_err(io::Error::other)?;
    let traffic = Traffic::of_stage(&stage)?;
    let (sender, requests) = unbounded_channel();
    let hangup = Arc::new(Notify::new());
    let (over, ended) = mpsc::channel::<()>();
    let story = Arc::new(Mutex::new(Story::for_stdout(clock::now())));
    let schedule = spawn_schedule(options, stage.clone(), story.clone(), sender.clone(), ended)?;
    let control_socket = SocketWish::of(control_socket, &directory.path().join("control.sock"));
    say(&format!("beside it: mpswarden --control-socket {} status", control_socket.path().display()));
    let wishes = Wishes {
        listen: options.listen.clone(),
        telemetry_path: options.telemetry_path.clone(),
        web_config_file: options.web_config_file.clone(),
        control_socket,
        requests,
        story: Some(tell(story)),
        file: None,
        hangup: hangup.clone(),
    };
    let status = supervise(&configuration, wishes, options.seed, |sender| signals::follow(sender, hangup), sender);
    drop(over);
    // A thread that panicked has injected all that it could.
    let _ = schedule.join();
    let (answered, failed) = traffic.finish();
    say(&format!("requests: {answered} answered, {failed} failed"));
    drop(stage);
    Ok(status)
}

fn set(directory: &Path, options: &DemoOptions) -> io::Result<Stage> {
    let program = std::env::current_exe()?;
    let mut wanted = StageOptions {
        engines: options.engines,
        seed: options.seed,
        startup: STARTUP,
        probe: true,
        faithful: options.engines_like.is_some(),
        gpu_like: gpu_like(options.gpu_like),
        driver: options.driver_like.map_or(Dialect::default(), dialect_of),
        ..StageOptions::lifelike(program)
    };
    match options.engines_like {
        Some(EnginesLike::Vllm) => wanted.kinds = vec![Program::Vllm],
        Some(EnginesLike::Sglang) => wanted.kinds = vec![Program::Sglang],
        Some(EnginesLike::Mixed) | None => {}
    }
    Stage::set(directory, &wanted)
}

fn gpu_like(kind: GpuKind) -> GpuLike {
    match kind {
        GpuKind::H200 => GpuLike::H200,
        GpuKind::Gb10 => GpuLike::Gb10,
        GpuKind::Pre510 => GpuLike::Pre510,
        GpuKind::Vgpu => GpuLike::Vgpu,
        GpuKind::R615 => GpuLike::R615,
        GpuKind::Container => GpuLike::Container,
        GpuKind::HostPids => GpuLike::HostPids,
    }
}

fn dialect_of(driver: DriverLike) -> Dialect {
    match driver {
        DriverLike::R450 => Dialect::R450,
        DriverLike::R470 => Dialect::R470,
        DriverLike::R535 => Dialect::R535,
        DriverLike::R580 => Dialect::R580,
        DriverLike::R615 => Dialect::R615,
    }
}

fn names(stage: &Stage) -> Vec<String> {
    stage.engine_names().map(str::to_owned).collect()
}

fn unknown_engine(options: &DemoOptions, stage: &Stage) -> Option<String> {
    let known = names(stage);
    options.injections.iter().filter_map(|injection| injection.engine.clone()).find(|name| !known.contains(name))
}

/// Injects each fault at its time and asks for the end at its own; ends early with the watchdog.
fn spawn_schedule(
    options: &DemoOptions,
    stage: Arc<Stage>,
    story: Arc<Mutex<Story>>,
    requests: UnboundedSender<Request>,
    ended: mpsc::Receiver<()>,
) -> io::Result<thread::JoinHandle<()>> {
    let (schedule, length, began) = (options.schedule(), options.length, Instant::now());
    let sleeps_until = move |at: Duration| {
        let wait = at.saturating_sub(began.elapsed());
        matches!(ended.recv_timeout(wait), Err(RecvTimeoutError::Timeout))
    };
    thread::Builder::new().name("schedule".to_owned()).spawn(move || {
        for injection in schedule {
            if !sleeps_until(injection.at) {
                return;
            }
            inject(&stage, &injection, &story);
        }
        if sleeps_until(length) {
            // The watchdog may have ended at this very moment.
            let _ = requests.send(Request::Stop);
        }
    })
}

fn inject(stage: &Stage, injection: &Injection, story: &Mutex<Story>) {
    let engine = injection.engine.as_deref();
    let aside = |word, what: &str| say(&lock(story).aside(clock::now(), word, engine.unwrap_or_default(), what));
    aside("INJECTED", &injection.fault);
    let done = injection.fault.parse().map_err(io::Error::other).and_then(|fault| stage.inject(fault, engine));
    if let Err(error) = done {
        aside("NOT INJECTED", &format!("{}: {error}", injection.fault));
    }
}

fn tell(story: Arc<Mutex<Story>>) -> Box<dyn FnMut(&Event)> {
    Box::new(move |event| {
        if let Some(line) = lock(&story).line(event) {
            say(&line);
        }
    })
}

fn lock(story: &Mutex<Story>) -> MutexGuard<'_, Story> {
    story.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes a line, and plays on where the reader is gone.
fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
