//! The kernel log in a file: in other forms, rotated, in no form that is known.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use crate::support::scene::Scene;
use crate::support::watchdog::Watchdog;

const KERNEL: [&str; 8] = [
    "Nov  3 10:11:12 node1 kernel: [12345.678901] ",
    "2026-11-03T10:11:12.123456+00:00 node1 kernel: ",
    "<4>1 2026-11-03T10:11:12.123456+00:00 node1 kernel - - - ",
    "[Tue Nov  3 10:11:12 2026] ",
    "2026-11-29T16:26:50,421784+00:00 ",
    "kern  :info  : [    1.421784] ",
    "[   38.047175] node1 kernel: ",
    "Tue 2026-11-03 10:11:12 UTC node1 kernel: ",
];

const OTHERS: [&str; 4] = [
    "Nov  3 10:11:12 node1 myapp[77]: ",
    "Nov  3 10:11:12 node1 kernel[77]: ",
    "12,900,900000,-;",
    "<14>1 2026-11-03T10:11:12.123456+00:00 node1 kernel 77 - - ",
];

fn xid(number: u32) -> String {
    format!("NVRM: Xid (PCI:0000:00:06): {number}, pid=4711, name=python3, Ch 00000010\n")
}

/// A scene whose kernel log is a file of its own, with this in it.
fn scene(before: &str) -> (Scene, PathBuf) {
    let mut scene = Scene::set();
    let path = scene.directory().join("syslog");
    fs::write(&path, before).unwrap();
    scene.configuration.insert("kernel_log".to_owned(), path.display().to_string().into());
    (scene, path)
}

fn append(path: &PathBuf, text: &str) {
    OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

fn counted(watchdog: &Watchdog, number: u32) {
    let number = number.to_string();
    watchdog.await_metrics("the Xid", |metrics| metrics.sum("mps_gpu_xid_errors_total", &[("xid", &number)]) == 1.0);
}

fn stands(watchdog: &Watchdog, state: &str) {
    let kmsg = ("source", "kmsg");
    watchdog.await_metrics(state, |metrics| {
        let up = metrics.value("mpswarden_source_up", &[kmsg]);
        metrics.state("mpswarden_source_state", &[kmsg], "state") == Some(state)
            && up == Some(if state == "answers" { 1.0 } else { 0.0 })
    });
}

fn end(scene: &Scene, mut watchdog: Watchdog) {
    assert_eq!(watchdog.ready(), 200);
    watchdog.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn an_xid_counts_in_every_form_and_never_by_another_programs_word() {
    let (scene, path) = scene("");
    let watchdog = scene.serving();
    // Numbers that say nothing of the GPU itself.
    for (number, form) in (31..).zip(OTHERS) {
        append(&path, &format!("{form}{}", xid(number)));
    }
    for (number, form) in (60..).zip(KERNEL) {
        append(&path, &format!("{form}{}", xid(number)));
        counted(&watchdog, number);
    }
    append(&path, &format!("{{\"_TRANSPORT\":\"kernel\",\"MESSAGE\":\"{}\"}}\n", xid(69).trim()));
    counted(&watchdog, 69);
    let all = watchdog.metrics().sum("mps_gpu_xid_errors_total", &[]);
    assert_eq!(all, KERNEL.len() as f64 + 1.0);
    end(&scene, watchdog);
}

#[test]
fn a_log_that_is_rotated_by_rename_or_by_truncation_loses_nothing() {
    let (scene, path) = scene(&format!("{}{}", KERNEL[0], xid(1)));
    let watchdog = scene.serving();
    let line = |number| format!("{}{}", KERNEL[0], xid(number));
    append(&path, &line(31));
    counted(&watchdog, 31);
    let old = path.with_extension("1");
    fs::rename(&path, &old).unwrap();
    append(&old, &line(32));
    counted(&watchdog, 32);
    append(&path, &line(37));
    append(&old, line(38).trim_end());
    counted(&watchdog, 37);
    counted(&watchdog, 38);
    fs::write(&path, "").unwrap();
    append(&path, &line(43));
    counted(&watchdog, 43);
    fs::remove_file(&path).unwrap();
    append(&path, &line(45));
    counted(&watchdog, 45);
    assert_eq!(watchdog.metrics().sum("mps_gpu_xid_errors_total", &[]), 6.0, "what was there before is old");
    end(&scene, watchdog);
}

#[test]
fn a_log_whose_form_is_not_known_is_not_up_until_a_line_is_understood() {
    let (scene, path) = scene("");
    let watchdog = scene.serving();
    stands(&watchdog, "answers");
    append(&path, &"127.0.0.1 - - \"GET / HTTP/1.1\" 200\n".repeat(19));
    append(&path, &format!("{}{}", KERNEL[0], xid(31)));
    counted(&watchdog, 31);
    stands(&watchdog, "answers");
    append(&path, &"127.0.0.1 - - \"GET / HTTP/1.1\" 200\n".repeat(20));
    stands(&watchdog, "not_understood");
    watchdog.await_event("source_down", "in no form that is known");
    append(&path, "Nov  3 10:11:12 node1 cron[7]: hello\n");
    stands(&watchdog, "answers");
    end(&scene, watchdog);
}

#[test]
fn a_file_that_is_no_kernel_log_is_refused_at_the_start_and_a_young_one_is_not() {
    let (scene, path) = scene(&"127.0.0.1 - - \"GET / HTTP/1.1\" 200\n".repeat(40));
    let mut watchdog = scene.start();
    assert_eq!(watchdog.ended().code(), Some(78), "{}", watchdog.told());
    let told = watchdog.told();
    for part in ["mpswarden.toml:", "syslog is in no form", "GET / HTTP", "set kernel_log to /dev/kmsg"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    scene.assert_nothing_is_left();
    fs::write(&path, "hello\n").unwrap();
    end(&scene, scene.serving());
}

#[test]
fn a_log_that_can_not_be_read_is_down_with_the_cure_and_is_read_once_it_can() {
    let (scene, path) = scene("");
    fs::remove_file(&path).unwrap();
    let watchdog = scene.serving();
    stands(&watchdog, "not_asked");
    watchdog.await_event("source_down", "set kernel_log");
    append(&path, &format!("{}{}", KERNEL[0], xid(31)));
    counted(&watchdog, 31);
    stands(&watchdog, "answers");
    end(&scene, watchdog);
}
