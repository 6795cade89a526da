//! Cuts the bytes of a followed file into lines, and lines too long for memory into windows.

use std::borrow::Cow;

use crate::model::Moment;

/// Bytes of the windows in which a longer line comes: its writer must not fill our memory.
pub const LONGEST_LINE: usize = 64 << 10;
/// Bytes of a window that come again with the next one, so that nothing is cut in two.
const OVERLAP: usize = 1 << 10;

/// Where in its line a piece stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It begins the line.
    First,
    /// It is the line's beginning once more, longer than when its writer paused.
    Again,
    /// It goes on with the line; its first bytes may have been in the piece before.
    More,
}

/// A line without its end, or a part of one.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// Text of the piece.
    pub text: &'a str,
    /// Its first byte, counted from the file's beginning at the time of reading.
    pub byte: u64,
    /// Where in its line it stands.
    pub part: Part,
    /// The line ends with it.
    pub ended: bool,
    /// When it was read.
    pub read_at: Moment,
}

/// Cuts bytes into lines, at `\n`, at the `\r` with which progress bars begin anew, and at the zeros of a hole; a
/// partial line waits for its rest. Empty lines are no news.
#[derive(Default)]
pub(super) struct Lines {
    partial: Vec<u8>,
    /// Offset of the partial line's first byte that is kept.
    byte: u64,
    /// Bytes of `partial` that were handed on.
    told: usize,
    /// The line's beginning is not kept any more.
    windowed: bool,
}

impl Lines {
    /// Takes `bytes`, which stand at `byte` in the file, and hands on every line that ends in them. Of whole lines
    /// only those that `worth` finds worth a look.
    pub(super) fn take(
        &mut self,
        mut bytes: &[u8],
        mut byte: u64,
        now: Moment,
        worth: fn(&[u8]) -> bool,
        on_piece: &mut impl FnMut(&Piece),
    ) {
        let mut looked = false;
        while let Some(end) = memchr::memchr3(b'\n', b'\r', 0, bytes) {
            self.keep(&bytes[..end], byte, now, on_piece);
            self.end(now, on_piece);
            (bytes, byte) = (&bytes[end + 1..], byte + end as u64 + 1);
            // Once, for all the lines that are whole in here.
            if let Some(last) = memchr::memrchr3(b'\n', b'\r', 0, bytes).filter(|_| !looked)
                && !worth(&bytes[..last])
            {
                (bytes, byte) = (&bytes[last + 1..], byte + last as u64 + 1);
            }
            looked = true;
        }
        self.keep(bytes, byte, now, on_piece);
    }

    /// Hands on what has no end yet.
    pub(super) fn tell_partial(&mut self, now: Moment, on_piece: &mut impl FnMut(&Piece)) {
        self.tell(false, now, on_piece);
    }

    /// Whether there is a partial line with something that was not handed on.
    pub(super) fn has_news(&self) -> bool {
        self.partial.len() > self.told
    }

    /// The rest of the partial line won't come.
    pub(super) fn forget(&mut self) {
        self.partial.clear();
        (self.told, self.windowed) = (0, false);
    }

    fn keep(&mut self, mut bytes: &[u8], byte: u64, now: Moment, on_piece: &mut impl FnMut(&Piece)) {
        if self.partial.is_empty() {
            self.byte = byte;
        }
        loop {
            let (fit, rest) = bytes.split_at(bytes.len().min(LONGEST_LINE - self.partial.len()));
            self.partial.extend_from_slice(fit);
            if rest.is_empty() {
                return;
            }
            self.tell(false, now, on_piece);
            let gone = self.partial.len() - OVERLAP;
            self.partial.drain(..gone);
            self.byte += gone as u64;
            (self.told, self.windowed) = (OVERLAP, true);
            bytes = rest;
        }
    }

    fn end(&mut self, now: Moment, on_piece: &mut impl FnMut(&Piece)) {
        self.tell(true, now, on_piece);
        self.forget();
    }

    fn tell(&mut self, ended: bool, read_at: Moment, on_piece: &mut impl FnMut(&Piece)) {
        if !self.has_news() {
            return;
        }
        let part = match (self.windowed, self.told) {
            (true, _) => Part::More,
            (false, 0) => Part::First,
            (false, _) => Part::Again,
        };
        let text: Cow<str> = String::from_utf8_lossy(&self.partial);
        on_piece(&Piece { text: &text, byte: self.byte, part, ended, read_at });
        self.told = self.partial.len();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Seen = Vec<(String, u64, Part, bool)>;

    struct Cut {
        lines: Lines,
        byte: u64,
        seen: Seen,
    }

    fn cut() -> Cut {
        Cut { lines: Lines::default(), byte: 0, seen: Seen::new() }
    }

    fn everything(_: &[u8]) -> bool {
        true
    }

    impl Cut {
        fn take(mut self, bytes: &[u8]) -> Self {
            self.take_worth(bytes, everything);
            self
        }

        fn take_worth(&mut self, bytes: &[u8], worth: fn(&[u8]) -> bool) {
            let seen = &mut self.seen;
            let mut on_piece = |piece: &Piece| seen.push((piece.text.to_owned(), piece.byte, piece.part, piece.ended));
            self.lines.take(bytes, self.byte, Moment::ZERO, worth, &mut on_piece);
            self.byte += bytes.len() as u64;
        }

        fn pause(mut self) -> Self {
            let seen = &mut self.seen;
            self.lines.tell_partial(Moment::ZERO, &mut |piece: &Piece| {
                seen.push((piece.text.to_owned(), piece.byte, piece.part, piece.ended));
            });
            self
        }

        fn texts(&self) -> Vec<&str> {
            self.seen.iter().map(|(text, ..)| text.as_str()).collect()
        }
    }

    #[test]
    fn each_line_comes_with_its_place() {
        let cut = cut().take(b"one\ntw").take(b"o\r\n\nthree\n");
        let of = |text: &str, byte| (text.to_owned(), byte, Part::First, true);
        assert_eq!(cut.seen, [of("one", 0), of("two", 4), of("three", 10)]);
    }

    #[test]
    fn what_a_progress_bar_overwrites_is_a_line_of_its_own() {
        let cut = cut().take(b"\r 10%|# |\r100%|##|\rdone").take(b"\n");
        assert_eq!(cut.texts(), [" 10%|# |", "100%|##|", "done"]);
    }

    #[test]
    fn a_hole_is_no_part_of_a_line() {
        assert_eq!(cut().take(b"before\0\0\0").take(b"\0\0after\n").texts(), ["before", "after"]);
    }

    #[test]
    fn a_line_without_an_end_comes_once_when_its_writer_pauses() {
        let cut = cut().take(b"half").pause().pause().take(b"\nnext\n");
        let of = |text: &str, byte, ended| (text.to_owned(), byte, Part::First, ended);
        assert_eq!(cut.seen, [of("half", 0, false), of("next", 5, true)]);
    }

    #[test]
    fn a_line_that_goes_on_after_a_pause_comes_again_as_such() {
        let cut = cut().take(b"half").pause().take(b" and half\n");
        assert_eq!(cut.seen[1], ("half and half".to_owned(), 0, Part::Again, true));
    }

    #[test]
    fn a_line_of_megabytes_comes_in_windows_that_overlap() {
        let line: Vec<u8> = (0..3 << 20).map(|at: u32| b'a' + (at / 100 % 26) as u8).collect();
        let mut whole = cut();
        for part in line.chunks(16 << 10) {
            whole = whole.take(part);
        }
        let seen = whole.take(b"\nnext\n").seen;
        let ends: Vec<(Part, bool)> = seen.iter().map(|(.., part, ended)| (*part, *ended)).collect();
        assert_eq!(ends.first(), Some(&(Part::First, false)));
        assert_eq!(ends[ends.len() - 2..], [(Part::More, true), (Part::First, true)]);
        for (text, byte, ..) in &seen[..seen.len() - 1] {
            let from = *byte as usize;
            assert!(text.len() <= LONGEST_LINE && line[from..from + text.len()] == *text.as_bytes());
        }
        for two in seen[..seen.len() - 1].windows(2) {
            assert_eq!(two[0].1 + two[0].0.len() as u64, two[1].1 + OVERLAP as u64);
        }
    }

    #[test]
    fn lines_that_are_not_worth_a_look_are_passed_over() {
        let mut cut = cut();
        cut.take_worth(b"begins\nwhole\nwhole\nre", |_| false);
        cut.take_worth(b"st\n", |_| false);
        assert_eq!(cut.texts(), ["begins", "rest"]);
    }

    proptest! {
        #[test]
        fn however_bytes_are_cut_the_lines_are_the_same(text in "[a-c\n\r\0]{0,60}", cuts in prop::collection::vec(0usize..60, 0..6)) {
            let whole = cut().take(text.as_bytes()).seen;
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.sort();
            cuts.push(text.len());
            let (mut parts, mut from) = (cut(), 0);
            for end in cuts {
                parts = parts.take(&text.as_bytes()[from..end]);
                from = end;
            }
            prop_assert_eq!(whole, parts.seen);
        }

        #[test]
        fn bytes_that_are_no_text_never_panic(bytes in any::<Vec<u8>>()) {
            cut().take(&bytes).pause();
        }
    }
}
