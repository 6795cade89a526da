//! A control socket that the test plays, and the binary as its client.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::scene::program;

/// Plays a watchdog: every call gets what the test says. It ends with the test.
pub struct Player {
    directory: TempDir,
}

impl Player {
    /// Answers each call, read as JSON, with the line that `answer` makes of it.
    pub fn answering(mut answer: impl FnMut(&Value) -> String + Send + 'static) -> Player {
        let directory = tempfile::Builder::new().prefix("mw-").tempdir_in("/tmp").unwrap();
        let listener = UnixListener::bind(directory.path().join("control.sock")).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut call = String::new();
                let _ = BufReader::new(&stream).read_line(&mut call);
                let call = serde_json::from_str(&call).unwrap_or_default();
                let _ = (&stream).write_all(answer(&call).as_bytes());
            }
        });
        Player { directory }
    }

    /// Path of its control socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("control.sock")
    }
}

/// An answer's line.
pub fn ok(document: &Value) -> String {
    json!({ "version": 1, "ok": document }).to_string() + "\n"
}

/// The client with these words.
pub fn client(socket: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.arg("--control-socket").arg(socket).args(words).stdin(Stdio::null());
    command
}

/// How the client ended, and what it said on stdout and stderr.
pub fn asked(socket: &Path, words: &[&str]) -> (i32, String, String) {
    said(&client(socket, words).output().unwrap())
}

pub fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// Everything that a socket answers to these bytes, after which nothing more is written.
pub fn raw(socket: &Path, bytes: &[u8]) -> Value {
    let mut stream = UnixStream::connect(socket).unwrap();
    // One that refuses hangs up before all was read.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    answer(&stream)
}

/// The answer's line.
pub fn answer(stream: &UnixStream) -> Value {
    let mut line = String::new();
    let _ = BufReader::new(stream).read_line(&mut line);
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}
