//! `mpswarden status --watch`: the status anew each second, on the whole terminal, or block by block where there is none.

use std::io::{Write, stdout};
use std::os::fd::AsFd;
use std::time::Duration;

use jiff::Timestamp;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, raise};
use tokio::signal::unix::{Signal as Arrivals, SignalKind, signal};
use tokio::time::sleep;

use super::terminal::{Ended, Terminal, tell};
use crate::control::{Failure, Kind};
use crate::text::full_screen::FullScreen;
use crate::text::screen::{Ink, Screen};

/// Time from one look to the next.
const PERIOD: Duration = Duration::from_secs(1);

/// Shows the status until Ctrl-C. It fails where the first look does; later a watchdog that does not answer may be
/// restarting, and is asked again.
pub(super) async fn watch(terminal: &Terminal) -> Result<Ended, Failure> {
    let mut signals = Signals::follow()
        .map_err(|error| Failure::new(Kind::Unavailable, format!("signals can't be followed: {error}")))?;
    let mut last = terminal.status_text(&Screen::of(&stdout())).await?;
    let mut full = if terminal.is_for_programs() { None } else { FullScreen::take() };
    let (mut trouble, mut told): (Option<String>, Option<String>) = (None, None);
    loop {
        let shown = match (&mut full, &trouble) {
            (Some(full), _) => full.show(&page(&last, trouble.as_deref())),
            (None, None) => block(terminal, &last),
            (None, Some(_)) if trouble == told => still_read(),
            (None, Some(why)) => {
                tell(&format!("mpswarden: {why}"));
                still_read()
            }
        };
        told.clone_from(&trouble);
        // A reader that went away has seen enough.
        if shown.is_err() || signals.passed(full.as_mut()).await == Passed::End {
            break;
        }
        let screen = Screen::of(&stdout());
        let asked = tokio::select! {
            asked = terminal.status_text(&screen) => asked,
            () = signals.ended() => break,
        };
        match asked {
            Ok(text) => (last, trouble) = (text, None),
            Err(failure) if failure.kind == Kind::Unavailable => trouble = Some(failure.to_string()),
            Err(failure) => return Err(failure),
        }
    }
    if let Some(mut full) = full {
        full.give_back();
        // What was seen last stays readable.
        let _ = write!(stdout(), "{last}");
    }
    Ok(Ended::Done)
}

/// The time, what is amiss with the asking, and the status.
fn page(text: &str, trouble: Option<&str>) -> String {
    let screen = Screen::of(&stdout());
    let now = Timestamp::now().to_zoned(screen.zone.clone()).strftime("%F %T %Z").to_string();
    let mut page = screen.prose(&format!("{now}  "), Ink::Dim, "Ctrl-C ends it");
    if let Some(why) = trouble {
        page.push_str(&screen.prose(
            "NO ANSWER  ",
            Ink::Bad,
            &format!("{why}; what follows is old; it is asked again"),
        ));
    }
    page.push('\n');
    page.push_str(text);
    page
}

/// An error where nobody reads stdout any more, and nothing is written to it that would say so.
fn still_read() -> std::io::Result<()> {
    let out = stdout();
    let mut wanted = [PollFd::new(out.as_fd(), PollFlags::empty())];
    poll(&mut wanted, PollTimeout::ZERO)?;
    match wanted[0].revents().is_some_and(|found| found.contains(PollFlags::POLLERR)) {
        true => Err(std::io::ErrorKind::BrokenPipe.into()),
        false => Ok(()),
    }
}

/// One look where there is no terminal: programs get a line, people a block with its time.
fn block(terminal: &Terminal, text: &str) -> std::io::Result<()> {
    let mut out = stdout().lock();
    match terminal.is_for_programs() {
        true => out.write_all(text.as_bytes())?,
        false => writeln!(out, "{}\n{text}", Timestamp::now().strftime("%FT%TZ"))?,
    }
    out.flush()
}

/// What ends it, and what changes the terminal meanwhile.
struct Signals {
    ends: [Arrivals; 4],
    stopped: Arrivals,
    resized: Arrivals,
}

/// What a pause ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passed {
    /// It is time for another look.
    Look,
    /// It is to end.
    End,
}

impl Signals {
    fn follow() -> std::io::Result<Signals> {
        let ends = [
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
            signal(SignalKind::quit())?,
        ];
        let stopped = signal(SignalKind::from_raw(Signal::SIGTSTP as i32))?;
        Ok(Signals { ends, stopped, resized: signal(SignalKind::window_change())? })
    }

    /// Waits for a signal that ends it.
    async fn ended(&mut self) {
        let [interrupt, terminate, hangup, quit] = &mut self.ends;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
            _ = quit.recv() => {}
        }
    }

    /// Waits for the next look. Ctrl-Z gives the terminal to the shell as it was, and takes it again afterwards.
    async fn passed(&mut self, mut full: Option<&mut FullScreen>) -> Passed {
        let [interrupt, terminate, hangup, quit] = &mut self.ends;
        tokio::select! {
            _ = interrupt.recv() => Passed::End,
            _ = terminate.recv() => Passed::End,
            _ = hangup.recv() => Passed::End,
            _ = quit.recv() => Passed::End,
            _ = self.resized.recv() => Passed::Look,
            _ = self.stopped.recv() => {
                // The shell gets the terminal as it was.
                if let Some(full) = &mut full {
                    full.give_back();
                }
                // It goes on behind this once the shell says so.
                let stopped = raise(Signal::SIGSTOP).is_ok();
                let taken = full.is_none_or(|full| full.take_again().is_ok());
                if stopped && taken { Passed::Look } else { Passed::End }
            }
            () = sleep(PERIOD) => Passed::Look,
        }
    }
}
