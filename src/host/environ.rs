//! The settings of MPS that processes were started with: /proc/PID/environ. The kernel reads it from the process's own
//! memory, so one that hangs in the driver may hang its reader: each reading has a thread of its own.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use tokio::sync::oneshot;

use super::procfs::Procfs;
use crate::model::{MpsEnvironment, ProcessId};

/// Number of readings that hang at which no other is begun.
const MOST_HANGING: usize = 8;
/// Most bytes of an environment that is read: the kernel allows 6 MiB with its usual stack limit.
const LONGEST: u64 = 8 << 20;

/// The settings of some processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MpsEnvironments {
    /// Those that still show it.
    pub processes: Vec<MpsEnvironment>,
    /// Those that have written something else in its place, as `setproctitle` does: their settings can't be seen any
    /// more.
    pub overwritten: Vec<ProcessId>,
}

/// Reads environments; the root of /proc is injected.
#[derive(Clone, Debug)]
pub struct Environments {
    root: PathBuf,
    /// One more for each reading on its way.
    readings: Arc<()>,
}

impl Environments {
    /// Environments in the /proc mounted at `root`.
    pub fn new(root: &Path) -> Self {
        Environments { root: root.to_owned(), readings: Arc::new(()) }
    }

    /// Reads those of `processes`, of a group with this pipe directory. One that is gone, or whose environment is
    /// not ours to read, is left out. Never blocks; fails where too many readings hang.
    pub fn read(&self, processes: Vec<ProcessId>, pipe: PathBuf) -> Result<oneshot::Receiver<MpsEnvironments>, String> {
        if Arc::strong_count(&self.readings) > MOST_HANGING {
            return Err(format!("{MOST_HANGING} readings of /proc/PID/environ hang; look for processes in state D"));
        }
        let (root, counted) = (self.root.clone(), self.readings.clone());
        let (to, answer) = oneshot::channel();
        let read = move || {
            // Nobody waits any more: the look timed out.
            let _ = to.send(of_all(&root, processes, &pipe));
            drop(counted);
        };
        let thread = thread::Builder::new().name("environ".into()).spawn(read);
        thread.map_err(|error| format!("no thread to read /proc/PID/environ on: {error}"))?;
        Ok(answer)
    }
}

fn of_all(root: &Path, processes: Vec<ProcessId>, pipe: &Path) -> MpsEnvironments {
    let mut told = MpsEnvironments::default();
    for process in processes {
        match of(root, process).map(|text| is_well_formed(&text).then(|| parse(process, &text, pipe))) {
            Some(Some(environment)) => told.processes.push(environment),
            Some(None) => told.overwritten.push(process),
            None => {}
        }
    }
    told
}

/// Environment of a process; `None`: it is gone, or not ours to read. An environment that is empty is that of a process
/// that ends, or of a kernel thread.
fn of(root: &Path, process: ProcessId) -> Option<Vec<u8>> {
    let text = whole(&root.join(process.pid.to_string()).join("environ")).ok()?;
    // Asked after it: so it is the environment of this process, and of no other that has its pid now.
    let same = Procfs::new(root).stat(process.pid).ok()??.id == process;
    text.filter(|text| same && !text.is_empty())
}

/// The whole file; `None`: it is longer than any environment.
fn whole(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut text = Vec::new();
    File::open(path)?.take(LONGEST).read_to_end(&mut text)?;
    Ok(Some(text).filter(|text| (text.len() as u64) < LONGEST))
}

/// The variable that limits an engine's SMs.
const PERCENTAGE: &str = "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE";

/// Whether it is `NAME=value` and a NUL, again and again, as the kernel put it there. A title in its place, and the
/// NULs that fill up what is left, are not.
fn is_well_formed(text: &[u8]) -> bool {
    let is_variable = |entry: &[u8]| {
        let name = entry.split(|byte| *byte == b'=').next().unwrap_or_default();
        (1..entry.len()).contains(&name.len()) && !name.iter().any(|byte| *byte <= b' ')
    };
    text.strip_suffix(b"\0").is_some_and(|text| text.split(|byte| *byte == 0).all(is_variable))
}

/// A percentage in hundredths, as `33.5`; `None`: it is none.
fn hundredths(text: &[u8]) -> Option<u32> {
    let percentage: f64 = std::str::from_utf8(text).ok()?.trim().parse().ok()?;
    (percentage > 0.0 && percentage <= 100.0).then(|| (percentage * 100.0).round() as u32)
}

fn parse(process: ProcessId, text: &[u8], pipe: &Path) -> MpsEnvironment {
    let value = |name: &str| {
        let mut entries = text.split(|byte| *byte == 0);
        entries
            .find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
            .filter(|value| !value.is_empty())
    };
    MpsEnvironment {
        process,
        own_pipe: value("CUDA_MPS_PIPE_DIRECTORY") == Some(pipe.as_os_str().as_encoded_bytes()),
        thread_percentage: value(PERCENTAGE).is_some(),
        percentage: value(PERCENTAGE).and_then(hundredths),
        memory_limit: value("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT").is_some(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::os::unix::fs::{FileExt, OpenOptionsExt};
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

    fn told(text: &[u8]) -> (bool, bool, bool) {
        assert!(is_well_formed(text));
        let told = parse(process(), text, Path::new(PIPE));
        (told.own_pipe, told.thread_percentage, told.memory_limit)
    }

    #[test]
    fn a_percentage_is_a_number_over_0_up_to_100() {
        let of = |text: &str| hundredths(text.as_bytes());
        assert_eq!((of("50"), of("33.5"), of(" 100 ")), (Some(5000), Some(3350), Some(10_000)));
        for none in ["", "0", "-1", "100.1", "half", "nan", "inf"] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn what_is_set_is_found_and_what_is_empty_or_another_pipe_is_not() {
        let whole = b"A=1\0CUDA_MPS_PIPE_DIRECTORY=/run/mpswarden/g\0CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=50\0\
                      CUDA_MPS_PINNED_DEVICE_MEM_LIMIT=0=40960M\0";
        assert_eq!(told(whole), (true, true, true));
        let other = b"CUDA_MPS_PIPE_DIRECTORY=/tmp/nvidia-mps\0CUDA_MPS_PINNED_DEVICE_MEM_LIMIT=\0";
        assert_eq!(told(other), (false, false, false));
        assert_eq!(told(b"CUDA_MPS_PINNED_DEVICE_MEM_LIMITS=1\0"), (false, false, false));
    }

    #[test]
    fn what_setproctitle_leaves_behind_is_no_environment() {
        for text in [
            &b"\0\0\0\0\0\0\0\0"[..],
            b"\0",
            b"VLLM::EngineCore\0",
            b"ineCore_DP0\0\0\0\0\0\0",
            b"a title with=a sign\0\0\0\0",
            b"sglang::scheduler_TP0   ",
            b"ore\0CUDA_MPS_PIPE_DIRECTORY=/run/mpswarden/g\0A=1\0",
            b"A=1\0\0B=2\0",
            b"A=1\0B=2\0\0",
            b"=1\0",
            b"A=1",
        ] {
            assert!(!is_well_formed(text), "{:?}", String::from_utf8_lossy(text));
        }
        for text in [&b"A=1\0"[..], b"A=\0B= =\0", b"A=two\nlines\0BASH_FUNC_f%%=() { :; }\0", b"A=\xff\0"] {
            assert!(is_well_formed(text), "{:?}", String::from_utf8_lossy(text));
        }
    }

    /// Where the kernel looks for a process's environment: env_start and env_end of /proc/PID/stat.
    fn place_of_the_environment(pid: u32) -> std::ops::Range<u64> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        let number = |field: usize| fields[field - 3].trim().parse().unwrap();
        number(50)..number(51)
    }

    #[test]
    fn a_process_that_overwrote_its_environment_is_told_apart_from_one_that_lacks_a_variable() {
        let mut child = Command::new("sleep").arg("60").env("CUDA_MPS_PIPE_DIRECTORY", PIPE).spawn().unwrap();
        // The kernel shows it at the end of the exec, which the spawn does not wait for.
        let place = std::iter::repeat_with(|| place_of_the_environment(child.id())).find(|place| !place.is_empty());
        let place = place.unwrap();
        let memory = std::fs::OpenOptions::new().write(true).open(format!("/proc/{}/mem", child.id())).unwrap();
        memory.write_all_at(&vec![0; (place.end - place.start) as usize], place.start).unwrap();
        let id = Procfs::new(Path::new("/proc")).stat(child.id()).unwrap().unwrap().id;
        let read = Environments::new(Path::new("/proc")).read(vec![id], PIPE.into()).unwrap().blocking_recv();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(read.unwrap(), MpsEnvironments { processes: Vec::new(), overwritten: vec![id] });
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
        assert_eq!(mine.processes.iter().map(|told| (told.process, told.own_pipe)).collect::<Vec<_>>(), [(id, true)]);
        assert_eq!(
            (mine.overwritten, reused, read(id)),
            (Vec::new(), MpsEnvironments::default(), MpsEnvironments::default())
        );
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
                Ok(told) => told != MpsEnvironments::default(),
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
            is_well_formed(&text);
        }
    }
}
