//! The driver's and the OOM killer's words.

use std::path::Path;

use proptest::prelude::*;

use super::super::forms::{self, Line};
use super::*;

const RECORDED: &str = "6,339,5140900,-;NVRM: Xid (PCI:0000:00:06): 31, pid=635, name=client, channel 0x0000001d, \
                        intr 00000000. MMU Fault: ENGINE GRAPHICS";

fn parse(record: &str) -> Option<KernelLine> {
    match forms::line(record) {
        Line::Kernel(text) => said(&text),
        Line::Other | Line::Bare(_) => None,
    }
}

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
fn a_record_of_the_device_is_read() {
    assert_eq!(parse(RECORDED), Some(line(31, Some(635))));
    assert_eq!(parse(&format!("{RECORDED}\n SUBSYSTEM=pci\n DEVICE=+pci:0000:00:06.0\n")), Some(line(31, Some(635))));
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
    assert_eq!(parse("6,1,2,-;NVRM: Xid (PCI:0000:00:06): 79, pid='<unknown>', name=<unknown>"), Some(line(79, None)));
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

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), tail in ".*") {
        parse(&String::from_utf8_lossy(&bytes));
        parse(&tail);
        parse(&format!("6,1,2,-;NVRM: Xid (PCI:{tail}"));
        parse(&format!("6,1,2,-;NVRM: Xid (PCI:0000:00:06): {tail}"));
        parse(&format!("6,1,2,-;NVRM: Xid (PCI:0000:00:06): 154, GPU recovery action changed from {tail} to 0x{tail}"));
        parse(&format!("6,1,2,-;Out of memory: Killed process {tail}"));
        PciAddress::parse(&tail);
    }
}
