//! Injects each fault at its time, and asks for the end at its own.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

use crate::cli::{DemoOptions, Injection, Victim};
use crate::model::Request;
use crate::sim::Stage;

use super::audience::Spectator;

/// Plays the injections over a stage.
pub(super) struct Schedule {
    stage: Arc<Stage>,
    spectator: Arc<Spectator>,
    /// No engine runs, and that was said.
    without_engines: bool,
}

impl Schedule {
    /// Plays on a thread of its own; ends early once the sender of `ended` is gone.
    pub(super) fn play(
        options: &DemoOptions,
        stage: Arc<Stage>,
        spectator: Arc<Spectator>,
        requests: UnboundedSender<Request>,
        ended: mpsc::Receiver<()>,
    ) -> io::Result<thread::JoinHandle<()>> {
        let (injections, length, began) = (options.schedule(), options.length, Instant::now());
        let sleeps_until = move |at: Duration| {
            let wait = at.saturating_sub(began.elapsed());
            matches!(ended.recv_timeout(wait), Err(RecvTimeoutError::Timeout))
        };
        let mut schedule = Schedule { stage, spectator, without_engines: false };
        thread::Builder::new().name("schedule".to_owned()).spawn(move || {
            for injection in injections {
                if !sleeps_until(injection.at) {
                    return;
                }
                schedule.inject(&injection);
            }
            if sleeps_until(length) {
                // The watchdog may have ended at this very moment.
                let _ = requests.send(Request::Stop);
            }
        })
    }

    fn inject(&mut self, injection: &Injection) {
        let (stage, fault) = (self.stage.clone(), injection.fault);
        let engine = match &injection.engine {
            _ if fault.victim != Victim::Engine => None,
            Some(named) if !stage.runs(named) => {
                let why = format!("{}: {named} does not run now", fault.name);
                return self.aside("NOT INJECTED", Some(named), &why);
            }
            Some(named) => Some(named.as_str()),
            None => match stage.running_engine() {
                Some(first) => Some(first),
                None => return self.say_that_none_runs(fault.name),
            },
        };
        self.without_engines = false;
        self.aside(if fault.mends() { "MENDED" } else { "INJECTED" }, engine, &fault.into_whom(engine));
        let done = fault.name.parse().map_err(io::Error::other).and_then(|parsed| stage.inject(parsed, engine));
        if let Err(error) = done {
            self.aside("NOT INJECTED", engine, &format!("{}: {error}", fault.name));
        }
    }

    /// Says what is done to the stage; `engine`: to which engine, where it is one.
    fn aside(&self, word: &str, engine: Option<&str>, what: &str) {
        let place = engine.map(|engine| format!("{}/{engine}", self.stage.group()));
        self.spectator.aside(word, place.as_deref().unwrap_or_default(), what);
    }

    /// Once, until one runs again.
    fn say_that_none_runs(&mut self, fault: &str) {
        if !self.without_engines {
            self.aside(
                "NOT INJECTED",
                None,
                &format!("{fault}: no engine runs, and until one does nothing is injected"),
            );
        }
        self.without_engines = true;
    }
}
