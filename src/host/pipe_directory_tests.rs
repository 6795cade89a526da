//! Who uses a pipe directory, and what is swept of it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::os::unix::net::{UnixDatagram, UnixListener};

use nix::sys::signal::Signal;

use super::*;
use crate::host::child::{Child, Launch, start};

const BINARY: &str = "/opt/nvidia-cuda-mps-control";

fn left_in(directory: &Path) -> Vec<String> {
    let mut left: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    left.sort();
    left
}

/// A process that is called so and waits.
fn called(name: &str, pipe_directory: &Path) -> Child {
    let script = format!("exec -a {name} sleep 1000");
    let mut environment: BTreeMap<_, _> = std::env::vars_os().collect();
    environment.insert(PIPE_VARIABLE.into(), pipe_directory.into());
    let child = start(&Launch {
        program: "bash".into(),
        arguments: vec!["-c".into(), script.into()],
        environment,
        ..Launch::default()
    });
    let child = child.unwrap();
    let cmdline = format!("/proc/{}/cmdline", child.id().pid);
    while !fs::read_to_string(&cmdline).unwrap().starts_with(name) {
        std::thread::yield_now();
    }
    child
}

fn write_pid(directory: &Path, pid: u32) {
    fs::write(directory.join(PID_FILE), format!("{pid}\n")).unwrap();
}

#[test]
fn a_living_control_daemon_keeps_its_directory_and_what_a_dead_one_left_is_swept() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = called("/usr/bin/nvidia-cuda-mps-control", directory.path());
    write_pid(directory.path(), daemon.id().pid);
    fs::write(directory.path().join("kept"), "").unwrap();
    drop(UnixListener::bind(directory.path().join("control")).unwrap());
    let why = sweep(directory.path(), Path::new(BINARY)).unwrap_err().to_string();
    assert!(why.contains(&format!("control daemon {}", daemon.id())), "{why}");
    daemon.pidfd().signal(Signal::SIGKILL).unwrap();
    while !daemon.pidfd().is_gone() {
        std::thread::yield_now();
    }
    sweep(directory.path(), Path::new(BINARY)).unwrap();
    assert_eq!(left_in(directory.path()), ["kept"]);
}

#[test]
fn a_pid_file_is_believed_only_with_a_control_daemon_behind_it() {
    let directory = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let other = called("something-else", directory.path());
    let anothers = called("nvidia-cuda-mps-control", elsewhere.path());
    for pid in [1, std::process::id(), other.id().pid, anothers.id().pid] {
        write_pid(directory.path(), pid);
        sweep(directory.path(), Path::new(BINARY)).unwrap();
        assert_eq!(left_in(directory.path()), Vec::<String>::new(), "{pid}");
    }
    for child in [other, anothers] {
        child.pidfd().signal(Signal::SIGKILL).unwrap();
    }
}

#[test]
fn a_garbage_pid_file_is_swept() {
    let directory = tempfile::tempdir().unwrap();
    for text in ["", "0\n", "-1", "many", "99999999999999"] {
        fs::write(directory.path().join(PID_FILE), text).unwrap();
        sweep(directory.path(), Path::new(BINARY)).unwrap();
        assert!(left_in(directory.path()).is_empty(), "{text:?}");
    }
}

#[test]
fn who_is_bound_at_a_daemons_socket_is_told_and_left() {
    let directory = tempfile::tempdir().unwrap();
    for name in SOCKETS {
        let path = directory.path().join(name);
        let listener = UnixListener::bind(&path).unwrap();
        let why = sweep(directory.path(), Path::new(BINARY)).unwrap_err().to_string();
        assert!(why.contains("still bound by") && why.contains(&std::process::id().to_string()), "{why}");
        assert!(why.contains("pipe_directory") && path.exists(), "{why}");
        drop(listener);
        let datagrams = std::fs::remove_file(&path).and_then(|()| UnixDatagram::bind(&path)).unwrap();
        assert!(is_bound(&path).unwrap());
        drop(datagrams);
        assert!(!is_bound(&path).unwrap());
        sweep(directory.path(), Path::new(BINARY)).unwrap();
    }
}

#[test]
fn a_strangers_socket_of_another_name_is_in_nobodys_way_and_stays() {
    let directory = tempfile::tempdir().unwrap();
    let _listener = UnixListener::bind(directory.path().join("mine")).unwrap();
    drop(UnixListener::bind(directory.path().join("control")).unwrap());
    sweep(directory.path(), Path::new(BINARY)).unwrap();
    assert_eq!(left_in(directory.path()), ["mine"]);
}

#[test]
fn a_lock_that_a_living_process_holds_is_told_with_its_holder() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(LOCK);
    fs::write(&path, "").unwrap();
    let holder = File::open(&path).unwrap();
    holder.lock().unwrap();
    let why = sweep(directory.path(), Path::new(BINARY)).unwrap_err().to_string();
    assert!(why.contains("is locked by") && why.contains("another pipe_directory"), "{why}");
    // A child that another test forks holds it, too, until it runs its program.
    holder.unlock().unwrap();
    sweep(directory.path(), Path::new(BINARY)).unwrap();
    assert!(left_in(directory.path()).is_empty());
}

#[test]
fn only_the_whole_path_names_a_socket() {
    let head = "Num       RefCount Protocol Flags    Type St Inode Path\n";
    let line = |path: &str| format!("0000000000000000: 00000002 00000000 00010000 0001 01 815 {path}\n");
    let is = |path: &str| inode_bound_at(&format!("{head}{}", line(path)), Path::new("/run/g/control"));
    assert_eq!(is("/run/g/control"), Some(815));
    for other in ["@ /run/g/control", "@/run/g/control", "x /run/g/control", " /run/g/control", "/x /run/g/control", ""]
    {
        assert_eq!(is(other), None, "{other:?}");
    }
    assert_eq!(inode_bound_at("Num\ngarbage\n\n: : :", Path::new("/run/g/control")), None);
}

#[test]
fn the_holder_of_a_lock_is_read_and_who_waits_for_it_is_not() {
    let table = "1: POSIX  ADVISORY  WRITE 12 00:2d:814 0 EOF\n2: -> FLOCK  ADVISORY  WRITE 14 00:2d:815 0 EOF\n\
                 2: FLOCK  ADVISORY  WRITE 13 00:2d:815 0 EOF\n";
    assert_eq!(lock_holder(table, "00:2d:815"), Some(13));
    assert_eq!(lock_holder(table, "00:2d:816"), None);
}
