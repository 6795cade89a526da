//! Requests to the engines of a stage, all along, as users would send them; and what became of them.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::chance::Chance;
use super::silence::Silence;
use super::stage::Stage;

/// Upper bound for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Users wait so long for the next piece of an answer, over the time that their prompt takes to be read.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two looks whether the traffic has ended, for a task that waits.
const LOOK: Duration = Duration::from_millis(500);
/// Pause between two requests to one engine.
const PAUSE: Duration = Duration::from_millis(50);
/// Pause after a request that failed: its engine is down.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(500);
/// Tokens that a request asks for.
const TOKENS: u32 = 8;
/// Length of a prompt that is not worth speaking of.
const SHORT: u64 = 3;
/// Requests that come at once: more than an engine has places for.
const BURST: usize = 80;
/// Prompt tokens that an engine reads in a second.
const READS: u64 = 50_000;

/// Traffic that is under way. Dropping it ends it.
#[derive(Debug)]
pub struct Traffic {
    end: Arc<AtomicBool>,
    counts: Arc<Counts>,
    threads: Vec<JoinHandle<()>>,
}

/// How requests ended so far.
#[derive(Debug, Default)]
struct Counts {
    answered: AtomicU64,
    failed: AtomicU64,
}

/// Who sends requests to one engine.
struct Sender {
    engine: SocketAddr,
    silence: Silence,
    end: Arc<AtomicBool>,
    counts: Arc<Counts>,
}

impl Traffic {
    /// Sends one streaming completion after the other to each of the engines, from when it first takes one.
    pub fn start(engines: impl IntoIterator<Item = SocketAddr>) -> io::Result<Traffic> {
        Traffic::with(engines, &Silence::default(), |_| Sender::lively)
    }

    /// The same to all engines of a stage, but for those that get none for a while, because the stage says so.
    pub fn of_stage(stage: &Stage) -> io::Result<Traffic> {
        let engines = stage.engine_names().filter_map(|name| stage.engine_address(name));
        Traffic::with(engines, stage.silence(), |_| Sender::lively)
    }

    /// Sends requests as users do: a while of this and a while of that, by the seed. Some now and then, many at
    /// once, prompts that take up to `longest_prompt` to be read, and nothing at all for a while.
    pub fn of_users(
        engines: impl IntoIterator<Item = SocketAddr>,
        seed: u64,
        longest_prompt: Duration,
    ) -> io::Result<Traffic> {
        Traffic::with(engines, &Silence::default(), |place| {
            let chance = Chance::new(seed.wrapping_add(place));
            move |sender: &Sender| sender.as_users(chance, longest_prompt)
        })
    }

    fn with<S: FnOnce(&Sender) + Send + 'static>(
        engines: impl IntoIterator<Item = SocketAddr>,
        silence: &Silence,
        mut manner: impl FnMut(u64) -> S,
    ) -> io::Result<Traffic> {
        let mut traffic = Traffic { end: Arc::default(), counts: Arc::default(), threads: Vec::new() };
        for (place, engine) in (0..).zip(engines) {
            let (silence, end) = (silence.clone(), traffic.end.clone());
            let sender = Sender { engine, silence, end, counts: traffic.counts.clone() };
            let send = manner(place);
            let thread = thread::Builder::new().name(format!("traffic-{engine}"));
            traffic.threads.push(thread.spawn(move || send(&sender))?);
        }
        Ok(traffic)
    }

    /// Ends it and says how many requests were answered and how many failed.
    pub fn finish(mut self) -> (u64, u64) {
        self.join();
        (self.counts.answered.load(Ordering::Relaxed), self.counts.failed.load(Ordering::Relaxed))
    }

    fn join(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A thread that panicked has nothing left to end.
            let _ = thread.join();
        }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.join();
    }
}

impl Sender {
    fn goes_on(&self) -> bool {
        !self.end.load(Ordering::Relaxed)
    }

    /// One request after the other, from when the engine first takes any.
    fn lively(&self) {
        while self.goes_on() && TcpStream::connect_timeout(&self.engine, CONNECT).is_err() {
            self.wait(PAUSE);
        }
        while self.goes_on() {
            self.send(SHORT, PAUSE);
        }
    }

    fn as_users(&self, mut chance: Chance, longest_prompt: Duration) {
        while self.goes_on() {
            match chance.below(8) {
                0 => self.wait(chance.millis(1_000, 8_000)),
                1 => self.burst(),
                2 => {
                    let takes = longest_prompt.mul_f64(chance.share());
                    self.send(READS * takes.as_millis() as u64 / 1000, PAUSE);
                }
                _ => self.steadily(&mut chance),
            }
        }
    }

    /// Some requests, with waits between them that are mostly short and sometimes long.
    fn steadily(&self, chance: &mut Chance) {
        for _ in 0..20 {
            let wait = -(1.0 - chance.share()).ln() * 0.15;
            self.send(SHORT, Duration::from_secs_f64(wait));
            if !self.goes_on() {
                return;
            }
        }
    }

    fn burst(&self) {
        thread::scope(|scope| {
            for _ in 0..BURST {
                // One that can't be sent is not missed.
                let _ = thread::Builder::new().spawn_scoped(scope, || self.send(SHORT, Duration::ZERO));
            }
        });
    }

    /// One request, and a pause after it.
    fn send(&self, prompt_tokens: u64, pause: Duration) {
        if self.silence.is_around(self.engine) {
            return self.wait(PAUSE_AFTER_FAILURE);
        }
        let (count, pause) = match self.complete(prompt_tokens) {
            Ok(()) => (&self.counts.answered, pause),
            // It went away by itself.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return,
            Err(_) => (&self.counts.failed, PAUSE_AFTER_FAILURE),
        };
        count.fetch_add(1, Ordering::Relaxed);
        self.wait(pause);
    }

    /// Waits, but not for longer than the traffic lasts.
    fn wait(&self, time: Duration) {
        let until = Instant::now() + time;
        while self.goes_on() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::sleep(left.min(PAUSE_AFTER_FAILURE));
        }
    }

    /// One streaming completion, read to its end; or until silence begins.
    fn complete(&self, prompt_tokens: u64) -> io::Result<()> {
        let mut stream = ask(self.engine, prompt_tokens)?;
        let patience = PATIENCE + 2 * Duration::from_secs(prompt_tokens / READS);
        let mut answer = Vec::new();
        while self.read(&mut stream, &mut answer, patience)? {}
        let answer = String::from_utf8_lossy(&answer);
        let whole = answer.starts_with("HTTP/1.1 200") && answer.contains("data: [DONE]");
        if whole { Ok(()) } else { Err(io::Error::other("no whole answer")) }
    }

    /// Reads the next piece of an answer; `false`: that was all of it.
    fn read(&self, stream: &mut TcpStream, answer: &mut Vec<u8>, patience: Duration) -> io::Result<bool> {
        let (until, mut piece) = (Instant::now() + patience, [0; 4096]);
        loop {
            let read = stream.read(&mut piece);
            if self.silence.is_around(self.engine) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            match read {
                Ok(length) => {
                    answer.extend_from_slice(&piece[..length]);
                    return Ok(length > 0);
                }
                Err(error) if error.kind() != io::ErrorKind::WouldBlock || Instant::now() >= until => {
                    return Err(error);
                }
                Err(_) if self.goes_on() => {}
                Err(_) => return Err(io::ErrorKind::Interrupted.into()),
            }
        }
    }
}

/// Sends a request for a streaming completion.
fn ask(address: SocketAddr, prompt_tokens: u64) -> io::Result<TcpStream> {
    let body =
        format!(r#"{{"prompt":"How are you?","prompt_tokens":{prompt_tokens},"max_tokens":{TOKENS},"stream":true}}"#);
    send(address, &body, LOOK)
}

/// Sends this completion to an engine; each read of the answer takes `patience` at most.
pub(super) fn send(address: SocketAddr, body: &str, patience: Duration) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&address, CONNECT)?;
    stream.set_read_timeout(Some(patience))?;
    let length = body.len();
    write!(
        stream,
        "POST /v1/completions HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )?;
    Ok(stream)
}
