//! Continuous batching: while requests run, one kernel a step gives each of them a token. One thread
//! speaks to the engine's core, and carries out the stage's orders between steps.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use super::metrics::{Dialect, Manner};
use super::pace::{CHUNK, Pace, Step};
use crate::sim::Args;

/// Requests that run at once; the others wait.
const PLACES: usize = 64;
/// Between the core's end and the engine's.
const LAST_WORDS: Duration = Duration::from_millis(150);

/// A request in the batch.
struct Request {
    /// Tokens of its prompt, and how many of them are still to be read. Counted once all are, as vLLM does.
    prompt: u64,
    unread: u64,
    tokens_left: u32,
    to: Sender<()>,
}

/// An order for the core; whoever gave it may wait for its end.
struct Order {
    line: String,
    done: Sender<()>,
}

/// What requests, orders and the core did so far.
#[derive(Default)]
pub struct State {
    requests: Vec<Request>,
    orders: Vec<Order>,
    /// The end of the core goes unnoticed.
    pub unaware: bool,
    /// The core is dead, or stays with a sticky error: no request can be served.
    pub dead: bool,
    /// What becomes of whoever asks for metrics.
    pub manner: Manner,
    /// Requests whose cache the core had filled when it last said so.
    pub cached: usize,
    pub prompt_tokens: u64,
    pub generation_tokens: u64,
    /// Requests that got all their tokens, and those whose caller went away.
    pub ended: u64,
    pub aborted: u64,
}

impl State {
    /// Requests in the batch, and those that wait for a place.
    pub fn running_and_waiting(&self) -> (usize, usize) {
        let running = self.requests.len().min(PLACES);
        (running, self.requests.len() - running)
    }

    /// What the next step has to do.
    fn next_step(&self) -> Step {
        let requests = self.running_and_waiting().0;
        let running = || self.requests.iter().take(requests);
        let unread: u64 = running().map(|request| request.unread).sum();
        let decodes = running().filter(|request| request.unread == 0).count();
        Step { requests, decodes, reads: unread.min(CHUNK) }
    }
}

/// The engine's requests and its core.
pub struct Batch {
    /// The model that it says it serves.
    pub model: String,
    /// How its metrics are named.
    pub dialect: Dialect,
    /// Bytes of device memory that a leak takes in a minute.
    pub leak: u64,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    news: Condvar,
    core: AtomicU32,
}

/// A core that runs.
struct Core {
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Batch {
    /// Starts the core and waits until the model is loaded.
    pub fn start(args: &Args) -> io::Result<Batch> {
        let shared = Arc::new(Shared { state: Mutex::default(), news: Condvar::new(), core: AtomicU32::new(0) });
        let core = shared.start_core(args, false)?;
        let model = args.text("model").or(args.text("name")).unwrap_or("engine").to_owned();
        let dialect = Dialect::named(args.text("speaks"));
        let leak = args.size("leak", 2560 << 20);
        let (worker, args) = (shared.clone(), args.clone());
        thread::spawn(move || worker.work(core, &args));
        Ok(Batch { model, dialect, leak, shared })
    }

    /// The pid of the process that is the GPU's client.
    pub fn core(&self) -> u32 {
        self.shared.core.load(Ordering::Relaxed)
    }

    /// A look at the state.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    /// Adds a request; each token is one message, and the end of the channel is the end of it.
    pub fn request(&self, prompt_tokens: u64, tokens: u32) -> Receiver<()> {
        let (to, received) = channel();
        let mut state = self.shared.state();
        if !state.dead {
            state.requests.push(Request { prompt: prompt_tokens, unread: prompt_tokens, tokens_left: tokens, to });
        }
        self.shared.news.notify_all();
        received
    }

    /// Gives the core an order; the channel ends when it has been carried out.
    pub fn order(&self, line: &str) -> Receiver<()> {
        let (done, carried_out) = channel();
        self.shared.state().orders.push(Order { line: line.to_owned(), done });
        self.shared.news.notify_all();
        carried_out
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn start_core(self: &Arc<Self>, args: &Args, outside: bool) -> io::Result<Core> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["sim", "engine-core"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        for option in ["gpu", "name", "memory", "startup"] {
            command.args(args.text(option).map(|value| [format!("--{option}"), value.to_owned()]).iter().flatten());
        }
        if outside {
            command.env("CUDA_MPS_PIPE_DIRECTORY", "/nonexistent");
        }
        let mut child = command.spawn()?;
        self.core.store(child.id(), Ordering::Relaxed);
        let missing = || io::Error::other("the core has no pipe");
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let stdout = BufReader::new(child.stdout.take().ok_or_else(missing)?);
        let mut core = Core { stdin, stdout };
        let waiter = self.clone();
        thread::spawn(move || waiter.outlive(child));
        core.answer()?;
        Ok(core)
    }

    /// The engine ends shortly after its core, unless another has taken its place.
    fn outlive(&self, mut child: Child) {
        let status = child.wait();
        if self.core.load(Ordering::Relaxed) != child.id() || self.state().unaware {
            return;
        }
        self.fail_all();
        eprintln!("ERROR: EngineCore died: {}", describe(&status));
        thread::sleep(LAST_WORDS);
        std::process::exit(1);
    }

    fn fail_all(&self) {
        let mut state = self.state();
        state.dead = true;
        state.requests.clear();
        state.orders.clear();
    }

    fn work(self: Arc<Self>, mut core: Core, args: &Args) {
        let pace = Pace::of(args);
        loop {
            match self.next_order() {
                Some(order) if order.line == "outside" => match self.move_outside(args) {
                    Ok(other) => core = other,
                    Err(_) => return,
                },
                Some(order) => {
                    if self.tell(&mut core, &order.line).is_err() {
                        return;
                    }
                    drop(order.done);
                }
                None => {
                    if self.step(&mut core, &pace).is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Waits for something to do: an order, or (`None`) requests to serve.
    fn next_order(&self) -> Option<Order> {
        let idle = |state: &mut State| state.orders.is_empty() && state.requests.is_empty();
        let mut state = self.news.wait_while(self.state(), idle).unwrap_or_else(|poisoned| poisoned.into_inner());
        if state.orders.is_empty() { None } else { Some(state.orders.remove(0)) }
    }

    /// Whether the core did it; one that stays after an error serves no request any more.
    fn tell(&self, core: &mut Core, line: &str) -> io::Result<bool> {
        writeln!(core.stdin, "{line}")?;
        let done = core.answer()? == "done";
        if !done {
            self.fail_all();
        }
        Ok(done)
    }

    /// One step for the requests that are there at its begin.
    fn step(&self, core: &mut Core, pace: &Pace) -> io::Result<()> {
        let step = self.state().next_step();
        for launch in pace.launches(step) {
            if !self.tell(core, &launch)? {
                return Ok(());
            }
        }
        thread::sleep(pace.host_time(step));
        self.hand_out_tokens(step.requests);
        Ok(())
    }

    /// A step is done: some more of the prompts is read, and whoever has read his gets a token.
    fn hand_out_tokens(&self, running: usize) {
        let mut state = self.state();
        let State { requests, prompt_tokens, generation_tokens, ended, aborted, .. } = &mut *state;
        let mut chunk = CHUNK;
        for request in requests.iter_mut().take(running) {
            *prompt_tokens += request.read(&mut chunk);
            if request.unread > 0 {
                continue;
            }
            *generation_tokens += 1;
            request.tokens_left = request.tokens_left.saturating_sub(1);
            if request.to.send(()).is_err() {
                request.tokens_left = 0;
                *aborted += 1;
            } else if request.tokens_left == 0 {
                *ended += 1;
            }
        }
        requests.retain(|request| request.tokens_left > 0);
        state.cached = state.running_and_waiting().0;
    }

    /// Another core takes the place of this one, where no control daemon is: it runs outside MPS.
    fn move_outside(self: &Arc<Self>, args: &Args) -> io::Result<Core> {
        let old = nix::unistd::Pid::from_raw(self.core.load(Ordering::Relaxed).cast_signed());
        let other = self.start_core(args, true)?;
        nix::sys::signal::kill(old, nix::sys::signal::Signal::SIGKILL)?;
        Ok(other)
    }
}

impl Request {
    /// Reads what is left of the prompt, as far as the step's chunk goes; gives what is to be counted now.
    fn read(&mut self, chunk: &mut u64) -> u64 {
        let reads = self.unread.min(*chunk);
        *chunk -= reads;
        self.unread -= reads;
        if reads > 0 && self.unread == 0 { self.prompt } else { 0 }
    }
}

impl Core {
    fn answer(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.stdout.read_line(&mut line)? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the engine's core died")),
            _ => Ok(line.trim_end().to_owned()),
        }
    }
}

fn describe(status: &io::Result<ExitStatus>) -> String {
    status.as_ref().map_or_else(ToString::to_string, ToString::to_string)
}
