//! What engines print is a word: it makes the watchdog ask, and it is worth something once a fact agrees.
//!
//! A fatal error is confirmed by the server's own line, its FAULT state or its end, or by the end of the engine's own
//! client soon after it. It is refuted by facts younger than the line: the same client still listed, and at work. The
//! server's ACTIVE alone refutes nothing, since it is ACTIVE again within 165 ms of a fault.

use std::time::Duration;

use crate::decide::domain::state::Domain;
use crate::decide::facts::engine::Engine;
use crate::decide::facts::engine::words::clients_of;
use crate::decide::facts::evicted;
use crate::decide::facts::evicted::TERMINATED;
use crate::decide::facts::kept_out::{UNAVAILABLE, is_over_limit};
use crate::decide::facts::reading::READING_FRESH;
use crate::decide::facts::said::{Run, RunState};
use crate::decide::facts::scene::Scene;
use crate::decide::facts::shortage::{OUT_OF_MEMORY, SOON};
use crate::decide::facts::stage::Stage;
use crate::decide::facts::words::{NEAR, ServerLost, is_context_fatal, is_of_a_lost_server};
use crate::decide::turn::Turn;
use crate::model::{EngineName, LinePlace, Moment, Saying, ServerState, What};

impl Scene {
    fn of_a_start(&mut self, name: &EngineName, note: impl FnOnce(&mut Engine)) {
        let starts = |engine: &&mut Engine| matches!(engine.stage, Stage::Launching(_) | Stage::Starting);
        if let Some(engine) = self.engine_mut(name).filter(starts) {
            note(engine);
        }
    }

    /// Holds every open word against what is known.
    pub(crate) fn judge_words(&mut self, turn: &mut Turn<'_>) {
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
                TERMINATED => evicted::agrees(run, left.filter(|_| !server_gone), ended),
                OUT_OF_MEMORY if short => true,
                code if code == UNAVAILABLE || is_over_limit(code) => full,
                _ => confirms(run, server, lost),
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
    pub(crate) fn confirmed_word(&self) -> Option<Moment> {
        let runs =
            self.engines.iter().filter(|engine| engine.alive()).flat_map(|engine| engine.instance.output.said.all());
        runs.filter(is_confirmed_fatal).map(|run| run.first).min()
    }

    /// How often the server and its clients are to be asked because of a word; `None`: no word is open.
    pub(crate) fn word_asks(&self, now: Moment) -> Option<Duration> {
        let open = || self.engines.iter().flat_map(|engine| engine.instance.output.said.open());
        open().next()?;
        let fatal = open().filter(|run| is_context_fatal(run.code) || run.code == TERMINATED).map(|run| run.last).max();
        Some(if fatal.is_some_and(|last| now.since(last) < AT_ONCE) { Duration::ZERO } else { AT_LEISURE })
    }

    /// When time alone decides a word, or lets it be asked about less often.
    pub(crate) fn words_deadline(&self, now: Moment) -> Option<Moment> {
        let of = |engine: &Engine| {
            let calm =
                engine.instance.output.said.open().map(|run| run.last.after(AT_ONCE)).filter(|at| *at > now).min();
            engine.instance.output.said.deadline().into_iter().chain(calm).min()
        };
        self.engines.iter().filter_map(of).min()
    }

    /// Whether an engine of the group printed errors in the time before that no fact confirmed: then no engine's words
    /// accuse anybody.
    pub(crate) fn words_are_doubtful(&self, from: Moment, to: Moment) -> bool {
        self.engines.iter().any(|engine| engine.instance.output.said.is_doubtful(from, to))
    }
}

impl Domain {
    /// A line of an engine's output was recognized.
    pub(crate) fn heard(&mut self, name: &EngineName, saying: Saying, place: &LinePlace, turn: &mut Turn<'_>) {
        match saying {
            Saying::Error(code) => self.heard_error(name, code, place, turn),
            Saying::Allocated => {
                self.scene.of_a_start(name, |engine| engine.instance.output.allocated = Some(turn.now))
            }
            Saying::WantsGpuByIndex => self.scene.of_a_start(name, |engine| engine.instance.output.wants_index = true),
        }
    }

    fn heard_error(&mut self, name: &EngineName, code: u32, place: &LinePlace, turn: &mut Turn<'_>) {
        let now = turn.now;
        if is_context_fatal(code) {
            self.asked.server = Some(now);
        }
        if code == OUT_OF_MEMORY {
            self.scene.ran_out(name, place, turn);
        }
        let listed = self.scene.server.clients.last().cloned().unwrap_or_default();
        let Some(engine) = self.scene.engine_mut(name) else { return };
        let clients = clients_of(engine, &listed);
        // What comes out of it while its group is ended is of what it is ended for.
        if is_judged(code) && engine.stage != Stage::Fallen {
            engine.instance.output.said.error(code, || clients, now);
        }
        if is_over_limit(code) || code == UNAVAILABLE {
            engine.instance.output.over_limit = engine.instance.output.over_limit.or(Some((now, code)));
        }
        if engine.telling.error(code, now) {
            turn.emit_of(name, What::CudaError { code, place: place.clone() });
        }
        if is_context_fatal(code) {
            self.suspects.error(name, code, now);
        }
    }
}

/// Time after its error within which a client that loses its context ends or leaves the server, if it does not stay.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// Longest time from an error to the FAULT state or the server's end that is of it.
const OF_THE_SERVER: Duration = Duration::from_secs(5);

/// Greatest age of an answer to a control command when it comes.
const OLDEST_ANSWER: Duration = Duration::from_secs(3);

/// Time after a fatal word in which the server is asked at once, then at leisure, until the word is decided.
const AT_ONCE: Duration = Duration::from_secs(2);

const AT_LEISURE: Duration = Duration::from_secs(5);

/// Whether the end of the server, or of the engine's own context, agrees with a run of lines.
fn confirms(run: &Run, server: Option<ServerLost>, lost: Option<Moment>) -> bool {
    match run.code {
        OUT_OF_MEMORY => lost.is_some_and(|at| at.since(run.last) <= SOON && run.first <= at),
        _ => {
            let of_the_server = server.is_some_and(|lost| run.first.after(lost.before) >= lost.at);
            of_the_server || lost.is_some_and(|at| at.since(run.last) <= ENDS_WITHIN && run.first <= at.after(NEAR))
        }
    }
}

/// A fatal error that a fact has confirmed.
fn is_confirmed_fatal(run: &&Run) -> bool {
    run.standing == RunState::Confirmed && is_context_fatal(run.code)
}

/// Errors of which something would follow. The others are reported.
fn is_judged(code: u32) -> bool {
    is_context_fatal(code) || code == TERMINATED || code == OUT_OF_MEMORY || code == UNAVAILABLE || is_over_limit(code)
}
