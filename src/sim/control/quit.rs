//! `quit [-t SECONDS]`, and a client of another user: the server is asked to end, again and again with growing waits
//! while it has clients, and ended by force once the time of a `quit` is over. Without a time it is asked indefinitely.

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::daemon::{Daemon, TryAgain};

/// Time from the daemon's last line to its end.
const FAREWELL: Duration = Duration::from_millis(255);

/// The server's end is on its way.
pub(super) struct Quit {
    /// The daemon ends, too; else the server only makes way for another user's.
    pub daemon: bool,
    deadline: Option<Instant>,
    wait: Duration,
    tries: u32,
}

impl Daemon {
    /// The command; answered by the daemon's end.
    pub(super) fn begin_quit(&mut self, seconds: Option<u64>) {
        let deadline = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        // As recorded: while the server is to make way, the daemon waits for its next try, whatever the time.
        if let Some(quit) = self.quit.as_mut() {
            quit.daemon = true;
            return;
        }
        if let Some(seconds) = seconds {
            self.log(&format!("quit command issued with timeout of {seconds}"));
        }
        self.begin(true, deadline);
    }

    /// A client of another user waits; as recorded, its end changes nothing.
    pub(super) fn make_way(&mut self) {
        if self.quit.is_none() {
            self.begin(false, None);
        }
    }

    fn begin(&mut self, daemon: bool, deadline: Option<Instant>) {
        self.quit = Some(Quit { daemon, deadline, wait: Duration::from_millis(200), tries: 0 });
        self.try_shutting_down();
    }

    /// One try.
    pub(super) fn try_shutting_down(&mut self) {
        let Some(quit) = self.quit.as_mut() else { return };
        let Some(server) = self.server.as_ref() else {
            return if quit.daemon { self.exit() } else { self.quit = None };
        };
        let (pid, link) = (server.pid, server.link);
        quit.tries += 1;
        let last = quit.deadline.is_some_and(|deadline| deadline <= Instant::now());
        let backoff = if quit.tries == 1 || last { "disabled" } else { "enabled" };
        self.log(&format!("Try shutting down server {pid}, backoff is {backoff}"));
        match link {
            Some(link) => self.links.say(link, "shutdown"),
            None => self.force(pid),
        }
    }

    /// The server has clients and stays.
    pub(super) fn server_is_busy(&mut self, count: &str) {
        let Some(pid) = self.server.as_ref().map(|server| server.pid) else { return };
        self.log(&format!("Server {pid} has {count} active worker threads. Server will not shutdown."));
        let Some(quit) = self.quit.as_mut() else { return };
        if quit.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return self.force(pid);
        }
        let wait = quit.wait;
        quit.wait *= 2;
        let again = quit.deadline.map_or(Instant::now() + wait, |deadline| deadline.min(Instant::now() + wait));
        self.log(&format!("Control will try shutting down server {pid} again in at most {}ms", wait.as_millis()));
        self.agenda.at(again, TryAgain);
    }

    fn force(&mut self, pid: u32) {
        self.log(&format!("Force shutting down server {pid}"));
        let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
    }

    /// The daemon's end.
    pub(super) fn exit(&mut self) {
        self.log("Exit with status 0");
        if let Some(link) = self.serving.take() {
            self.links.close(link);
        }
        thread::sleep(FAREWELL);
        for name in ["control", "nvidia-cuda-mps-control.pid", crate::client::GPUS] {
            let _ = std::fs::remove_file(crate::client::pipe_directory().join(name));
        }
        std::process::exit(0);
    }
}
