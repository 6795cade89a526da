//! Lines one after the other: the forms of whole logs.

use super::super::words::PciAddress;
use super::*;

const SAID: &str = "NVRM: Xid (PCI:0000:00:06): 79, pid=7, GPU has fallen off the bus.";
const STAMP: &str = "Nov  3 10:11:12 node1 ";

fn xid() -> LineMeaning {
    let pci = PciAddress::parse("0000:00:06").unwrap();
    LineMeaning::Understood(Some(KernelLine::Xid { pci, xid: 79, pid: Some(7), action: None }))
}

fn strange(reader: &mut Reader, line: &str, times: u32) {
    (0..times).for_each(|_| assert_eq!(reader.take(line), LineMeaning::Strange(None), "{line}"));
}

#[test]
fn lines_without_anything_before_them_are_the_kernels_where_all_are() {
    let mut reader = Reader::default();
    assert_eq!(reader.take("usb 1-1: new high-speed USB device number 2"), LineMeaning::Understood(None));
    assert_eq!(reader.take(SAID), xid());
    assert_eq!(Reader::default().take(SAID), xid(), "also as the first line");
}

#[test]
fn in_a_log_with_a_form_a_line_without_one_is_the_rest_of_some_programs() {
    let mut reader = Reader::default();
    assert_eq!(reader.take(&format!("{STAMP}myapp[7]: two lines:")), LineMeaning::Understood(None));
    assert_eq!(reader.take(SAID), LineMeaning::Strange(None));
    assert_eq!(reader.take(&format!("   {SAID}")), LineMeaning::Nothing);
    assert_eq!(reader.take(&format!("{STAMP}kernel: {SAID}")), xid());
}

#[test]
fn colours_are_passed_over() {
    let coloured = format!("\u{1b}[32m[   38.047175] \u{1b}[0m\u{1b}[33mNVRM: \u{1b}[0m{}", &SAID[6..]);
    assert_eq!(Reader::default().take(&coloured), xid());
    let bare = format!("\u{1b}[33mNVRM: \u{1b}[0m\u{1b}[1;31m{}\u{1b}[0m", &SAID[6..]);
    assert_eq!(Reader::default().take(&bare), xid());
}

#[test]
fn what_dmesg_prints_as_json_is_read_and_a_programs_entry_is_not() {
    let said = |head: &str| {
        let mut reader = Reader::default();
        let lines = ["{", "   \"dmesg\": [", "      {", head, "         \"time\":    38.047175,"];
        lines.iter().for_each(|line| assert!(!matches!(reader.take(line), LineMeaning::Understood(Some(_)))));
        reader.take(&format!("         \"msg\": \"{SAID}\""))
    };
    assert_eq!(said("         \"pri\": 6,"), xid());
    assert_eq!(said("         \"fac\": \"kern\","), xid());
    assert_eq!(said("         \"pri\": 12,"), LineMeaning::Understood(None));
    assert_eq!(said("         \"fac\": \"user\","), LineMeaning::Understood(None));
}

#[test]
fn many_strange_lines_in_a_row_are_told_until_one_is_understood() {
    let mut reader = Reader::default();
    reader.take(&format!("{STAMP}kernel: usb 1-1: new device"));
    strange(&mut reader, "what is this", STRANGE - 1);
    assert_eq!(reader.take("what is this"), LineMeaning::Strange(Some("what is this".to_owned())));
    assert_eq!(reader.take(""), LineMeaning::Nothing);
    assert!(matches!(reader.take(&"x".repeat(500)), LineMeaning::Strange(Some(line)) if line.len() == SHOWN));
    assert_eq!(reader.take(&format!("{STAMP}cron[1]: hello")), LineMeaning::Understood(None));
    strange(&mut reader, "what is this", STRANGE - 1);
}

fn judged(lines: &[&str]) -> bool {
    is_no_kernel_log(lines.iter().copied()).is_some()
}

#[test]
fn a_file_in_no_known_form_is_known_by_its_lines_and_a_young_one_is_not() {
    assert!(!judged(&[]) && !judged(&["hello", "world"]), "young");
    assert!(judged(&["hello", "world", "again"]));
    assert!(judged(&["127.0.0.1 - - [03/Nov/2026:10:11:12 +0000] \"GET / HTTP/1.1\" 200 612"; 50]));
    assert!(judged(&["INFO:     Started server process", "INFO: waiting", "ERROR: Traceback"]));
    assert!(!judged(&["Nov  3 10:11:12 node1 sshd[7]: hello", "  and more", "and more", "and more"]));
    assert!(!judged(&["-- Journal begins at Tue --", "", "[    1.0] hello"]));
    let shown = is_no_kernel_log(["a", "b", "the last\n"].into_iter());
    assert_eq!(shown.as_deref(), Some("the last"));
}

#[test]
fn what_dmesg_prints_without_times_is_known() {
    let text = include_str!("../../../tests/fixtures/kernel_log/dmesg-t.txt");
    assert!(!judged(&text.lines().collect::<Vec<_>>()));
    let mut reader = Reader::default();
    assert!(text.lines().all(|line| !matches!(reader.take(line), LineMeaning::Strange(Some(_)))));
}
