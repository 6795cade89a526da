//! Files that are followed, rotated and refused.

use std::fs::OpenOptions;
use std::io::Write;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::super::words::PciAddress;
use super::*;

const RECORDED: &str = "6,339,5140900,-;NVRM: Xid (PCI:0000:00:06): 31, pid=635, name=client, channel 0x0000001d";

/// A log that is followed; ends with the directory.
struct Followed {
    directory: tempfile::TempDir,
    heard: Receiver<Heard>,
}

impl Followed {
    fn from(before: Option<&str>) -> Followed {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("syslog");
        if let Some(before) = before {
            fs::write(&path, before).unwrap();
        }
        let log = KernelLog::open(&path).unwrap();
        let (send, heard) = channel();
        std::thread::spawn(move || {
            // The test has ended when its receiver is gone.
            log.follow(
                |heard| if send.send(heard).is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) },
            )
        });
        Followed { directory, heard }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("syslog")
    }

    fn append(&self, name: &str, text: &str) {
        let path = self.directory.path().join(name);
        OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn next(&self) -> Heard {
        loop {
            match self.heard.recv_timeout(Duration::from_secs(60)).expect("something is heard") {
                Heard::Quiet => {}
                heard => return heard,
            }
        }
    }

    /// It looked at least once at what was written before this.
    fn looked(&self) {
        // What it sent before may be of looks before that; of the next two, one began after it.
        while self.heard.try_recv().is_ok() {}
        (0..2).for_each(|_| while self.heard.recv_timeout(Duration::from_secs(60)).unwrap() != Heard::Quiet {});
    }
}

fn xid(number: u32) -> Heard {
    Heard::Line(KernelLine::Xid { pci: PciAddress::parse("0000:00:06").unwrap(), xid: number, pid: None, action: None })
}

fn said(number: u32) -> String {
    format!("Nov  3 10:11:12 node1 kernel: [1.0] NVRM: Xid (PCI:0000:00:06): {number}, GPU\n")
}

#[test]
fn a_file_is_followed_from_its_end_and_a_line_that_was_begun_is_read_whole() {
    let (first, rest) = (said(31), said(79));
    let (begun, rest) = rest.split_at(60);
    let log = Followed::from(Some(&format!("{first}{begun}")));
    log.append("syslog", rest);
    assert_eq!(log.next(), xid(79));
    log.append("syslog", "Nov  3 10:11:12 node1 myapp[77]: NVRM: Xid (PCI:0000:00:06): 48, GPU\n");
    log.append("syslog", &said(45));
    assert_eq!(log.next(), xid(45));
}

#[test]
fn a_file_that_is_renamed_loses_no_line_of_the_old_one() {
    let log = Followed::from(Some(""));
    log.append("syslog", &said(31));
    assert_eq!(log.next(), xid(31));
    fs::rename(log.path(), log.directory.path().join("syslog.1")).unwrap();
    log.append("syslog.1", &said(43));
    assert_eq!(log.next(), xid(43), "it is away, and its writer does not know");
    log.append("syslog", &said(45));
    assert_eq!(log.next(), xid(45));
    log.append("syslog.1", &said(48));
    assert_eq!(log.next(), xid(48), "nor does he when the new one is there");
    log.append("syslog", &said(63));
    assert_eq!(log.next(), xid(63));
    log.append("syslog.1", said(64).trim_end());
    assert_eq!(log.next(), xid(64), "what has no end when nobody writes any more");
}

#[test]
fn a_file_that_is_truncated_is_read_from_its_start_also_where_it_has_grown_again() {
    let log = Followed::from(Some(&said(1)));
    log.append("syslog", &said(31));
    assert_eq!(log.next(), xid(31));
    log.append("syslog", said(43).trim_end());
    log.looked();
    fs::write(log.path(), said(45)).unwrap();
    assert_eq!((log.next(), log.next()), (xid(43), xid(45)));
    let long: String = [48, 63, 64, 74, 79].map(said).concat();
    fs::write(log.path(), &long).unwrap();
    let heard: Vec<Heard> = (0..5).map(|_| log.next()).collect();
    assert_eq!(heard, [48, 63, 64, 74, 79].map(xid));
}

#[test]
fn a_writer_that_goes_on_behind_a_truncation_leaves_a_hole_that_is_passed_over() {
    let log = Followed::from(Some(""));
    let mut writer = OpenOptions::new().write(true).open(log.path()).unwrap();
    writer.write_all(said(31).repeat(2000).as_bytes()).unwrap();
    (0..2000).for_each(|_| assert_eq!(log.next(), xid(31)));
    OpenOptions::new().write(true).open(log.path()).unwrap().set_len(0).unwrap();
    writer.write_all(said(45).as_bytes()).unwrap();
    assert_eq!(log.next(), xid(45));
}

#[test]
fn a_file_that_comes_later_is_read_from_its_beginning() {
    let log = Followed::from(None);
    let Heard::Silent(why) = log.next() else { panic!("silent") };
    assert!(why.contains("syslog") && why.contains("set kernel_log"), "{why}");
    log.append("syslog", &said(31));
    assert_eq!((log.next(), log.next()), (Heard::Answers, xid(31)));
}

#[test]
fn a_form_that_is_not_known_is_told_until_a_line_is_understood() {
    let log = Followed::from(Some(&said(1)));
    log.append("syslog", &"what is this\n".repeat(50));
    let Heard::NotUnderstood(why) = log.next() else { panic!("not understood") };
    assert!(why.contains("no form that is known") && why.contains("what is this"), "{why}");
    log.append("syslog", "Nov  3 10:11:12 node1 cron[7]: hello\n");
    assert_eq!(log.next(), Heard::Answers);
    log.append("syslog", &said(79));
    assert_eq!(log.next(), xid(79));
}

#[test]
fn what_is_no_file_is_told_and_blocks_nobody() {
    for path in ["/dev/zero", "/dev/null"] {
        let error = KernelLog::open(Path::new(path)).err().unwrap().to_string();
        assert!(error.contains("another device"), "{error}");
    }
    let log = Followed::from(None);
    assert!(matches!(log.next(), Heard::Silent(_)));
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut told = None;
    let followed = KernelLog::open(&fifo).unwrap().follow(|heard| {
        told = Some(heard);
        ControlFlow::Break(())
    });
    followed.unwrap();
    assert!(matches!(&told, Some(Heard::Silent(why)) if why.contains("it is a FIFO")), "{told:?}");
}

#[test]
fn a_line_that_is_too_long_is_dropped_with_all_of_it() {
    let log = Followed::from(Some(""));
    log.append("syslog", &format!("{}{}", "x".repeat(200_000), said(79)));
    log.append("syslog", &said(31));
    assert_eq!(log.next(), xid(31));
}

#[test]
fn a_file_in_no_known_form_is_known_before_it_is_followed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    assert_eq!(is_no_kernel_log(&path), None, "it is not there");
    fs::write(&path, "").unwrap();
    assert_eq!(is_no_kernel_log(&path), None, "it is empty");
    fs::write(&path, "127.0.0.1 - - \"GET / HTTP/1.1\" 200\n".repeat(5000)).unwrap();
    assert_eq!(is_no_kernel_log(&path).as_deref(), Some("127.0.0.1 - - \"GET / HTTP/1.1\" 200"));
    OpenOptions::new().append(true).open(&path).unwrap().write_all(said(79).as_bytes()).unwrap();
    assert_eq!(is_no_kernel_log(&path), None);
}

#[test]
fn what_a_log_holds_is_read_back_by_its_last_lines() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kernel.log");
    fs::write(&path, format!("{RECORDED}\n6,1,1,-;usb 1-1: new device\n{RECORDED}\n")).unwrap();
    let told = |most| KernelLog::read_back(&path, |line| line.contains("NVRM"), most).unwrap();
    assert_eq!(told(10_000), format!("{RECORDED}\n{RECORDED}\n"));
    assert_eq!(told(RECORDED.len() + 1), format!("{RECORDED}\n"));
    assert_eq!(told(10), "");
}

#[test]
fn a_log_that_is_refused_is_named_with_the_cure() {
    let error = kmsg_error(Path::new("/no/such/kmsg"), ErrorKind::NotFound.into()).to_string();
    assert!(error.contains("/no/such/kmsg") && error.contains("--device /dev/kmsg"), "{error}");
    let error = kmsg_error(Path::new("/dev/kmsg"), ErrorKind::PermissionDenied.into()).to_string();
    assert!(error.contains("CAP_SYSLOG"), "{error}");
}
