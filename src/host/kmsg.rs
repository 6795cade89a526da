//! Follows the kernel log and finds the driver's Xid lines and the OOM killer's in it. Reads only what is
//! written from now on; what they mean is decided elsewhere.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc::O_NONBLOCK;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::model::gpu::RecoveryAction;

/// One record of /dev/kmsg fits: the kernel makes none longer than 8 KiB.
const RECORD: usize = 16 * 1024;

/// A line of a plain file that is longer is dropped.
const LONGEST_LINE: usize = 64 * 1024;

/// Of a plain file, when it is asked what it holds.
const READ_BACK: u64 = 8 << 20;
/// The machine's own pid namespace, by its fixed number (the kernel's PROC_PID_INIT_INO).
const MACHINE_NAMESPACE: &str = "pid:[4026531836]";

/// How much of a line is kept as evidence, in bytes.
const LINE: usize = 300;

/// How long a wait lasts before the follower is asked whether to go on, in milliseconds.
const WAIT_MS: u16 = 1000;

/// The Xid that announces a changed recovery action.
const ACTION_CHANGED: u32 = 154;

/// A line of the kernel log that says something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KernelLine {
    /// The driver tells of an Xid.
    Xid {
        /// The GPU.
        pci: PciAddress,
        /// The Xid's number.
        xid: u32,
        /// The process that the line names, if any: close to worthless under MPS.
        pid: Option<u32>,
        /// What the driver announces that it wants from now on, in the line of an Xid 154.
        action: Option<RecoveryAction>,
    },
    /// The kernel's OOM killer took a process.
    OomKill {
        /// Its pid, in the machine's own namespace.
        pid: u32,
        /// The line, cut at 300 bytes.
        text: String,
    },
}

/// Where a GPU sits. The function is left out: the kernel's lines have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciAddress {
    domain: u32,
    bus: u8,
    device: u8,
}

impl PciAddress {
    /// From the kernel's `0000:00:06` or NVML's `00000000:00:06.0`.
    pub fn parse(text: &str) -> Option<PciAddress> {
        let mut parts = text.split(':');
        let (domain, bus, device) = (parts.next()?, parts.next()?, parts.next()?);
        let device = device.split('.').next()?;
        Some(PciAddress {
            domain: u32::from_str_radix(domain, 16).ok()?,
            bus: u8::from_str_radix(bus, 16).ok()?,
            device: u8::from_str_radix(device, 16).ok()?,
        })
    }
}

/// Reads one record, `6,339,5140900,-;NVRM: Xid (PCI:0000:00:06): 31, pid=635, ...`, or the same as
/// `dmesg` prints it, `[   38.047175] NVRM: ...`. `None`: it says nothing of interest.
pub fn parse(record: &str) -> Option<KernelLine> {
    let text = text_of(record);
    parse_xid(text).or_else(|| parse_oom_kill(text))
}

fn parse_xid(text: &str) -> Option<KernelLine> {
    // Only text that begins so is the driver's own: process names can hold anything.
    let rest = text.strip_prefix("NVRM: Xid (PCI:")?;
    let (place, rest) = rest.split_once("): ")?;
    // A MIG instance's name may follow the address.
    let pci = PciAddress::parse(place.split(' ').next()?)?;
    let xid = digits(rest)?;
    let pid = rest.split_once(", pid=").and_then(|(_, pid)| digits(pid));
    let action = announced(rest).filter(|_| xid == ACTION_CHANGED);
    Some(KernelLine::Xid { pci, xid, pid, action })
}

/// The number in `154, GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)`: the words
/// differ from driver to driver.
fn announced(rest: &str) -> Option<RecoveryAction> {
    let (_, changed) = rest.split_once("GPU recovery action changed from ")?;
    let (_, number) = changed.split_once(" to 0x")?;
    let end = number.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(number.len());
    Some(RecoveryAction::of_number(u64::from_str_radix(&number[..end], 16).ok()?))
}

/// `Out of memory: Killed process 123 (name) total-vm:...`, or `Memory cgroup out of memory: Killed process ...`.
fn parse_oom_kill(text: &str) -> Option<KernelLine> {
    let (cause, rest) = text.split_once(": Killed process ")?;
    let known = ["Out of memory", "Memory cgroup out of memory"];
    // What follows the words, as in `Out of memory (oom_kill_allocating_task)`, is the kernel's too.
    if !known
        .iter()
        .any(|known| cause.strip_prefix(known).is_some_and(|more| more.is_empty() || more.starts_with(" (")))
    {
        return None;
    }
    let end = (0..=LINE.min(text.len())).rfind(|end| text.is_char_boundary(*end)).unwrap_or(0);
    Some(KernelLine::OomKill { pid: digits(rest)?, text: text[..end].to_owned() })
}

/// What the kernel said, without the prefix.
fn text_of(record: &str) -> &str {
    let line = record.lines().next().unwrap_or_default();
    let prefixed = match line.strip_prefix('[') {
        Some(dmesg) => dmesg.split_once("] "),
        None => line.split_once(';'),
    };
    prefixed.map_or("", |(_, text)| text)
}

fn digits(text: &str) -> Option<u32> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

/// Why the kernel log can't be read, and the cure.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the kernel log {path}: {source}{cure}")]
pub struct KmsgError {
    path: PathBuf,
    source: io::Error,
    cure: &'static str,
}

/// The kernel log, open at its end.
pub struct KernelLog {
    path: PathBuf,
    file: File,
    kind: Kind,
}

enum Kind {
    /// /dev/kmsg: a record a read, poll tells of more.
    Device,
    /// A plain file with a record a line; inotify tells of more.
    Plain { growth: Inotify, partial: Vec<u8> },
}

impl KernelLog {
    /// Opens `path`, /dev/kmsg or a plain file. What is written after this is seen by `follow`.
    pub fn open(path: &Path) -> Result<KernelLog, KmsgError> {
        let open = || {
            let mut file = OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(path)?;
            let kind = if file.metadata()?.file_type().is_char_device() { Kind::Device } else { Kind::plain(path)? };
            file.seek(SeekFrom::End(0))?;
            Ok(KernelLog { path: path.to_owned(), file, kind })
        };
        open().map_err(|error| kmsg_error(path, error))
    }

    /// What the log holds of lines that are `wanted`, the last `most` bytes of them. Of a plain file its end alone
    /// is read.
    pub fn told(path: &Path, wanted: impl Fn(&str) -> bool, most: usize) -> Result<String, KmsgError> {
        let mut text = String::new();
        let mut take = |record: &str| {
            let line = record.lines().next().unwrap_or_default();
            if wanted(line) {
                text.push_str(line);
                text.push('\n');
            }
            if text.len() > 2 * most {
                text = last_lines(&text, most).to_owned();
            }
        };
        let mut read = || {
            let mut file = OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(path)?;
            if file.metadata()?.file_type().is_char_device() {
                return drain_device(&mut file, &mut take);
            }
            let start = file.metadata()?.size().saturating_sub(READ_BACK);
            file.seek(SeekFrom::Start(start))?;
            drain_plain(&mut file, &mut Vec::new(), &mut take)
        };
        read().map_err(|error| kmsg_error(path, error))?;
        Ok(last_lines(&text, most).to_owned())
    }

    /// Whether its pids are those that this process sees: the kernel prints those of the machine's own namespace.
    /// A plain file's writer is taken for one of us.
    pub fn speaks_of_our_pids(&self) -> bool {
        let ours = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        matches!(self.kind, Kind::Plain { .. }) || ours == Path::new(MACHINE_NAMESPACE)
    }

    /// Calls `seen` with each line that says something, and with `None` at least once a second, until it breaks
    /// (`Ok`) or the log can't be read any more (`Err`). Blocks: it wants a thread of its own.
    pub fn follow(mut self, mut seen: impl FnMut(Option<KernelLine>) -> ControlFlow<()>) -> Result<(), KmsgError> {
        loop {
            let mut lines = Vec::new();
            let read = self.wait().and_then(|()| self.drain(&mut |record| lines.extend(parse(record))));
            for line in lines {
                if seen(Some(line)).is_break() {
                    return Ok(());
                }
            }
            read.map_err(|error| kmsg_error(&self.path, error))?;
            if seen(None).is_break() {
                return Ok(());
            }
        }
    }

    /// Returns when there may be more to read, at the latest after `WAIT_MS`.
    fn wait(&self) -> io::Result<()> {
        let fd = match &self.kind {
            Kind::Device => self.file.as_fd(),
            Kind::Plain { growth, .. } => growth.as_fd(),
        };
        match poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], PollTimeout::from(WAIT_MS)) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn drain(&mut self, record: &mut dyn FnMut(&str)) -> io::Result<()> {
        match &mut self.kind {
            Kind::Device => drain_device(&mut self.file, record),
            Kind::Plain { growth, partial } => {
                while growth.read_events().is_ok_and(|events| !events.is_empty()) {}
                drain_plain(&mut self.file, partial, record)
            }
        }
    }
}

impl Kind {
    fn plain(path: &Path) -> io::Result<Kind> {
        let growth = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        growth.add_watch(path, AddWatchFlags::IN_MODIFY)?;
        Ok(Kind::Plain { growth, partial: Vec::new() })
    }
}

fn drain_device(file: &mut File, record: &mut dyn FnMut(&str)) -> io::Result<()> {
    let mut buffer = [0; RECORD];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => record(&String::from_utf8_lossy(&buffer[..length])),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // EPIPE: records were overwritten before they were read; the next read goes on after the gap.
            Err(error) if error.raw_os_error() == Some(Errno::EPIPE as i32) => {}
            Err(error) => return Err(error),
        }
    }
}

fn drain_plain(file: &mut File, partial: &mut Vec<u8>, record: &mut dyn FnMut(&str)) -> io::Result<()> {
    if file.metadata()?.size() < file.stream_position()? {
        file.seek(SeekFrom::Start(0))?;
        partial.clear();
    }
    let mut buffer = [0; RECORD];
    loop {
        let length = match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        take_lines(partial, &buffer[..length], record);
    }
}

/// Hands out the lines that `bytes` completes and keeps the rest.
fn take_lines(partial: &mut Vec<u8>, bytes: &[u8], record: &mut dyn FnMut(&str)) {
    for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
        partial.extend_from_slice(piece);
        if piece.ends_with(b"\n") {
            record(&String::from_utf8_lossy(partial));
            partial.clear();
        } else if partial.len() > LONGEST_LINE {
            partial.clear();
        }
    }
}

/// Whole lines of the end.
fn last_lines(text: &str, most: usize) -> &str {
    let from = text.len().saturating_sub(most);
    let start =
        text.char_indices().map(|(at, _)| at).find(|at| *at >= from && (*at == 0 || text.as_bytes()[at - 1] == b'\n'));
    start.map_or("", |start| &text[start..])
}

fn kmsg_error(path: &Path, source: io::Error) -> KmsgError {
    let cure = match source.kind() {
        ErrorKind::PermissionDenied => {
            "; give the watchdog CAP_SYSLOG (systemd: AmbientCapabilities=CAP_SYSLOG; container: --cap-add SYSLOG)"
        }
        ErrorKind::NotFound => "; in a container, pass it in (--device /dev/kmsg --cap-add SYSLOG), or set kernel_log",
        _ => "",
    };
    KmsgError { path: path.to_owned(), source, cure }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::FileExt;
    use std::sync::mpsc;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const RECORDED: &str = "6,339,5140900,-;NVRM: Xid (PCI:0000:00:06): 31, pid=635, name=client, channel 0x0000001d, \
                            intr 00000000. MMU Fault: ENGINE GRAPHICS";

    fn line(xid: u32, pid: Option<u32>) -> KernelLine {
        KernelLine::Xid { pci: PciAddress::parse("0000:00:06").unwrap(), xid, pid, action: None }
    }

    fn oom_kill(text: &str) -> Option<u32> {
        match parse(&format!("3,1,2,-;{text}"))? {
            KernelLine::OomKill { pid, text: kept } => {
                assert!(text.starts_with(&kept) && kept.len() <= LINE);
                Some(pid)
            }
            KernelLine::Xid { .. } => None,
        }
    }

    #[test]
    fn the_oom_killers_victims_are_read_in_every_shape_of_its_line() {
        let rest = "total-vm:48234496kB, anon-rss:31457280kB, file-rss:512kB, shmem-rss:0kB, UID:0 pgtables:61440kB oom_score_adj:0";
        assert_eq!(oom_kill(&format!("Out of memory: Killed process 4711 (VLLM::EngineCor) {rest}")), Some(4711));
        assert_eq!(oom_kill(&format!("Memory cgroup out of memory: Killed process 12 (python3) {rest}")), Some(12));
        let allocating = "Out of memory (oom_kill_allocating_task): Killed process 9 (a: Killed process 8)";
        assert_eq!(oom_kill(allocating), Some(9));
        assert_eq!(oom_kill(&format!("Out of memory: Killed process 5 ({})", "ä".repeat(400))), Some(5));
    }

    #[test]
    fn a_line_that_only_looks_like_the_oom_killers_names_nobody() {
        for text in [
            "Out of memory: Killed process many (x)",
            "python3[7]: Out of memory: Killed process 5 (x)",
            "Out of memory and more: Killed process 5 (x)",
            "Tasks in /mpswarden.1/g_a are going to be killed due to memory.oom.group set",
            "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),task=python3,pid=4711,uid=0",
        ] {
            assert_eq!(oom_kill(text), None, "{text}");
        }
    }

    fn recorded(path: &str) -> String {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/recordings");
        std::fs::read_to_string(root.join(path)).unwrap()
    }

    #[test]
    fn what_a_log_holds_is_read_back_by_its_last_lines() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kernel.log");
        std::fs::write(&path, format!("{RECORDED}\n6,1,1,-;usb 1-1: new device\n{RECORDED}\n")).unwrap();
        let told = |most| KernelLog::told(&path, |line| line.contains("NVRM"), most).unwrap();
        assert_eq!(told(10_000), format!("{RECORDED}\n{RECORDED}\n"));
        assert_eq!(told(RECORDED.len() + 1), format!("{RECORDED}\n"));
        assert_eq!(told(10), "");
    }

    #[test]
    fn a_record_of_the_device_is_read() {
        assert_eq!(parse(RECORDED), Some(line(31, Some(635))));
        assert_eq!(
            parse(&format!("{RECORDED}\n SUBSYSTEM=pci\n DEVICE=+pci:0000:00:06.0\n")),
            Some(line(31, Some(635)))
        );
    }

    #[test]
    fn every_recorded_xid_is_read() {
        let mut lines = recorded("kmsg_more.txt");
        for scenario in ["illegal_address_clients_exit", "trap_clients_exit", "sigkill_busy_client"] {
            lines += &recorded(&format!("{scenario}/kmsg.txt"));
        }
        for text in lines.lines() {
            let expected = text.split("): ").nth(1).map(|rest| {
                let field = |lead: &str| rest.split(lead).nth(1)?.split(',').next()?.parse().ok();
                line(rest.split(',').next().unwrap().parse().unwrap(), field("pid="))
            });
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn an_xid_without_a_pid_has_none() {
        let text = "[   61.068482] NVRM: Xid (PCI:0000:00:06): 13, Graphics SM Warp Exception on (GPC 1, TPC 4, SM 0)";
        assert_eq!(parse(text), Some(line(13, None)));
        assert_eq!(
            parse("6,1,2,-;NVRM: Xid (PCI:0000:00:06): 79, pid='<unknown>', name=<unknown>"),
            Some(line(79, None))
        );
        assert_eq!(parse("6,1,2,-;NVRM: Xid (PCI:0000:00:06 GPU-I:02): 94, pid=7"), Some(line(94, Some(7))));
    }

    #[test]
    fn an_announced_recovery_action_is_read_by_its_number_whatever_the_words() {
        let announced = |text: &str| match parse(&format!("6,1,2,-;NVRM: Xid (PCI:0000:00:06): {text}")) {
            Some(KernelLine::Xid { action, .. }) => action,
            other => panic!("{other:?}"),
        };
        let changed = "154, GPU recovery action changed from 0x0 (None) to";
        assert_eq!(announced(&format!("{changed} 0x1 (GPU Reset Required)")), Some(RecoveryAction::GpuReset));
        assert_eq!(announced(&format!("{changed} 0x1 (PF FLR)")), Some(RecoveryAction::GpuReset));
        assert_eq!(announced(&format!("{changed} 0x2 (OS Reboot)")), Some(RecoveryAction::NodeReboot));
        assert_eq!(announced(&format!("{changed} 0x7f (Dance)")), Some(RecoveryAction::NotUnderstood));
        assert_eq!(announced("154, pid=7, name=a"), None);
        assert_eq!(announced("31, GPU recovery action changed from 0x0 (None) to 0x2 (a process' name)"), None);
    }

    #[test]
    fn a_process_whose_name_looks_like_an_xid_deceives_nobody() {
        assert_eq!(parse("6,1,2,-;a;NVRM: Xid (PCI:0000:00:06): 31, pid=1[7]: segfault at 0"), None);
        assert_eq!(parse("6,1,2,-;Killed process 9 (NVRM: Xid (PCI:0000:00:06): 79)"), None);
    }

    #[test]
    fn the_kernels_and_nvmls_spelling_name_the_same_place() {
        assert_eq!(PciAddress::parse("0000:00:06"), PciAddress::parse("00000000:00:06.0"));
        assert_eq!(PciAddress::parse("0000:C1:00"), PciAddress::parse("00000000:c1:00.0"));
        assert_ne!(PciAddress::parse("0000:00:06"), PciAddress::parse("0001:00:06"));
        assert_eq!(PciAddress::parse("nonsense"), None);
    }

    #[test]
    fn a_plain_file_is_followed_from_its_end() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "6,1,1,-;NVRM: Xid (PCI:0000:00:06): 79, pid=1").unwrap();
        let log = KernelLog::open(file.path()).unwrap();
        let (seen, lines) = mpsc::channel();
        let follower = std::thread::spawn(move || {
            log.follow(|line| match line {
                Some(line) if seen.send(line.clone()).is_err() || line == self::line(45, Some(2)) => {
                    ControlFlow::Break(())
                }
                _ => ControlFlow::Continue(()),
            })
        });
        let (first, second) = RECORDED.split_at(30);
        write!(file, "{first}").unwrap();
        file.flush().unwrap();
        write!(file, "{second}\nnonsense\n6,2,2,-;NVRM: Xid (PCI:0000:00:06): 45, pid=2\n").unwrap();
        file.flush().unwrap();
        let next = || lines.recv_timeout(Duration::from_secs(60)).unwrap();
        assert_eq!(next(), line(31, Some(635)));
        assert_eq!(next(), line(45, Some(2)));
        follower.join().unwrap().unwrap();
    }

    #[test]
    fn a_plain_file_that_was_truncated_is_read_from_its_start() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"longer than what follows").unwrap();
        let mut partial = b"half a li".to_vec();
        file.set_len(0).unwrap();
        file.write_at(b"new\n", 0).unwrap();
        let mut records = Vec::new();
        drain_plain(&mut file, &mut partial, &mut |record| records.push(record.to_owned())).unwrap();
        assert_eq!(records, ["new\n"]);
    }

    #[test]
    fn a_log_that_is_not_there_is_named_with_the_cure() {
        let error = KernelLog::open(Path::new("/no/such/kmsg")).err().unwrap().to_string();
        assert!(error.contains("/no/such/kmsg") && error.contains("--device /dev/kmsg"), "{error}");
        let error = kmsg_error(Path::new("/dev/kmsg"), ErrorKind::PermissionDenied.into()).to_string();
        assert!(error.contains("CAP_SYSLOG"), "{error}");
    }

    #[test]
    fn a_line_without_an_end_is_not_kept_for_ever() {
        let mut partial = Vec::new();
        for _ in 0..100 {
            take_lines(&mut partial, &[b'x'; 4096], &mut |_| {});
            assert!(partial.len() <= LONGEST_LINE + 4096);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), tail in ".*") {
            let mut partial = Vec::new();
            take_lines(&mut partial, &bytes, &mut |record| { parse(record); });
            parse(&tail);
            parse(&format!("6,1,2,-;NVRM: Xid (PCI:{tail}"));
            parse(&format!("6,1,2,-;NVRM: Xid (PCI:0000:00:06): {tail}"));
            parse(&format!("6,1,2,-;NVRM: Xid (PCI:0000:00:06): 154, GPU recovery action changed from {tail} to 0x{tail}"));
            parse(&format!("6,1,2,-;Out of memory: Killed process {tail}"));
            PciAddress::parse(&tail);
        }
    }
}
