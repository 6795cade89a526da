//! Launched kernels and events: which have ended, and when. Two streams: the engine's, whose kernels take as long as
//! they are said to, and all others, in which nothing runs.

use std::collections::{BTreeMap, VecDeque};
use std::time::{SystemTime, UNIX_EPOCH};

/// The handle of the engine's stream. Others are what `cuStreamCreate` made.
pub const ENGINES_STREAM: usize = 0x100;

/// Kernels in flight, and events.
#[derive(Default)]
pub struct Work {
    launched: u64,
    pending: VecDeque<u64>,
    events: BTreeMap<usize, Event>,
    made: usize,
    recorded: usize,
}

#[derive(Clone, Copy)]
enum Event {
    New,
    /// Waits for a kernel.
    After(u64),
    /// The event's time in nanoseconds of CLOCK_REALTIME.
    Past(u64),
}

impl Work {
    pub fn launch(&mut self) {
        self.launched += 1;
        self.pending.push_back(self.launched);
    }

    /// The oldest one in flight.
    pub fn end(&mut self, at: u64) {
        let Some(kernel) = self.pending.pop_front() else { return };
        for event in self.events.values_mut() {
            if matches!(event, Event::After(after) if *after <= kernel) {
                *event = Event::Past(at);
            }
        }
    }

    pub fn events(&self) -> usize {
        self.events.len()
    }

    /// Number of events that were recorded in the engine's stream so far.
    pub fn recorded(&self) -> usize {
        self.recorded
    }

    /// Makes an event; its handle.
    pub fn make_event(&mut self) -> usize {
        self.made += 1;
        self.events.insert(self.made, Event::New);
        self.made
    }

    /// Ends an event; `false`: there is no such event.
    pub fn end_event(&mut self, event: usize) -> bool {
        self.events.remove(&event).is_some()
    }

    /// Records an event; `false`: there is no such event.
    pub fn record(&mut self, event: usize, stream: usize) -> bool {
        let engines = stream == ENGINES_STREAM;
        self.recorded += usize::from(engines);
        let waits = engines && !self.pending.is_empty();
        let recorded = if waits { Event::After(self.launched) } else { Event::Past(now()) };
        self.events.get_mut(&event).map(|event| *event = recorded).is_some()
    }

    /// Time of an event; `None`: there is no such event. `Some(None)`: it waits.
    pub fn time(&self, event: usize) -> Option<Option<u64>> {
        match self.events.get(&event)? {
            Event::Past(at) => Some(Some(*at)),
            Event::After(_) => Some(None),
            Event::New => None,
        }
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
