//! What engines print is a word: it makes the watchdog ask, and it is worth something once a fact agrees.
//!
//! A fatal error is confirmed by the server's own line, its FAULT state or its end, or by the end of the engine's own
//! client soon after it. It is refuted by facts younger than the line: the same client still listed, and at work. The
//! server's ACTIVE alone refutes nothing, since it is ACTIVE again within 165 ms of a fault.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{Doubt, EngineKey, Fault, LinePlace, Moment, Saying, ServerState, What};

use super::domain::Domain;
use super::engine::{Engine, Stage};
use super::evicted::{self, TERMINATED};
use super::kept_out::{UNAVAILABLE, is_over_limit};
use super::said::{Doubted, Run, Standing};
use super::shortage::{OUT_OF_MEMORY, SOON};
use super::turn::Turn;
use crate::decide::facts::reading::READING_FRESH;

/// The culprit's error may be read so long before the server's fatal line.
pub(super) const NEAR: Duration = Duration::from_millis(50);
/// Whoever loses its context ends or leaves the server within this of its error, if it does not stay.
const ENDS_WITHIN: Duration = Duration::from_secs(10);
/// A FAULT state or the server's end is of errors so long before it at most.
const OF_THE_SERVER: Duration = Duration::from_secs(5);
/// An answer to a control command may be so old when it comes.
const OLDEST_ANSWER: Duration = Duration::from_secs(3);
/// The same error of the same engine is told so often at most, and so are its doubts.
const TELL_AGAIN: Duration = Duration::from_secs(60);
/// So long after a fatal word the server is asked at once, then at leisure, until the word is decided.
const AT_ONCE: Duration = Duration::from_secs(2);
const AT_LEISURE: Duration = Duration::from_secs(5);

/// What is told of one engine's error lines, and counted since the watchdog's start.
#[derive(Clone, Debug, Default)]
pub(super) struct Telling {
    /// When each code was last told.
    errors: BTreeMap<u32, Moment>,
    doubts: BTreeMap<(u32, Doubt), Count>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    lines: u64,
    untold: u64,
    told: Option<Moment>,
}

impl Telling {
    /// Whether an error is to be told now.
    fn error(&mut self, code: u32, now: Moment) -> bool {
        let due = self.errors.get(&code).is_none_or(|told| now.since(*told) >= TELL_AGAIN);
        if due {
            self.errors.insert(code, now);
        }
        due
    }

    /// Counts lines that were doubted; how many are to be told now.
    fn doubt(&mut self, (code, how, lines): Doubted, now: Moment) -> Option<u64> {
        let count = self.doubts.entry((code, how)).or_default();
        count.lines = count.lines.saturating_add(lines);
        count.untold = count.untold.saturating_add(lines);
        let due = count.told.is_none_or(|told| now.since(told) >= TELL_AGAIN);
        due.then(|| {
            count.told = Some(now);
            std::mem::take(&mut count.untold)
        })
    }

    /// Lines that were doubted since the watchdog's start, by their code.
    pub fn counted(&self) -> Vec<(u32, Doubt, u64)> {
        self.doubts.iter().map(|((code, how), count)| (*code, *how, count.lines)).collect()
    }
}

impl Domain {
    /// A line of an engine's output was recognized.
    pub fn heard(&mut self, key: &EngineKey, saying: Saying, place: &LinePlace, turn: &mut Turn<'_>) {
        match saying {
            Saying::Error(code) => self.heard_error(key, code, place, turn),
            Saying::Allocated => self.of_a_start(key, |engine| engine.instance.output.allocated = Some(turn.now)),
            Saying::WantsGpuByIndex => self.of_a_start(key, |engine| engine.instance.output.wants_index = true),
        }
    }

    fn of_a_start(&mut self, key: &EngineKey, note: impl FnOnce(&mut Engine)) {
        let starts = |engine: &&mut Engine| matches!(engine.stage, Stage::Launching(_) | Stage::Starting);
        if let Some(engine) = self.engine_mut(&key.engine).filter(starts) {
            note(engine);
        }
    }

    fn heard_error(&mut self, key: &EngineKey, code: u32, place: &LinePlace, turn: &mut Turn<'_>) {
        let now = turn.now;
        if is_context_fatal(code) {
            self.ask_server = Some(now);
        }
        if code == OUT_OF_MEMORY {
            self.ran_out(key, place, turn);
        }
        let listed = self.server.clients.last().cloned().unwrap_or_default();
        let Some(engine) = self.engine_mut(&key.engine) else { return };
        let clients = clients_of(engine, &listed);
        // What comes out of it while its group is ended is of what it is ended for.
        if is_judged(code) && engine.stage != Stage::Fallen {
            engine.instance.output.said.error(code, || clients, now);
        }
        if is_over_limit(code) || code == UNAVAILABLE {
            engine.instance.output.over_limit = engine.instance.output.over_limit.or(Some((now, code)));
        }
        if engine.telling.error(code, now) {
            turn.emit_of(&key.engine, What::CudaError { code, place: place.clone() });
        }
        if is_context_fatal(code) {
            self.suspects.error(&key.engine, code, now);
        }
    }

    /// Holds every open word against what is known.
    pub fn judge_words(&mut self, turn: &mut Turn<'_>) {
        let server = self.server_lost();
        let sound = server.is_none() && self.server.state.last() == Some(&ServerState::Active);
        let listed = self.server.clients.last().cloned().unwrap_or_default();
        let asked = self.server.clients_asked;
        let full = self.is_full() || self.server.full.is_some();
        let reading = turn.gpu.reading.fresh(READING_FRESH, turn.now);
        let mut doubted = Vec::new();
        let server_gone = server.is_some();
        for engine in &mut self.engines {
            if engine.instance.output.said.open().next().is_none() {
                continue;
            }
            let lost = engine.lost_its_context();
            let (left, ended) =
                (engine.instance.gpu.left.filter(|_| lost.is_some()), engine.instance.process.ended.map(|(at, _)| at));
            let short = reading.is_some_and(|reading| engine.is_out_of_memory(reading));
            if short && engine.instance.output.said.open().any(|run| run.code == OUT_OF_MEMORY) {
                engine.instance.shortage.at_its_limit(turn.now);
            }
            engine.instance.output.said.confirm(|run| match run.code {
                TERMINATED => evicted::agrees(run, left, ended, server_gone),
                _ => confirms(run, server, lost, short, full),
            });
            let worked = engine.worked().filter(|_| sound).map(|worked| worked.from);
            let from = worked.zip(asked).map(|(worked, asked)| worked.min(asked.before(OLDEST_ANSWER)));
            let there = |run: &Run| !run.clients.is_empty() && run.clients.iter().all(|client| listed.contains(client));
            let mut all = engine.instance.output.said.refute(|run| from.filter(|_| there(run)));
            all.extend(engine.instance.output.said.give_up(turn.now));
            doubted.extend(all.into_iter().map(|doubted| (engine.name().clone(), doubted)));
        }
        for (name, doubted) in doubted {
            let Some(engine) = self.engine_mut(&name) else { continue };
            engine.doubts(doubted, turn);
        }
        self.judge_lost_server();
    }

    /// A server that says FAULT without a fatal line, and of which every error of its clients says that it is gone, is
    /// being torn down: no kernel went wrong. Its clients' ends do not change that.
    fn judge_lost_server(&mut self) {
        let torn_down = self.server.says_fault().is_some() && self.server.fatal.is_none();
        let runs =
            || self.engines.iter().flat_map(|engine| engine.instance.output.said.all()).filter(is_confirmed_fatal);
        let kernel_failed = runs().any(|run| !is_of_a_lost_server(run.code));
        let first = runs().map(|run| (run.first, run.code)).min();
        self.server.dying = self.server.dying.or(first).filter(|_| torn_down && !kernel_failed);
    }

    /// When the server and all its clients' contexts were lost; `None`: they were not, as far as the server says.
    fn server_lost(&self) -> Option<ServerLost> {
        let server = &self.server;
        let fatal = server.fatal.map(|fatal| ServerLost { at: fatal.at, before: NEAR });
        let later = server.died.or(server.says_fault()).or(self.control.died.map(|(at, _)| at));
        fatal.or(later.map(|at| ServerLost { at, before: OF_THE_SERVER }))
    }

    /// When an engine first printed a fatal error that a fact has confirmed.
    pub fn confirmed_word(&self) -> Option<Moment> {
        let runs =
            self.engines.iter().filter(|engine| engine.alive()).flat_map(|engine| engine.instance.output.said.all());
        runs.filter(is_confirmed_fatal).map(|run| run.first).min()
    }

    /// How often the server and its clients are to be asked because of a word; `None`: no word is open.
    pub fn word_asks(&self, now: Moment) -> Option<Duration> {
        let open = || self.engines.iter().flat_map(|engine| engine.instance.output.said.open());
        open().next()?;
        let fatal = open().filter(|run| is_context_fatal(run.code) || run.code == TERMINATED).map(|run| run.last).max();
        Some(if fatal.is_some_and(|last| now.since(last) < AT_ONCE) { Duration::ZERO } else { AT_LEISURE })
    }

    /// When time alone decides a word, or lets it be asked about less often.
    pub fn words_deadline(&self, now: Moment) -> Option<Moment> {
        let of = |engine: &Engine| {
            let calm =
                engine.instance.output.said.open().map(|run| run.last.after(AT_ONCE)).filter(|at| *at > now).min();
            engine.instance.output.said.deadline().into_iter().chain(calm).min()
        };
        self.engines.iter().filter_map(of).min()
    }

    /// Whether an engine of the group printed errors in the time before that no fact confirmed: then no engine's words
    /// accuse anybody.
    pub fn words_are_doubtful(&self, from: Moment, to: Moment) -> bool {
        self.engines.iter().any(|engine| engine.instance.output.said.is_doubtful(from, to))
    }
}

/// The server's word on its own end, and how long before it errors are of it.
#[derive(Clone, Copy)]
struct ServerLost {
    at: Moment,
    before: Duration,
}

/// Whether a fact agrees with a run of lines.
fn confirms(run: &Run, server: Option<ServerLost>, lost: Option<Moment>, short: bool, full: bool) -> bool {
    match run.code {
        OUT_OF_MEMORY => short || lost.is_some_and(|at| at.since(run.last) <= SOON && run.first <= at),
        UNAVAILABLE => full,
        code if is_over_limit(code) => full,
        _ => {
            let of_the_server = server.is_some_and(|lost| run.first.after(lost.before) >= lost.at);
            of_the_server || lost.is_some_and(|at| at.since(run.last) <= ENDS_WITHIN && run.first <= at.after(NEAR))
        }
    }
}

impl Engine {
    /// When its main process ended, or its client left the server, without an order of the watchdog.
    pub fn lost_its_context(&self) -> Option<Moment> {
        if matches!(self.stage, Stage::Ending(_) | Stage::Fallen) && self.died.as_ref().is_none_or(Engine::was_ordered)
        {
            return None;
        }
        let ended = self.instance.process.ended.map(|(at, _)| at);
        [ended, self.instance.gpu.left, self.instance.gpu.processes.gone()].into_iter().flatten().min()
    }

    fn was_ordered(died: &super::engine::Died) -> bool {
        died.fault != Fault::EngineDied
    }

    /// Counts error lines that no fact confirmed, and tells of them now and then.
    fn doubts(&mut self, doubted: Doubted, turn: &mut Turn<'_>) {
        let (code, how, _) = doubted;
        if code == OUT_OF_MEMORY && how == Doubt::Refuted {
            self.instance.shortage.refuted();
        }
        if let Some(lines) = self.telling.doubt(doubted, turn.now) {
            turn.emit_of(&self.policy.name, What::Doubted { code, how, lines });
        }
    }

    /// Counts the error lines that no fact confirmed or refuted while the incarnation lasted.
    pub fn count_undecided_words(&mut self, now: Moment) {
        for doubted in self.instance.output.said.end() {
            self.telling.doubt(doubted, now);
        }
    }
}

fn clients_of(engine: &Engine, listed: &BTreeSet<u32>) -> Vec<u32> {
    engine.instance.processes().iter().map(|process| process.pid).filter(|pid| listed.contains(pid)).collect()
}

/// CUDA errors after which no context of the same server can be used: 700 to 720 (a kernel's fault), and
/// 805 to 807 (the server or the daemon is gone or in teardown). Out of memory (2), and a server that takes no
/// more clients (46, 808, 809), are the caller's alone.
pub(super) fn is_context_fatal(code: u32) -> bool {
    matches!(code, 700..=720 | 805..=807)
}

/// A fatal error that a fact has confirmed.
fn is_confirmed_fatal(run: &&Run) -> bool {
    run.standing == Standing::Confirmed && is_context_fatal(run.code)
}

/// CUDA errors that mean that the server or its daemon is gone, not that a kernel went wrong.
pub(super) fn is_of_a_lost_server(code: u32) -> bool {
    matches!(code, 805..=807)
}

/// Errors of which something would follow. The others are told.
fn is_judged(code: u32) -> bool {
    is_context_fatal(code) || code == TERMINATED || code == OUT_OF_MEMORY || code == UNAVAILABLE || is_over_limit(code)
}
