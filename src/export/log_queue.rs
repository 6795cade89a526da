//! Log lines on their way to stderr, written by a thread of their own: a journal or a pipe that blocks
//! must not stop the core. What does not fit is counted and reported, never waited for.
//!
//! `tracing-appender` has such a writer, and counts what it loses where it is not looked for: here the log itself says
//! in its next line how many lines are missing, and a reader of the log knows that it is not whole.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use crate::text::plain::is_order;

/// Lines that wait at most.
const LINES: usize = 1024;
/// Upper bound for writing the lines that wait when the watchdog ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Orders to the writing thread.
enum Order {
    /// A whole line, its end included.
    Line(Vec<u8>),
    /// Everything before has been written: say so.
    Tell(SyncSender<()>),
}

/// The near end: takes lines, never waits. Each write is one line.
#[derive(Clone)]
pub(super) struct LogQueue {
    orders: SyncSender<Order>,
    lost: Arc<AtomicU64>,
}

/// Kept until the end of the program: its drop waits, at most a second, until all lines are written.
#[must_use = "the last lines are lost if this is dropped early"]
pub struct LogGuard(LogQueue);

impl LogQueue {
    /// A queue that a new thread writes to `out`.
    pub(super) fn to(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (orders, waiting) = sync_channel(LINES);
        let lost = Arc::new(AtomicU64::new(0));
        let losses = Arc::clone(&lost);
        std::thread::Builder::new().name("log".to_owned()).spawn(move || write_all(out, &waiting, &losses))?;
        Ok(LogQueue { orders, lost })
    }

    /// What waits for the lines at the end.
    pub(super) fn guard(&self) -> LogGuard {
        LogGuard(self.clone())
    }
}

impl Write for LogQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.orders.try_send(Order::Line(plain(line))).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        let (tell, told) = sync_channel(1);
        // A full queue means that stderr is not read: waiting would not help.
        if self.0.orders.try_send(Order::Tell(tell)).is_ok() {
            let _ = told.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}

/// Names of others stand in it. ESC stays: colours are the formatter's own, which escapes every other one.
fn plain(line: &[u8]) -> Vec<u8> {
    match std::str::from_utf8(line) {
        Ok(text) if !line.is_ascii() => {
            let shown = |c| if is_order(c) && !matches!(c, '\n' | '\u{1b}') { char::REPLACEMENT_CHARACTER } else { c };
            text.chars().map(shown).collect::<String>().into_bytes()
        }
        _ => line.to_vec(),
    }
}

/// Writes until the last queue is gone. Errors are dropped: there is nowhere left to report them.
fn write_all(mut out: impl Write, waiting: &Receiver<Order>, lost: &AtomicU64) {
    while let Ok(order) = waiting.recv() {
        match order {
            Order::Line(line) => drop(out.write_all(&line)),
            Order::Tell(done) => drop(done.try_send(())),
        }
        let lost = lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let _ = writeln!(out, "{lost} log lines were lost here: stderr was blocked");
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    /// Writes nothing before it is released.
    struct Blocked {
        go: Receiver<()>,
        written: Sender<String>,
    }

    impl Write for Blocked {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.go.recv();
            self.written.send(String::from_utf8(bytes.to_vec()).unwrap()).unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_blocked_stderr_blocks_nobody_and_the_losses_are_told() {
        let ((let_go, go), (written, lines)) = (channel(), channel());
        let mut queue = LogQueue::to(Blocked { go, written }).unwrap();
        // One may be with the writer already; the queue holds the rest, and at least one is too many.
        for _ in 0..LINES + 2 {
            queue.write_all(b"line\n").unwrap();
        }
        drop(let_go);
        let told = lines.iter().take(LINES + 2).collect::<String>();
        assert!(told.contains("lost here: stderr was blocked"), "{}", &told[..100]);
    }

    #[test]
    fn the_guard_waits_until_every_line_is_written() {
        let ((let_go, go), (written, lines)) = (channel(), channel());
        let mut queue = LogQueue::to(Blocked { go, written }).unwrap();
        drop(let_go);
        queue.write_all(b"the last words\n").unwrap();
        drop(queue.guard());
        assert_eq!(lines.try_recv().unwrap(), "the last words\n");
    }
}
