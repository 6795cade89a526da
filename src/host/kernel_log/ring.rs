//! syslog(2): the kernel's buffer as text, for where /dev/kmsg is refused. It reports nothing by itself, so it is read
//! again and again, and only what is new counts. Takes nothing out of it.

use std::io;
use std::ops::ControlFlow;
use std::thread::sleep;
use std::time::Duration;

use nix::libc;

use super::Ear;

/// Pause between two readings.
const PAUSE: Duration = Duration::from_secs(1);
/// The largest part of the buffer that is read: the end of it.
const LARGEST: usize = 4 << 20;
/// Lines by which the place is found again where the last reading ended.
const KEPT: usize = 32;

const READ_ALL: libc::c_int = 3;
const SIZE_BUFFER: libc::c_int = 10;

/// The buffer, and what was read of it.
pub(super) struct Ring(RingPlace);

impl Ring {
    /// The ring from its present end on.
    pub(super) fn open() -> io::Result<Ring> {
        let mut place = RingPlace::default();
        place.fresh(&held()?);
        Ok(Ring(place))
    }

    pub(super) fn follow(mut self, ear: &mut Ear<'_>) -> io::Result<ControlFlow<()>> {
        loop {
            sleep(PAUSE);
            let text = held()?;
            for line in self.0.fresh(&text) {
                if ear.line(line).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            if ear.quiet().is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }
}

/// Everything that the buffer holds now.
pub(super) fn held() -> io::Result<String> {
    // SAFETY: without a buffer the call only answers with a number.
    let size = unsafe { libc::klogctl(SIZE_BUFFER, std::ptr::null_mut(), 0) };
    let size = usize::try_from(size).map_err(|_| io::Error::last_os_error())?.clamp(1, LARGEST);
    let mut buffer = vec![0u8; size];
    let length = libc::c_int::try_from(size).map_err(io::Error::other)?;
    // SAFETY: the buffer is as long as is said.
    let read = unsafe { libc::klogctl(READ_ALL, buffer.as_mut_ptr().cast(), length) };
    let read = usize::try_from(read).map_err(|_| io::Error::last_os_error())?;
    Ok(String::from_utf8_lossy(&buffer[..read.min(size)]).into_owned())
}

/// Where the last reading ended, by its last lines.
#[derive(Default)]
struct RingPlace {
    last: Vec<String>,
    begun: bool,
}

impl RingPlace {
    /// What is new in this reading; of the first one nothing is.
    fn fresh<'a>(&mut self, text: &'a str) -> Vec<&'a str> {
        let lines: Vec<&str> = text.lines().collect();
        let from = if std::mem::replace(&mut self.begun, true) { self.end_in(&lines) } else { lines.len() };
        self.last = lines[lines.len().saturating_sub(KEPT)..].iter().map(|line| (*line).to_owned()).collect();
        lines[from..].to_vec()
    }

    /// The number of lines up to the place. A line at the very end may have grown since: it is new again then. Where
    /// nothing is left of what was read, all is new.
    fn end_in(&self, lines: &[&str]) -> usize {
        for left_out in 0..=1.min(self.last.len()) {
            let known = &self.last[..self.last.len() - left_out];
            // The beginning of it may be overwritten.
            for from in 0..known.len() {
                let wanted = &known[from..];
                let found = match from {
                    0 => lines.windows(wanted.len()).rposition(|window| window == wanted),
                    _ => lines.starts_with(&wanted.iter().map(String::as_str).collect::<Vec<_>>()).then_some(0),
                };
                if let Some(at) = found {
                    return at + wanted.len();
                }
            }
        }
        0
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn dump(numbers: std::ops::Range<u32>) -> String {
        numbers.map(|number| format!("<6>[{number:5}.000000] line {number}\n")).collect()
    }

    #[test]
    fn only_what_is_new_counts() {
        let mut place = RingPlace::default();
        assert!(place.fresh(&dump(0..100)).is_empty(), "what was there before is old");
        assert!(place.fresh(&dump(0..100)).is_empty());
        assert_eq!(place.fresh(&dump(0..102)).len(), 2);
        assert_eq!(place.fresh(&dump(90..103)), ["<6>[  102.000000] line 102"], "its beginning was overwritten");
        assert_eq!(place.fresh(&dump(101..104)), ["<6>[  103.000000] line 103"], "most of it was overwritten");
        assert_eq!(place.fresh(&dump(500..503)).len(), 3, "all of it was");
    }

    #[test]
    fn a_buffer_that_was_empty_or_cleared_is_read_on() {
        let mut place = RingPlace::default();
        assert!(place.fresh("").is_empty());
        assert_eq!(place.fresh(&dump(0..2)).len(), 2);
        assert!(place.fresh("").is_empty());
        assert_eq!(place.fresh(&dump(2..3)).len(), 1);
    }

    #[test]
    fn lines_without_a_time_are_told_apart_by_those_before_them() {
        let mut place = RingPlace::default();
        place.fresh("<6>a\n<6>b\n<6>a\n");
        assert_eq!(place.fresh("<6>a\n<6>b\n<6>a\n<6>b\n"), ["<6>b"]);
    }

    #[test]
    fn a_line_that_grew_is_new_again_and_those_before_it_are_not() {
        let mut place = RingPlace::default();
        place.fresh("<6>[1.0] a\n<6>[2.0] b\n");
        assert_eq!(place.fresh("<6>[1.0] a\n<6>[2.0] b, and more\n<6>[3.0] c\n").len(), 2);
    }
}
