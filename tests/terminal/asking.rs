//! A demo in a directory of its own, asked beside it as its first block says.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::support::processes;
use crate::support::scene::{eventually, program};

/// A demo without faults, as long as the test lasts.
pub struct Demo {
    child: Child,
    directory: TempDir,
}

impl Demo {
    pub fn play() -> Demo {
        let directory = tempfile::Builder::new().prefix("mw-").tempdir_in("/tmp").unwrap();
        let output = File::create(directory.path().join("output")).unwrap();
        let mut command = Command::new(program());
        command.args(["demo", "--engines", "2", "--for", "10m", "--inject", "trap@9m"]);
        command.args(["--web.listen-address", "127.0.0.1:0"]).env("TMPDIR", directory.path());
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        Demo { child: command.spawn().unwrap(), directory }
    }

    fn after(&self, mark: &str) -> String {
        eventually(mark, || {
            let told = fs::read_to_string(self.directory.path().join("output")).unwrap();
            let (_, rest) = told.split_once(mark)?;
            let (word, _) = rest.split_once(|c: char| c.is_whitespace())?;
            Some(word.to_owned())
        })
    }

    /// The socket that its first block names.
    pub fn socket(&self) -> PathBuf {
        self.after("--control-socket ").into()
    }

    /// Address of its HTTP.
    pub fn address(&self) -> SocketAddr {
        self.after("page    http://").trim_end_matches('/').parse().unwrap()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        processes::naming(self.directory.path()).iter().for_each(|process| process.signal(Signal::SIGKILL));
    }
}
