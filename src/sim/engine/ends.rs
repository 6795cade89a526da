//! How an engine ends: after its core, and at SIGTERM.

use std::io;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, raise};
use nix::sys::socket::{Shutdown, shutdown};
use nix::unistd::Pid;
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::batch::Batch;
use super::dialect::{End, Voice};

/// Upper bound for the end of a core that was asked to end.
const CORE: Duration = Duration::from_secs(2);
/// Pause between two looks at what is waited for. (SGLang looks every 5 s whether it has drained; nothing depends on
/// it.)
const LOOK: Duration = Duration::from_millis(10);

/// How a plain engine ends after its core, and any that never served.
pub(super) const PLAIN: End = End { after: Duration::from_millis(150), status: Some(1) };

/// Lets SIGTERM end the listening from now on: at once, or once the requests that are there are done.
pub(super) fn follow_sigterm(batch: &Arc<Batch>, listener: &TcpListener) -> io::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let mut terminate = {
        let _inside = runtime.enter();
        signal(SignalKind::terminate())?
    };
    let (batch, listener) = (batch.clone(), listener.try_clone()?);
    thread::spawn(move || {
        runtime.block_on(terminate.recv());
        begin_to_stop(&batch, &listener);
    });
    Ok(())
}

fn begin_to_stop(batch: &Batch, listener: &TcpListener) {
    let requests = batch.state().requests();
    batch.state().stopping = true;
    batch.dialect.say(Voice::Front, &batch.dialect.stops(requests)[0]);
    while batch.dialect.drains() && has_requests(batch) {
        thread::sleep(LOOK);
    }
    // The thread that accepts connections learns that there are no more. A socket that is closed already needs no
    // shutdown.
    let _ = shutdown(listener.as_raw_fd(), Shutdown::Read);
}

/// Requests that can still be served.
fn has_requests(batch: &Batch) -> bool {
    let state = batch.state();
    !state.core_ended && state.requests() > 0
}

/// The core's end, and what follows from it, once nothing listens any more.
pub(super) fn stop(batch: &Batch) -> ExitCode {
    let (lost, plain) = {
        let state = batch.state();
        (state.core_ended, state.plain)
    };
    batch.fail_all();
    let core = Pid::from_raw(batch.core().cast_signed());
    let last = if batch.dialect.drains() || batch.state().term_hangs { Signal::SIGKILL } else { Signal::SIGTERM };
    // One that is gone already needs no signal.
    let _ = kill(core, last);
    let deadline = Instant::now() + CORE;
    while !batch.state().core_ended && Instant::now() < deadline {
        thread::sleep(LOOK);
    }
    while batch.state().term_hangs {
        thread::park();
    }
    let _ = kill(core, Signal::SIGKILL);
    batch.dialect.say(Voice::Front, &batch.dialect.stops(0)[1]);
    if batch.dialect.drains() && !plain {
        // It ends its whole process tree, itself with it.
        kill_itself();
    }
    if lost && plain { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The end, after last words.
pub(super) fn end_as(end: End) {
    thread::sleep(end.after);
    match end.status {
        Some(status) => std::process::exit(status.into()),
        None => kill_itself(),
    }
}

/// SIGKILL can't be refused: nothing comes after it.
fn kill_itself() {
    let _ = raise(Signal::SIGKILL);
}
