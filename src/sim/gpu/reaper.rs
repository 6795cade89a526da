//! Keeps an exiting client or server in the kernel for as long as the driver's teardown takes, as a real driver does: a
//! tracer holds it at PTRACE_EVENT_EXIT. Where ptrace is not permitted none is held.

use std::sync::mpsc::{Sender, channel};
use std::thread;

use nix::libc;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::Message;

/// Attaches before it returns, so that no later end of the process is missed. Whether it could.
pub(super) fn hold_at_exit(pid: u32, to: Sender<Message>) -> bool {
    let (attached, wait) = channel();
    thread::spawn(move || {
        let pid = Pid::from_raw(pid.cast_signed());
        let seized = ptrace::seize(pid, ptrace::Options::PTRACE_O_TRACEEXIT);
        let _ = attached.send(seized.is_ok());
        if seized.is_ok() {
            trace(pid, &to);
        }
    });
    wait.recv().unwrap_or(false)
}

/// Passes on every signal and stop until the client exits, and releases it when asked to.
fn trace(pid: Pid, to: &Sender<Message>) {
    loop {
        match waitpid(pid, Some(WaitPidFlag::__WALL)) {
            Ok(WaitStatus::PtraceEvent(_, _, libc::PTRACE_EVENT_EXIT)) => {
                let (hold, released) = channel();
                if to.send(Message::Exiting(pid.as_raw().cast_unsigned(), hold)).is_ok() {
                    let _ = released.recv();
                }
                let _ = ptrace::detach(pid, None);
                return;
            }
            Ok(WaitStatus::PtraceEvent(_, signal, libc::PTRACE_EVENT_STOP)) => stay_or_go(pid, signal),
            Ok(WaitStatus::Stopped(_, signal)) => {
                let _ = ptrace::cont(pid, signal);
            }
            Ok(WaitStatus::PtraceEvent(..)) => {
                let _ = ptrace::cont(pid, None);
            }
            _ => return,
        }
    }
}

/// A stop by SIGSTOP lasts until SIGCONT, traced or not; any other stop of the tracer's making does not.
fn stay_or_go(pid: Pid, signal: Signal) {
    let stopping = [Signal::SIGSTOP, Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU];
    if !stopping.contains(&signal) {
        let _ = ptrace::cont(pid, None);
        return;
    }
    // SAFETY: PTRACE_LISTEN takes no pointers; a pid that is not ours to trace is an error.
    unsafe {
        libc::ptrace(libc::PTRACE_LISTEN, pid.as_raw(), 0, 0);
    }
}
