//! What processes were told of MPS when they were started: /proc/PID/environ. The kernel reads it from the process's
//! own memory, so one that hangs in the driver may hang its reader: each reading has a thread of its own.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use tokio::sync::oneshot;

use super::procfs::Procfs;
use crate::model::{MpsEnvironment, ProcessId};

/// Readings that hang, before no other is begun.
const MOST_HANGING: usize = 8;
/// A longer environment is not read: the kernel allows 6 MiB with its usual stack limit.
const LONGEST: u64 = 8 << 20;

/// Reads environments; the root of /proc is injected.
#[derive(Clone, Debug)]
pub struct Environments {
    root: PathBuf,
    /// One more for each reading on its way.
    readings: Arc<()>,
}

impl Environments {
    /// Of the /proc mounted at `root`.
    pub fn new(root: &Path) -> Self {
        Environments { root: root.to_owned(), readings: Arc::new(()) }
    }

    /// Reads those of `processes`, of a group with this pipe directory. One that is gone, or whose environment is
    /// not ours to read, is left out. Never blocks; fails where too many readings hang.
    pub fn read(
        &self,
        processes: Vec<ProcessId>,
        pipe: PathBuf,
    ) -> Result<oneshot::Receiver<Vec<MpsEnvironment>>, String> {
        if Arc::strong_count(&self.readings) > MOST_HANGING {
            return Err(format!("{MOST_HANGING} readings of /proc/PID/environ hang; look for processes in state D"));
        }
        let (root, counted) = (self.root.clone(), self.readings.clone());
        let (to, answer) = oneshot::channel();
        let read = move || {
            let told = processes.into_iter().filter_map(|process| of(&root, process, &pipe)).collect();
            // Nobody waits any more: the look timed out.
            let _ = to.send(told);
            drop(counted);
        };
        let thread = thread::Builder::new().name("environ".into()).spawn(read);
        thread.map_err(|error| format!("no thread to read /proc/PID/environ on: {error}"))?;
        Ok(answer)
    }
}

fn of(root: &Path, process: ProcessId, pipe: &Path) -> Option<MpsEnvironment> {
    let text = whole(&root.join(process.pid.to_string()).join("environ")).ok()?;
    // Asked after it: so it is the environment of this process, and of no other that has its pid now.
    let same = Procfs::new(root).stat(process.pid).ok()??.id == process;
    same.then(|| parse(process, &text?, pipe)).flatten()
}

/// `None`: it is longer than any environment.
fn whole(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut text = Vec::new();
    File::open(path)?.take(LONGEST).read_to_end(&mut text)?;
    Ok(Some(text).filter(|text| (text.len() as u64) < LONGEST))
}

/// `None`: an environment that is empty is that of a process that ends, or of a kernel thread.
fn parse(process: ProcessId, text: &[u8], pipe: &Path) -> Option<MpsEnvironment> {
    let value = |name: &str| {
        let mut entries = text.split(|byte| *byte == 0);
        entries
            .find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
            .filter(|value| !value.is_empty())
    };
    (!text.is_empty()).then(|| MpsEnvironment {
        process,
        own_pipe: value("CUDA_MPS_PIPE_DIRECTORY") == Some(pipe.as_os_str().as_encoded_bytes()),
        thread_percentage: value("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE").is_some(),
        memory_limit: value("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT").is_some(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::os::unix::fs::OpenOptionsExt;
    use std::process::Command;
    use std::time::{Duration, Instant};

    use nix::libc::O_NONBLOCK;
    use proptest::prelude::*;
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    const PIPE: &str = "/run/mpswarden/g";

    fn process() -> ProcessId {
        ProcessId { pid: 7, started_at: 8 }
    }

    fn told(text: &[u8]) -> Option<(bool, bool, bool)> {
        let told = parse(process(), text, Path::new(PIPE))?;
        Some((told.own_pipe, told.thread_percentage, told.memory_limit))
    }

    #[test]
    fn what_is_set_is_found_and_what_is_empty_or_another_pipe_is_not() {
        let whole = b"A=1\0CUDA_MPS_PIPE_DIRECTORY=/run/mpswarden/g\0CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=50\0\
                      CUDA_MPS_PINNED_DEVICE_MEM_LIMIT=0=40960M\0";
        assert_eq!(told(whole), Some((true, true, true)));
        let other = b"CUDA_MPS_PIPE_DIRECTORY=/tmp/nvidia-mps\0CUDA_MPS_PINNED_DEVICE_MEM_LIMIT=\0";
        assert_eq!(told(other), Some((false, false, false)));
        assert_eq!(told(b"CUDA_MPS_PINNED_DEVICE_MEM_LIMITS=1\0"), Some((false, false, false)));
        assert_eq!(told(b""), None);
    }

    #[test]
    fn a_living_process_is_read_and_one_with_a_reused_pid_is_not() {
        let mut child = Command::new("sleep").arg("60").env("CUDA_MPS_PIPE_DIRECTORY", PIPE).spawn().unwrap();
        let environments = Environments::new(Path::new("/proc"));
        let id = Procfs::new(Path::new("/proc")).stat(child.id()).unwrap().unwrap().id;
        let read = |process| environments.read(vec![process], PIPE.into()).unwrap().blocking_recv().unwrap();
        let (mine, reused) = (read(id), read(ProcessId { started_at: id.started_at + 1, ..id }));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(mine.iter().map(|told| (told.process, told.own_pipe)).collect::<Vec<_>>(), [(id, true)]);
        assert_eq!(reused, []);
        assert_eq!(read(id), []);
    }

    #[test]
    fn readings_that_hang_are_bounded() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("7")).unwrap();
        let fifo = directory.path().join("7/environ");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let environments = Environments::new(directory.path());
        let read = || environments.read(vec![process()], PIPE.into());
        let hanging: Vec<_> = (0..MOST_HANGING).filter_map(|_| read().ok()).collect();
        assert_eq!(hanging.len(), MOST_HANGING);
        assert!(read().unwrap_err().contains("state D"));
        // A writer that comes and goes is the end of the file for all that read by then; others come later.
        let mut answers = hanging;
        let deadline = Instant::now() + Duration::from_secs(20);
        while !answers.is_empty() {
            assert!(Instant::now() < deadline, "{} readings hang on", answers.len());
            let _ = std::fs::OpenOptions::new().write(true).custom_flags(O_NONBLOCK).open(&fifo);
            answers.retain_mut(|answer| match answer.try_recv() {
                Ok(told) => !told.is_empty(),
                Err(TryRecvError::Empty) => true,
                Err(TryRecvError::Closed) => panic!("no answer"),
            });
            thread::yield_now();
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(text in prop::collection::vec(any::<u8>(), 0..400)) {
            parse(process(), &text, Path::new(PIPE));
        }
    }
}
