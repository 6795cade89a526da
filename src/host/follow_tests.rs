//! Real files, written, truncated, replaced and removed while they are followed.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs::OpenOptions;
use std::io::Write;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

use super::*;

struct Followed {
    directory: tempfile::TempDir,
    lines: UnboundedReceiver<String>,
}

impl Followed {
    fn path(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    fn append(&self, bytes: &[u8]) {
        OpenOptions::new().append(true).create(true).open(self.path()).unwrap().write_all(bytes).unwrap();
    }

    async fn next(&mut self) -> String {
        timeout(Duration::from_secs(20), self.lines.recv()).await.expect("a line in time").unwrap()
    }
}

fn followed(before: Option<&str>, start: Start, limit: u64) -> Followed {
    followed_with(before, start, limit, false)
}

fn followed_with(before: Option<&str>, start: Start, limit: u64, partial: bool) -> Followed {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    if let Some(before) = before {
        std::fs::write(&path, before).unwrap();
    }
    let (send, lines) = unbounded_channel();
    // The watches are set before the test goes on.
    let mut follower = Follower { partial, ..Follower::new(&path, start, Length::Truncated(limit)).unwrap() };
    tokio::spawn(async move {
        let mut on_piece = |piece: &Piece| drop(send.send(piece.text.to_owned()));
        while follower.turn(&mut on_piece).await.is_ok() {}
    });
    Followed { directory, lines }
}

#[tokio::test]
async fn whole_lines_come_from_the_beginning_or_the_end() {
    let mut log = followed(Some("old\n"), Start::Beginning, 1 << 20);
    assert_eq!(log.next().await, "old");
    log.append(b"par");
    log.append(b"tial\r\nnext\n");
    assert_eq!((log.next().await, log.next().await), ("partial".into(), "next".into()));
    let mut log = followed(Some("old\n"), Start::End, 1 << 20);
    log.append(b"new\n");
    assert_eq!(log.next().await, "new");
}

#[tokio::test]
async fn a_file_that_comes_later_is_read_from_its_beginning() {
    let mut log = followed(None, Start::End, 1 << 20);
    tokio::task::yield_now().await;
    log.append(b"first\n");
    assert_eq!(log.next().await, "first");
}

#[tokio::test]
async fn a_file_that_others_truncate_or_replace_is_followed_on() {
    let mut log = followed(Some("one\ntwo\n"), Start::Beginning, 1 << 20);
    assert_eq!((log.next().await, log.next().await), ("one".into(), "two".into()));
    std::fs::write(log.path(), "3\n").unwrap();
    assert_eq!(log.next().await, "3");
    let new = log.directory.path().join("new");
    std::fs::write(&new, "four\n").unwrap();
    std::fs::rename(&new, log.path()).unwrap();
    assert_eq!(log.next().await, "four");
    log.append(b"five\n");
    assert_eq!(log.next().await, "five");
}

#[tokio::test]
async fn a_long_file_is_truncated_and_no_line_is_lost_while_the_reader_keeps_up() {
    let mut log = followed(None, Start::Beginning, 4096);
    let mut writer = OpenOptions::new().append(true).create(true).open(log.path()).unwrap();
    for round in 0..3 {
        for number in 0..100 {
            writeln!(writer, "{round} {number} {}", "x".repeat(80)).unwrap();
        }
        for number in 0..100 {
            assert!(log.next().await.starts_with(&format!("{round} {number} ")));
        }
        let deadline = clock::now().after(Duration::from_secs(20));
        while std::fs::metadata(log.path()).unwrap().len() > 0 {
            assert!(clock::now() < deadline, "the file was truncated");
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_writer_that_never_rests_is_truncated_at_a_few_limits() {
    let mut log = followed(None, Start::Beginning, 1024);
    log.append(&b"x\n".repeat(4096));
    for _ in 0..4096 {
        log.next().await;
    }
    let deadline = clock::now().after(Duration::from_secs(20));
    while std::fs::metadata(log.path()).unwrap().len() > 0 {
        assert!(clock::now() < deadline, "the file was truncated");
        log.append(b"y\n");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_named() {
    let error = follow(Path::new("/no/such/place/log"), Start::End, Length::Truncated(1), || {}, |_, _| {}).await;
    assert!(error.to_string().contains("/no/such/place"), "{error}");
}

#[tokio::test]
async fn a_file_of_others_is_read_and_never_truncated() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let (send, mut lines) = unbounded_channel();
    let mut follower = Follower::new(&path, Start::End, Length::OfOthers(16)).unwrap();
    tokio::spawn(async move {
        let mut on_piece = |piece: &Piece| drop(send.send(piece.text.to_owned()));
        while follower.turn(&mut on_piece).await.is_ok() {}
    });
    let mut writer = OpenOptions::new().append(true).create(true).open(&path).unwrap();
    for number in 0..100 {
        writeln!(writer, "line {number}").unwrap();
        let line = timeout(Duration::from_secs(20), lines.recv()).await.expect("a line in time").unwrap();
        assert_eq!(line, format!("line {number}"));
    }
    assert!(std::fs::metadata(&path).unwrap().len() > 700, "it is as long as its writer made it");
}

#[tokio::test]
async fn of_a_file_of_others_that_grew_too_fast_only_the_end_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    std::fs::write(&path, "").unwrap();
    let limit = 1 << 20;
    let mut follower = Follower::new(&path, Start::End, Length::OfOthers(limit)).unwrap();
    let mut writer = OpenOptions::new().append(true).open(&path).unwrap();
    writer.write_all(&b"y\n".repeat((2 * MOST_LIMITS * limit) as usize)).unwrap();
    writer.write_all(b"its end\n").unwrap();
    let (mut count, mut last) = (0, String::new());
    let mut on_piece = |piece: &Piece| {
        count += 1;
        piece.text.clone_into(&mut last);
    };
    while follower.unread().unwrap() > 0 {
        follower.turn(&mut on_piece).await.unwrap();
    }
    assert_eq!(last, "its end");
    assert!(count < MOST_LIMITS * limit, "{count} lines were read");
    assert!(std::fs::metadata(&path).unwrap().len() > 2 * MOST_LIMITS * limit, "nothing was taken off it");
}

#[tokio::test]
async fn a_directory_that_is_removed_is_reported_after_what_was_written_last() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("logs");
    std::fs::create_dir(&place).unwrap();
    let path = place.join("log");
    std::fs::write(&path, "").unwrap();
    let mut follower = Follower::new(&path, Start::End, Length::Truncated(1 << 20)).unwrap();
    follower.watch_over_the_directory().unwrap();
    OpenOptions::new().append(true).open(&path).unwrap().write_all(b"its end\n").unwrap();
    std::fs::remove_dir_all(&place).unwrap();
    let mut seen = Vec::new();
    let mut on_piece = |piece: &Piece| seen.push(piece.text.to_owned());
    let error = loop {
        match timeout(Duration::from_secs(20), follower.turn(&mut on_piece)).await.expect("it is noticed") {
            Ok(()) => {}
            Err(error) => break error,
        }
    };
    assert_eq!((error.kind(), seen), (io::ErrorKind::NotFound, vec!["its end".to_owned()]));
}

#[tokio::test]
async fn a_line_without_an_end_comes_once_its_writer_pauses_and_not_again() {
    let mut log = followed_with(None, Start::Beginning, 1 << 20, true);
    log.append(b"its last words");
    assert_eq!(log.next().await, "its last words");
    log.append(b"\nnext\n");
    assert_eq!(log.next().await, "next");
}

#[tokio::test]
async fn what_stood_without_an_end_in_a_file_that_is_replaced_is_not_lost() {
    let mut log = followed_with(Some("its last words"), Start::Beginning, 1 << 20, true);
    let new = log.directory.path().join("new");
    std::fs::write(&new, "next\n").unwrap();
    std::fs::rename(&new, log.path()).unwrap();
    assert_eq!((log.next().await, log.next().await), ("its last words".into(), "next".into()));
}

#[tokio::test]
async fn what_was_written_since_a_mark_is_read_and_nothing_before_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    std::fs::write(&path, "old\n").unwrap();
    let mark = Mark::now(&path);
    OpenOptions::new().append(true).open(&path).unwrap().write_all(b"new\n").unwrap();
    let mut follower = Follower::new(&path, Start::Since(mark), Length::Truncated(1 << 20)).unwrap();
    let mut seen = Vec::new();
    follower.read(&mut |piece: &Piece| seen.push((piece.text.to_owned(), piece.byte))).unwrap();
    assert_eq!(seen, [("new".to_owned(), 4)]);
}

#[tokio::test]
async fn a_turn_is_bounded_however_much_there_is_to_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    std::fs::write(&path, b"y\n".repeat(2 << 20)).unwrap();
    let mut follower = Follower::new(&path, Start::Beginning, Length::Truncated(u64::MAX)).unwrap();
    let mut lines = 0;
    assert!(follower.read(&mut |_: &Piece| lines += 1).unwrap(), "there is more");
    assert_eq!(lines, TURN / 2);
}

#[tokio::test]
async fn a_hole_is_not_read_through() {
    let mut log = followed(Some("before\n"), Start::Beginning, 1024);
    assert_eq!(log.next().await, "before");
    OpenOptions::new().write(true).open(log.path()).unwrap().set_len(1 << 40).unwrap();
    let deadline = clock::now().after(Duration::from_secs(20));
    while std::fs::metadata(log.path()).unwrap().len() > 0 {
        assert!(clock::now() < deadline, "the hole is gone");
        tokio::task::yield_now().await;
    }
    log.append(b"after\n");
    assert_eq!(log.next().await, "after");
}

#[tokio::test]
async fn what_is_not_read_of_a_file_that_grows_too_fast_is_given_up_but_for_its_end() {
    let limit = 1 << 20;
    let mut log = followed(None, Start::Beginning, limit);
    log.append(&b"y\n".repeat((2 * MOST_LIMITS * limit) as usize));
    log.append(b"its end\n");
    while log.next().await != "its end" {}
    let deadline = clock::now().after(Duration::from_secs(20));
    while std::fs::metadata(log.path()).unwrap().len() > 0 {
        assert!(clock::now() < deadline, "the file was truncated");
        tokio::task::yield_now().await;
    }
    log.append(b"new\n");
    while log.next().await != "new" {}
}

#[tokio::test]
async fn a_file_that_was_moved_away_is_not_truncated_and_keeps_nobody_busy() {
    let mut log = followed(Some("old\n"), Start::Beginning, 16);
    assert_eq!(log.next().await, "old");
    let rotated = log.directory.path().join("log.1");
    std::fs::rename(log.path(), &rotated).unwrap();
    OpenOptions::new().append(true).open(&rotated).unwrap().write_all(&b"0123456\n".repeat(64)).unwrap();
    for _ in 0..64 {
        assert_eq!(log.next().await, "0123456");
    }
    assert_eq!(std::fs::metadata(&rotated).unwrap().len(), 4 + 64 * 8);
    log.append(b"new\n");
    assert_eq!(log.next().await, "new");
}
