//! One engine: what is known of it and which stage of its life it is in. Nothing here orders anything.

pub(crate) mod attached;
pub(crate) mod death;
pub(crate) mod evicted;
pub(crate) mod figures;
pub(crate) mod goal;
pub(crate) mod gpu_process;
pub(crate) mod instance;
pub(crate) mod limits;
pub(crate) mod nameless;
pub(crate) mod rest;
pub(crate) mod shortage;
pub(crate) mod stall;
pub(crate) mod theirs;
pub(crate) mod unknown;
pub(crate) mod words;

use crate::decide::facts::ServerFacts;
use crate::decide::facts::attached::{Attachment, attachment};
use crate::decide::facts::attempt::Attempt;
use crate::decide::facts::died::Died;
use crate::decide::facts::engine::goal::Wanted;
use crate::decide::facts::engine::instance::Instance;
use crate::decide::facts::engine::theirs::Theirs;
use crate::decide::facts::guard::Attempts;
use crate::decide::facts::limits::Tried;
use crate::decide::facts::overlap::sharing::Sharing;
use crate::decide::facts::reading::{READING_FRESH, Reading};
use crate::decide::facts::remembered::EngineMemory;
use crate::decide::facts::rest::{note_of, stage_of};
use crate::decide::facts::stage::{Ending, Stage};
use crate::decide::facts::usage::Usage;
use crate::decide::facts::words::Telling;
use crate::decide::policy::{EnginePolicy, MpsUse};
use crate::model::{ActionId, EngineName, EngineState, Health, Known, Moment};

/// Number of bad probes in a row that make a serving engine failing: one slow answer is no failure.
const BAD_PROBES: u32 = 2;

/// Whether the watchdog sees what it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::decide) enum Sight {
    /// The watchdog sees it.
    Clear,
    /// What it shows is too old, or was never seen.
    Blind,
}

/// One engine: what outlives an incarnation, and the incarnation that it has or had last.
#[derive(Clone, Debug)]
pub(crate) struct Engine {
    pub policy: EnginePolicy,
    pub stage: Stage,
    pub instance: Instance,
    /// It died or did not get ready, and has not served since.
    pub died: Option<Died>,
    pub failures: Attempts,
    /// Times in a row that the server ended its client: each is answered a little later than the one before.
    pub evictions: u32,
    /// Time since which processes of it, which start, have had a connection to the daemon's pipe and no client: its
    /// next start is the same wait.
    pub knocks: Option<Moment>,
    /// What was reported of its error lines, and how many no fact confirmed.
    pub telling: Telling,
    /// What its processes used since the watchdog's start.
    pub usage: Usage,
    /// Faults of its limits that a restart was tried for.
    pub tried: Tried,
    /// How fast it is alone.
    pub sharing: Sharing,
    /// What it is to be.
    pub wanted: Wanted,
    /// The attempt to bring it back that has no result yet.
    pub attempt: Option<Attempt>,
    /// What is known of it where others run it.
    pub theirs: Theirs,
}

impl Engine {
    /// A new engine with what is remembered of it.
    pub(crate) fn new(policy: EnginePolicy, memory: EngineMemory) -> Self {
        let instance = Instance { incarnation: memory.incarnation, note: note_of(memory.rest), ..Instance::default() };
        Engine {
            policy,
            stage: memory.rest.map(stage_of).unwrap_or(Stage::Down { due: Moment::ZERO }),
            instance,
            died: None,
            failures: Attempts::of(memory.failures),
            evictions: 0,
            knocks: None,
            telling: Telling::default(),
            usage: Usage::default(),
            tried: Tried::default(),
            sharing: Sharing::of(memory.learnt),
            wanted: Wanted::of(memory.rest),
            attempt: None,
            theirs: Theirs { owed: memory.owed, ..Theirs::default() },
        }
    }

    pub(crate) fn name(&self) -> &EngineName {
        &self.policy.name
    }

    /// The memory of the engine that must survive.
    pub(crate) fn memory(&self) -> EngineMemory {
        EngineMemory {
            incarnation: self.instance.incarnation,
            failures: self.failures.moments(),
            rest: self.wanted.rest,
            learnt: self.sharing.learnt(),
            owed: self.theirs.owed,
        }
    }

    /// A new incarnation begins: nothing seen before is about it.
    pub(crate) fn launch(&mut self, order: ActionId, now: Moment) {
        self.count_undecided_words(now);
        let mps = self.wanted.seat.mps;
        self.instance = Instance { mps, ..self.instance.next() };
        self.sharing.launched((self.policy.launch, mps == MpsUse::Outside));
        self.stage = Stage::Launching(order);
    }

    /// A health probe answered.
    pub(crate) fn probed(&mut self, health: Health, now: Moment) {
        self.instance.progress.answers.probed(health, self.gap(), now);
        let works = health == Health::NoAnswer && self.gets_on(now);
        if works {
            // Its front end is busy: tokens that move say more than an answer that is late.
        } else if health == Health::Ok {
            self.instance.probes.good_since = self.instance.probes.good_since.or(Some(now));
            self.instance.probes.bad = 0;
        } else {
            self.instance.probes.bad += 1;
            if self.stage != Stage::Serving || self.instance.probes.bad >= BAD_PROBES {
                self.instance.probes.good_since = None;
            }
        }
        self.instance.probes.last.saw(health, now);
    }

    /// Whether a process of it lives, as far as is known.
    pub(crate) fn alive(&self) -> bool {
        matches!(self.stage, Stage::Starting | Stage::Serving | Stage::Failing | Stage::Ending(_))
    }

    /// Attached, by facts that were all seen after it got healthy; `None`: they are not all there yet. The
    /// client list may be older, if it was asked for since the start: from there on lines keep it.
    pub(crate) fn attached_since_healthy(
        &self,
        server: &ServerFacts,
        reading: &Known<Reading>,
        now: Moment,
    ) -> Option<bool> {
        let healthy = self.instance.probes.good_since?;
        let tree = self.instance.tree.all.since(healthy)?;
        server.clients_asked.filter(|asked| *asked >= self.instance.process.started)?;
        let fresh = reading.fresh(READING_FRESH, now);
        if fresh.is_some() {
            reading.since(healthy)?;
        }
        Some(
            attachment(tree, &self.instance.tree.claimed, server.clients.last()?, server.pid, fresh)
                == Attachment::Attached,
        )
    }

    /// Where it is meant to be: attached, or outside MPS on purpose; by what was seen after it got healthy.
    pub(crate) fn placed_since_healthy(
        &self,
        server: &ServerFacts,
        reading: &Known<Reading>,
        now: Moment,
    ) -> Option<bool> {
        if self.instance.mps == MpsUse::Outside {
            self.instance.probes.good_since.map(|_| true)
        } else {
            self.attached_since_healthy(server, reading, now)
        }
    }

    /// Where it computes, as far as is known now; `None`: unknown, or no process.
    pub(crate) fn attachment_now(
        &self,
        server: &ServerFacts,
        reading: &Known<Reading>,
        now: Moment,
    ) -> Option<Attachment> {
        if !self.alive() {
            return None;
        }
        let tree = self.instance.tree.all.last()?;
        Some(attachment(
            tree,
            &self.instance.tree.claimed,
            server.clients.last()?,
            server.pid,
            reading.fresh(READING_FRESH, now),
        ))
    }

    /// Bytes of device memory of its whole tree; `None`: unknown.
    pub(crate) fn device_memory(&self, reading: Option<&Reading>) -> Option<u64> {
        let pids = self.instance.proven()?.map(|process| process.pid).collect();
        reading.filter(|_| self.instance.gpu.counted)?.memory_of(&pids)
    }

    /// Whether what NVML lists of it can be believed.
    pub(crate) fn is_counted(&self) -> bool {
        self.instance.gpu.counted
    }

    /// NVML read its GPU. What it lists of this engine is believed where it shows that it speaks of our processes, and
    /// misses none that is a client: in some containers it lists no process, or other pids.
    pub(crate) fn listed(&mut self, reading: &Reading, server: &ServerFacts) {
        let clients = server.clients.last();
        let is_client = |pid: u32| clients.is_some_and(|clients| clients.contains(&pid));
        let pids = || self.instance.proven().into_iter().flatten().map(|process| process.pid);
        let held: Vec<u32> = pids().filter(|pid| is_client(*pid)).collect();
        let missed = pids().any(|pid| is_client(pid) && !reading.lists(pid));
        let known = pids().any(|pid| reading.lists(pid))
            || clients.is_some_and(|clients| reading.pids_match(clients, server.pid));
        self.instance.gpu.counted = known && !missed;
        self.instance.gpu.held.extend(held);
    }

    /// The state that the outside sees.
    pub(crate) fn state(&self, sight: Sight) -> EngineState {
        match self.stage {
            Stage::Down { .. } if self.died.is_some() => EngineState::Failing,
            Stage::Down { .. } | Stage::Left | Stage::Stopped => EngineState::Stopped,
            Stage::Launching(_) | Stage::Starting => EngineState::Starting,
            Stage::Serving | Stage::Failing if sight == Sight::Blind => EngineState::Unknown,
            Stage::Serving => EngineState::Serving,
            Stage::Failing => EngineState::Failing,
            Stage::Ending(Ending::Aftershock { .. }) => EngineState::Failing,
            Stage::Ending(_) => EngineState::Stopping,
            Stage::Fallen => EngineState::Stopped,
            Stage::Quarantined => EngineState::Quarantined,
        }
    }
}
