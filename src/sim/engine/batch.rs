//! Continuous batching: while requests run, one kernel a step gives each of them a token. One thread
//! speaks to the engine's core, and carries out the stage's orders between steps.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

use super::books::{Books, Done, Figures};
use super::dialect::{self, Dialect, Voice};
use super::ends;
use super::metrics::Manner;
use super::pace::{CHUNK, Pace, Step};
use crate::Args;

/// Requests that run at once; the others wait.
const PLACES: usize = 64;

/// A request in the batch.
struct Request {
    id: u64,
    /// Tokens of its prompt, and how many of them are still to be read. Counted once all are, as vLLM does.
    prompt: u64,
    unread: u64,
    tokens: u32,
    tokens_left: u32,
    to: Sender<()>,
    /// Its caller went away: it is in the batch until the step that runs is done.
    gone: bool,
    /// The engine's own, to see whether it is well: in no book.
    own: bool,
}

/// An order for the core; its giver may wait for its end.
struct Order {
    line: String,
    done: Sender<()>,
}

/// What requests, orders and the core did so far.
pub(super) struct State {
    requests: Vec<Request>,
    orders: Vec<Order>,
    next_id: u64,
    /// It has its dialect's words, and none of its other habits.
    pub plain: bool,
    /// The core has loaded its model.
    pub loaded: bool,
    /// The end of the core goes unnoticed.
    pub unaware: bool,
    /// The core is dead, or stays with a sticky error: no request can be served.
    pub dead: bool,
    /// The process of the core has ended.
    pub core_ended: bool,
    /// SIGTERM came.
    pub stopping: bool,
    /// The engine does not end after SIGTERM.
    pub term_hangs: bool,
    /// What users write stands in the log.
    pub log_requests: bool,
    /// Way in which requests for metrics are answered.
    pub manner: Manner,
    /// The books in which everything is counted.
    pub books: Books,
}

impl State {
    fn new(args: &Args, dialect: &dyn Dialect) -> State {
        State {
            requests: Vec::new(),
            orders: Vec::new(),
            next_id: 0,
            plain: args.has("plain"),
            loaded: false,
            unaware: false,
            dead: false,
            core_ended: false,
            stopping: false,
            term_hangs: false,
            log_requests: args.has("log-requests"),
            manner: Manner::default(),
            books: Books::new(dialect.counts_steps(), args.has("plain")),
        }
    }

    /// What the metrics show now.
    pub(super) fn figures(&mut self) -> Figures {
        let (running, waiting) = self.running_and_waiting();
        self.books.shown(running, waiting)
    }

    /// Requests that are not done.
    pub(super) fn requests(&self) -> usize {
        self.requests.iter().filter(|request| !request.own).count()
    }

    /// Takes out whose callers went away. Gauges stay as they were: they follow steps, and there may be none.
    fn let_go(&mut self) {
        let State { requests, books, .. } = self;
        for request in requests.extract_if(.., |request| request.gone).filter(|request| !request.own) {
            books.aborted(request.prompt, u64::from(request.tokens - request.tokens_left));
        }
    }

    /// Requests in the batch, and those that wait for a place.
    pub(super) fn running_and_waiting(&self) -> (usize, usize) {
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
pub(super) struct Batch {
    /// The model that it says it serves.
    pub model: String,
    /// Which engine it is like.
    pub dialect: &'static dyn Dialect,
    /// Bytes of device memory that a leak takes in a minute.
    pub leak: u64,
    shared: Arc<Shared>,
}

struct Shared {
    dialect: &'static dyn Dialect,
    state: Mutex<State>,
    news: Condvar,
    core: AtomicU32,
}

/// A request on its way. Whoever drops it has gone away, or needs no more.
pub(super) struct Ticket<'a> {
    /// The number by which its engine knows it.
    pub id: u64,
    /// Each token is one message, and the end of the channel is the end of it.
    pub tokens: Receiver<()>,
    batch: &'a Batch,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.batch.abort(self.id);
    }
}

/// A core that runs.
struct Core {
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Batch {
    /// Starts the core and waits until the model is loaded.
    pub(super) fn start(args: &Args) -> io::Result<Batch> {
        let dialect = dialect::named(args.text("speaks"));
        let model = args.text("model").or(args.text("name")).unwrap_or("engine").to_owned();
        let state = Mutex::new(State::new(args, dialect));
        let shared = Arc::new(Shared { dialect, state, news: Condvar::new(), core: AtomicU32::new(0) });
        dialect.say(Voice::Front, &dialect.begins(&model));
        let core = shared.start_core(args, false)?;
        shared.state().loaded = true;
        let leak = args.size("leak", 2560 << 20);
        let (worker, args) = (shared.clone(), args.clone());
        thread::spawn(move || worker.work(core, &args));
        Ok(Batch { model, dialect, leak, shared })
    }

    /// The pid of the process that is the GPU's client.
    pub(super) fn core(&self) -> u32 {
        self.shared.core.load(Ordering::Relaxed)
    }

    /// A look at the state.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    /// Adds a request of a user.
    pub(super) fn request(&self, prompt_tokens: u64, tokens: u32) -> Ticket<'_> {
        self.add(prompt_tokens, tokens, false)
    }

    /// Adds a request of the engine's own, for one token.
    pub(super) fn own_request(&self) -> Ticket<'_> {
        self.add(1, 1, true)
    }

    fn add(&self, prompt: u64, tokens: u32, own: bool) -> Ticket<'_> {
        let (to, received) = channel();
        let mut state = self.shared.state();
        state.next_id += 1;
        let id = state.next_id;
        if !state.dead {
            let request = Request { id, prompt, unread: prompt, tokens, tokens_left: tokens, to, gone: false, own };
            state.requests.push(request);
        }
        self.shared.news.notify_all();
        Ticket { id, tokens: received, batch: self }
    }

    /// A caller went away; of a request that is done there is nothing to say.
    fn abort(&self, id: u64) {
        let mut state = self.shared.state();
        if let Some(request) = state.requests.iter_mut().find(|request| request.id == id) {
            request.gone = true;
        }
        self.shared.news.notify_all();
    }

    /// Takes no request any more, and those that are there get no further token.
    pub(super) fn fail_all(&self) {
        self.shared.fail_all();
    }

    /// Gives the core an order; the channel ends when it has been carried out.
    pub(super) fn order(&self, line: &str) -> Receiver<()> {
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
        for option in ["gpu", "name", "memory", "startup", "speaks", "model"] {
            command.args(args.text(option).map(|value| [format!("--{option}"), value.to_owned()]).iter().flatten());
        }
        command.args(args.has("plain").then_some("--plain"));
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
        // However it ended: it is gone.
        let _ = child.wait();
        if self.core.load(Ordering::Relaxed) != child.id() {
            return;
        }
        let (noticed, loaded, plain) = {
            let mut state = self.state();
            state.core_ended = true;
            (!state.unaware && !state.stopping, state.loaded, state.plain)
        };
        if noticed {
            self.fail_all();
            self.dialect.say(Voice::Front, &self.dialect.lost_its_core(child.id()));
            ends::end_as(if loaded && !plain { self.dialect.end() } else { ends::PLAIN });
        }
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
        let idle = |state: &mut State| {
            state.let_go();
            state.orders.is_empty() && state.requests.is_empty()
        };
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

    /// A step is done: some more of the prompts is read, and each request whose prompt is read gets a token.
    fn hand_out_tokens(&self, running: usize) {
        let mut state = self.state();
        let mut done = Done::default();
        let mut chunk = CHUNK;
        for request in state.requests.iter_mut().take(running) {
            request.go_on(&mut chunk, &mut done);
        }
        let State { requests, books, .. } = &mut *state;
        for request in requests.extract_if(.., |request| request.tokens_left == 0).filter(|request| !request.own) {
            books.ended(request.prompt, u64::from(request.tokens));
        }
        (done.running, done.waiting) = state.running_and_waiting();
        let told = state.books.step(done).and_then(|work| self.dialect.batch(&work));
        drop(state);
        if let Some(line) = told {
            self.dialect.say(Voice::Core, &[line]);
        }
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
    /// Reads some more of the prompt, as far as the step's chunk goes, or gets a token.
    fn go_on(&mut self, chunk: &mut u64, done: &mut Done) {
        let reads = self.unread.min(*chunk);
        *chunk -= reads;
        self.unread -= reads;
        if self.unread > 0 {
            return;
        }
        if !self.own {
            done.generated += 1;
            done.prompts += usize::from(reads > 0);
            done.prompt += if reads > 0 { self.prompt } else { 0 };
        }
        self.tokens_left = self.tokens_left.saturating_sub(1);
        // A caller who does not listen any more is about to be dropped.
        let _ = self.to.send(());
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
