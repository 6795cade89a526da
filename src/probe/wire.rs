//! What the kernel probe and the watchdog say to each other over a unix stream socket. Std only: the probe's own
//! library is compiled from this file too. Reads and writes bytes, touches nothing.
//!
//! A frame is its body's length (u32, little endian), then the body: a tag of one byte, then its fields. Numbers
//! are LEB128; times are nanoseconds of CLOCK_REALTIME.

/// The longest body; a longer one ends the conversation.
pub const LONGEST: usize = 1 << 20;
/// Spoken first by the probe. Another version is not understood, and the probe stays silent.
pub const VERSION: u64 = 1;

const HELLO: u8 = 1;
const UNAVAILABLE: u8 = 2;
const KERNELS: u8 = 3;
const RECORD: u8 = 4;

/// An order from the watchdog to a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Record the kernels of this time, which lies ahead.
    Record {
        /// Comes back with the kernels.
        window: u64,
        /// Beginning of the window.
        from: u64,
        /// Its end, after `from`.
        to: u64,
    },
}

/// A word from a probe to the watchdog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// The first one.
    Hello {
        /// Version of this format.
        version: u64,
    },
    /// The probe can't record, and why. Said once; it may be able to later, and sends kernels then.
    Unavailable {
        /// Reason for people, at most 300 bytes.
        why: String,
    },
    /// The kernels of a window.
    Kernels(Kernels),
}

/// The kernels of one process in one window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kernels {
    /// Number of the window as it was ordered.
    pub window: u64,
    /// Every kernel that ran between these two moments is there; empty where the first is not before the second.
    pub covered: (u64, u64),
    /// Launches whose kernels have no times; where there are any, nothing is covered.
    pub dropped: u64,
    /// Start and end of each, in any order; they may reach over both ends of the window.
    pub times: Vec<(u64, u64)>,
}

impl Order {
    /// A whole frame.
    pub fn frame(&self) -> Vec<u8> {
        let Order::Record { window, from, to } = *self;
        framed(|body| {
            body.push(RECORD);
            put(body, window);
            put(body, from);
            put(body, to.wrapping_sub(from));
        })
    }

    /// Reads a frame's body; `None`: it is none.
    pub fn read(body: &[u8]) -> Option<Order> {
        let mut rest = body.strip_prefix(&[RECORD])?;
        let (window, from) = (take(&mut rest)?, take(&mut rest)?);
        let to = from.checked_add(take(&mut rest)?)?;
        rest.is_empty().then_some(Order::Record { window, from, to })
    }
}

impl Word {
    /// A whole frame.
    pub fn frame(&self) -> Vec<u8> {
        framed(|body| match self {
            Word::Hello { version } => {
                body.push(HELLO);
                put(body, *version);
            }
            Word::Unavailable { why } => {
                body.push(UNAVAILABLE);
                body.extend_from_slice(why.as_bytes());
            }
            Word::Kernels(kernels) => {
                body.push(KERNELS);
                kernels.put(body);
            }
        })
    }

    /// Reads a frame's body; `None`: it is none.
    pub fn read(body: &[u8]) -> Option<Word> {
        let (tag, mut rest) = body.split_first()?;
        let word = match *tag {
            HELLO => Word::Hello { version: take(&mut rest)? },
            UNAVAILABLE => {
                let why = String::from_utf8_lossy(std::mem::take(&mut rest)).chars().take(300).collect();
                Word::Unavailable { why }
            }
            KERNELS => Word::Kernels(Kernels::take(&mut rest)?),
            _ => return None,
        };
        rest.is_empty().then_some(word)
    }
}

impl Kernels {
    /// Times as differences: a start from the start before it, signed; an end from its start. Some 4 bytes a kernel.
    fn put(&self, body: &mut Vec<u8>) {
        put(body, self.window);
        put(body, self.covered.0);
        put(body, zigzag(self.covered.1.wrapping_sub(self.covered.0) as i64));
        put(body, self.dropped);
        put(body, self.times.len() as u64);
        let mut before = self.covered.0;
        for (start, end) in &self.times {
            put(body, zigzag(start.wrapping_sub(before) as i64));
            put(body, end.wrapping_sub(*start));
            before = *start;
        }
    }

    fn take(rest: &mut &[u8]) -> Option<Kernels> {
        let (window, from) = (take(rest)?, take(rest)?);
        let to = from.wrapping_add(unzigzag(take(rest)?) as u64);
        let (dropped, count) = (take(rest)?, take(rest)?);
        // Each is two bytes or more: what is claimed beyond that is no reason to reserve memory.
        let mut times = Vec::with_capacity(usize::try_from(count).ok()?.min(rest.len() / 2));
        let mut before = from;
        for _ in 0..count {
            before = before.wrapping_add(unzigzag(take(rest)?) as u64);
            times.push((before, before.checked_add(take(rest)?)?));
        }
        Some(Kernels { window, covered: (from, to), dropped, times })
    }
}

fn framed(fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut frame = vec![0; 4];
    fill(&mut frame);
    let length = (frame.len() - 4) as u32;
    frame[..4].copy_from_slice(&length.to_le_bytes());
    frame
}

fn put(body: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        body.push(number as u8 | 0x80);
        number >>= 7;
    }
    body.push(number as u8);
}

fn take(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for place in 0..10 {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn kernels() -> Word {
        let now = 1_790_000_000_000_000_000;
        let times = vec![(now + 5, now + 25), (now + 3, now + 9_000_000), (now + 30, now + 30)];
        Word::Kernels(Kernels { window: 7, covered: (now, now + 100), dropped: 2, times })
    }

    #[test]
    fn what_is_written_is_read() {
        let why = "libcupti.so.13: cannot open shared object file".to_owned();
        for word in [Word::Hello { version: VERSION }, Word::Unavailable { why }, kernels()] {
            let frame = word.frame();
            assert_eq!(u32::from_le_bytes(frame[..4].try_into().unwrap()) as usize, frame.len() - 4);
            assert_eq!(Word::read(&frame[4..]), Some(word));
        }
        let order = Order::Record { window: 9, from: 1_790_000_000_000_000_000, to: 1_790_000_000_050_000_000 };
        assert_eq!(Order::read(&order.frame()[4..]), Some(order));
    }

    #[test]
    fn a_body_that_is_cut_or_goes_on_is_none() {
        let frame = kernels().frame();
        for length in 4..frame.len() {
            assert_eq!(Word::read(&frame[4..length]), None, "{length}");
        }
        assert_eq!(Word::read(&[&frame[4..], &[0]].concat()), None);
    }

    #[test]
    fn a_kernel_takes_some_four_bytes() {
        let times = (0..1000).map(|at| (at * 25_000, at * 25_000 + 20_000)).collect();
        let frame = Word::Kernels(Kernels { times, ..Kernels::default() }).frame();
        assert!(frame.len() < 6200, "{}", frame.len());
    }
}
