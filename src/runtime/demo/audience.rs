//! Who follows a demo: the terminal gets a first block, the story and a summary, and the log only where it was asked
//! for.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::cli::{self, DemoOptions, DemoPlaces};
use crate::export::{Story, log};
use crate::host::clock;
use crate::model::{Event, Incident};
use crate::runtime::audience::Audience;
use crate::text::screen::Screen;

/// The terminal of a demo.
pub(super) struct Spectator {
    options: DemoOptions,
    control_socket: PathBuf,
    taken_port: Option<u16>,
    screen: Screen,
    /// Seconds since 1970 at which it began.
    began: f64,
    story: Mutex<Story>,
    incidents: Mutex<Vec<Arc<Incident>>>,
}

impl Spectator {
    /// One that sees the demo from now on. `taken_port`: the default one, where another is used in its place.
    pub(super) fn of(options: &DemoOptions, control_socket: PathBuf, taken_port: Option<u16>) -> Spectator {
        Spectator {
            options: options.clone(),
            control_socket,
            taken_port,
            screen: Screen::of(&io::stdout()),
            began: clock::since_1970().as_secs_f64(),
            story: Mutex::new(Story::for_stdout(clock::now(), clock::time_of_day)),
            incidents: Mutex::default(),
        }
    }

    /// Says what the demo does to its own stage.
    pub(super) fn aside(&self, word: &str, place: &str, what: &str) {
        let line = lock(&self.story).aside(clock::now(), word, place, what);
        say(&format!("{line}\n"));
    }

    /// The last words, with how many requests were answered and how many failed.
    pub(super) fn sum_up(&self, requests: (u64, u64)) {
        let incidents = lock(&self.incidents);
        let incidents = incidents.iter().map(Arc::as_ref);
        say(&cli::ended(incidents, self.began, requests, &self.screen));
    }
}

impl Audience for Spectator {
    fn opened(&self, scheme: &str, addresses: &[SocketAddr]) {
        let page = |address: &SocketAddr| format!("{scheme}://{}/", reachable(*address));
        let places = DemoPlaces {
            page: addresses.first().map(page),
            telemetry_path: self.options.telemetry_path.clone(),
            taken_port: self.taken_port,
            control_socket: self.control_socket.clone(),
            program: std::env::current_exe().unwrap_or_else(|_| PathBuf::from("mpswarden")),
        };
        say(&cli::begins(&self.options, &places, self.began, &self.screen));
    }

    fn saw(&self, event: &Event) {
        if self.options.log_level.is_some() {
            log::log_event(event);
        }
        if let Some(line) = lock(&self.story).line(event) {
            say(&format!("{line}\n"));
        }
    }

    fn ended(&self, incidents: Vec<Arc<Incident>>) {
        *lock(&self.incidents) = incidents;
    }
}

/// An address that a browser on this machine takes.
fn reachable(address: SocketAddr) -> SocketAddr {
    let here = match address {
        _ if !address.ip().is_unspecified() => return address,
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    SocketAddr::new(here, address.port())
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes text, and plays on where the reader is gone.
fn say(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
