//! The thread's conversation with the watchdog: says hello, records what is ordered, answers. A watchdog that goes
//! away, stops reading or sends what is no order is left alone for a while.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use super::cupti::Trouble;
use super::find::Hints;
use super::window::Recorder;
use super::wire::{Order, VERSION, Word};

/// Pause between two attempts to reach the watchdog.
const AGAIN: Duration = Duration::from_secs(5);
/// Time after which a watchdog that reads nothing is left.
const WRITE_LIMIT: Duration = Duration::from_millis(200);
/// Most bytes of an order.
const LONGEST_ORDER: usize = 64;

/// Speaks with the watchdog at `socket` for as long as the process lives, or until it ends.
pub fn hold(socket: &Path, hints: Hints) {
    let mut speaker = Speaker { recorder: Recorder::new(hints), trouble: None };
    loop {
        if let Ok(stream) = UnixStream::connect(socket)
            && let Ok(EngineEnded) = speaker.converse(stream)
        {
            return;
        }
        sleep(AGAIN);
    }
}

/// The process is ending.
struct EngineEnded;

struct Speaker {
    recorder: Recorder,
    /// What was said to the watchdog, and still holds.
    trouble: Option<Trouble>,
}

impl Speaker {
    fn converse(&mut self, mut stream: UnixStream) -> io::Result<EngineEnded> {
        stream.set_write_timeout(Some(WRITE_LIMIT))?;
        stream.write_all(&Word::Hello { version: VERSION }.frame())?;
        // Another watchdog does not know yet.
        if let Some(trouble) = &self.trouble {
            stream.write_all(&unavailable(trouble))?;
        }
        loop {
            let order = next(&mut stream)?;
            // A lasting trouble was said; nothing more is tried.
            if matches!(self.trouble, Some(Trouble::Lasting(_))) {
                continue;
            }
            match self.obey(order) {
                Answer::Say(frame) => stream.write_all(&frame)?,
                Answer::Silence => {}
                Answer::Ended => return Ok(EngineEnded),
            }
        }
    }

    fn obey(&mut self, order: Order) -> Answer {
        let Order::Record { window, from, to } = order;
        match self.recorder.record(window, from, to) {
            None => Answer::Ended,
            Some(Ok(kernels)) => {
                self.trouble = None;
                Answer::Say(Word::Kernels(kernels).frame())
            }
            Some(Err(trouble)) if self.trouble.as_ref() == Some(&trouble) => Answer::Silence,
            Some(Err(trouble)) => Answer::Say(unavailable(self.trouble.insert(trouble))),
        }
    }
}

enum Answer {
    Say(Vec<u8>),
    /// The watchdog knows already.
    Silence,
    Ended,
}

fn unavailable(trouble: &Trouble) -> Vec<u8> {
    let (Trouble::Passing(why) | Trouble::Lasting(why)) = trouble;
    Word::Unavailable { why: why.chars().take(300).collect() }.frame()
}

/// The next order; an error: the watchdog is gone, or speaks another language.
fn next(stream: &mut UnixStream) -> io::Result<Order> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut body = [0; LONGEST_ORDER];
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    let body = body.get_mut(..length).ok_or(ErrorKind::InvalidData)?;
    stream.read_exact(body)?;
    Order::read(body).ok_or_else(|| ErrorKind::InvalidData.into())
}
