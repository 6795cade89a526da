//! Every form that is known, and lines that only look like the kernel's.

use proptest::prelude::*;

use super::*;

const SAID: &str = "NVRM: Xid (PCI:0000:00:06): 79, pid=4711, name=python3, GPU has fallen off the bus.";
const KILLED: &str = "Out of memory: Killed process 4711 (python3) total-vm:1kB, anon-rss:1kB";

/// Everything that is known to stand before a text of the kernel's. `@` is where the text comes.
const KERNELS: [&str; 57] = [
    // /dev/kmsg
    "6,339,5140900,-;@",
    "4,1,2,c;@",
    "6,339,5140900,-,caller=T1234;@",
    // dmesg
    "[   38.047175] @",
    "[12345.678901] @",
    "[123456.678901] @",
    "[    0.000000] [    T0] @",
    "[    0.000000][  T123] @",
    "[    1.402641] [   C12] @",
    "[Tue Nov  3 10:11:12 2026] @",
    "[Di Nov  3 10:11:12 2026] @",
    "[mar. nov.  3 10:11:12 2026] @",
    "[Tue Nov  3 10:11:12 2026 <    0.000012>] @",
    "[   38.047175 <    0.000012>] @",
    "[<    0.019143>] @",
    "[Nov 3 10:11] @",
    "[Nov29 16:26] @",
    "[  +0.058699] @",
    "kern  :info  : [    1.421784] @",
    "kern  :warn  : [Tue Nov  3 10:11:12 2026] @",
    "kern  :err   : @",
    "kern  :info  : 2026-11-29T16:26:50,421784+00:00 @",
    "2026-11-29T16:26:50,421784+00:00 @",
    "<6>[    1.421784] @",
    "<4>@",
    // RFC 3164, of rsyslog, syslog-ng and busybox
    "Nov  3 10:11:12 node1 kernel: [12345.678901] @",
    "Nov  3 10:11:12 node1 kernel: @",
    "Nov 13 10:11:12 node1 kernel: @",
    "Nov  3 10:11:12 node1 kernel:[12345.678901] @",
    "Nov  3 10:11:12 node1 kernel: [12345.678901][ T123] @",
    "<6>Nov  3 10:11:12 node1 kernel: @",
    "Nov  3 10:11:12 10.0.0.7 kernel: @",
    "Nov  3 10:11:12 fe80::1%eth0 kernel: @",
    "Nov  3 10:11:12 k\u{f6}ln-7.example.org kernel: @",
    "Nov  3 10:11:12 kernel kernel: @",
    "Nov  3 10:11:12 [fe80::1] kernel: @",
    "Nov  3 10:11:12 - kernel: @",
    "Nov  3 10:11:12 debug kernel: @",
    "Nov  3 10:11:12 2026 node1 kernel: @",
    "Nov  3 10:11:12 node1 kern.info kernel: [12345.678901] @",
    "Nov  3 10:11:12 kern.info kernel: @",
    // ISO, RFC 5424
    "2026-11-03T10:11:12.123456+00:00 node1 kernel: @",
    "2026-11-03T10:11:12.123456-08:00 node1 kernel: [12345.678901] @",
    "2026-11-03T10:11:12Z node1 kernel: @",
    "2026-11-03 10:11:12 node1 kernel: @",
    "<4>1 2026-11-03T10:11:12.123456+00:00 node1 kernel - - - @",
    "<4>1 2026-11-03T10:11:12Z node1 kernel - - - [12345.678901] @",
    "<4>1 - - kernel - - [a@1 b=\"] c\\\"\"][d@2] \u{feff}@",
    "1 2026-11-03T10:11:12.123456+00:00 node1 kernel - - - @",
    // journalctl
    "Nov 03 10:11:12.123456 node1 kernel: @",
    "2026-11-03T10:11:12+0000 node1 kernel: @",
    "Tue 2026-11-03 10:11:12 UTC node1 kernel: @",
    "Tue 2026-11-03 10:11:12.123456 +03 node1 kernel: @",
    "[   38.047175] node1 kernel: @",
    "[   38.047175] kernel: @",
    "2026-11-03 10:11:12.123456 +0000 node1 kernel: @",
    "1793700672.123456 node1 kernel: @",
];

/// Lines of other programs, however much they hold the kernel's words, and lines of other logs.
const OTHERS: [&str; 30] = [
    // A program that writes into /dev/kmsg gets another facility than the kernel's.
    "12,339,5140900,-;@",
    "30,1,2,-;@",
    "<12>[    1.421784] @",
    "<13>@",
    "user  :notice: [    1.421784] @",
    "daemon:info  : @",
    "[    1.421784] systemd[1]: @",
    // Syslog
    "Nov  3 10:11:12 node1 myapp[77]: @",
    "Nov  3 10:11:12 node1 myapp: @",
    "Nov  3 10:11:12 node1 myapp[77]: kernel: @",
    "Nov  3 10:11:12 node1 myapp: Nov  3 10:11:12 node1 kernel: @",
    "Nov  3 10:11:12 node1 kernel[77]: @",
    "Nov  3 10:11:12 node1 kernel-tool: @",
    "Nov  3 10:11:12 node1 my kernel: @",
    "<13>Nov  3 10:11:12 node1 kernel: @",
    "Nov  3 10:11:12 node1 user.notice kernel: @",
    "Nov  3 10:11:12 node1 last message repeated 2 times",
    "Nov  3 10:11:12 node1 kernel: [12345.678901] message repeated 3 times: [ @]",
    "2026-11-03T10:11:12.123456+00:00 node1 myapp[77]: @",
    "2026-11-03T10:11:12.123456+00:00 node1 myapp[77]: kernel: @",
    "2026-11-03T10:11:12.123456+00:00 node1 kernel[77]: @",
    "<14>1 2026-11-03T10:11:12.123456+00:00 node1 myapp 77 - - @",
    "<14>1 2026-11-03T10:11:12.123456+00:00 node1 kernel - - - @",
    "<4>1 2026-11-03T10:11:12.123456+00:00 node1 kernel 77 - - @",
    "<14>1 2026-11-03T10:11:12.123456+00:00 node1 myapp - - - kernel - - - @",
    // journalctl
    "Tue 2026-11-03 10:11:12 UTC node1 myapp.service[77]: @",
    "[   38.047175] node1 myapp[77]: @",
    "[   38.047175] node1 kernel[77]: @",
    "[   38.047175] a[b] node1 kernel: @",
    "Nov 03 10:11:12 node1 python3[77]: Tue 2026-11-03 10:11:12 UTC node1 kernel: @",
];

fn text(line: &Line<'_>) -> Option<String> {
    match line {
        Line::Kernel(text) => Some(text.clone().into_owned()),
        Line::Other | Line::Bare(_) => None,
    }
}

#[test]
fn the_kernels_text_is_found_in_every_form() {
    for form in KERNELS {
        for said in [SAID, KILLED] {
            let whole =
                form.replace('@', said).replace(&format!("a{said}1"), "a@1").replace(&format!("d{said}2"), "d@2");
            assert_eq!(text(&line(&whole)).as_deref(), Some(said), "{whole}");
            assert_eq!(text(&line(&format!("{whole}\r\n"))).as_deref(), Some(said), "{whole}");
        }
    }
}

#[test]
fn what_another_program_wrote_is_not_the_kernels() {
    for form in OTHERS {
        for said in [SAID, KILLED] {
            let whole = form.replace('@', said);
            let found = text(&line(&whole)).and_then(|text| super::super::words::said(&text));
            assert_eq!(found, None, "{whole}");
        }
    }
}

#[test]
fn the_journals_json_is_believed_by_the_transport_alone() {
    let entry = |fields: &str| text(&line(&format!("{{\"__CURSOR\":\"s=1\",{fields}}}")));
    let message = format!("\"MESSAGE\":\"{SAID}\"");
    assert_eq!(entry(&format!("\"_TRANSPORT\":\"kernel\",{message}")).as_deref(), Some(SAID));
    assert_eq!(entry(&format!("{message},\"SYSLOG_IDENTIFIER\":\"kernel\",\"_TRANSPORT\":\"syslog\"")), None);
    assert_eq!(entry(&format!("{message},\"SYSLOG_IDENTIFIER\":\"kernel\"")), None, "nobody says how it came");
    assert_eq!(entry("\"_TRANSPORT\":\"kernel\",\"MESSAGE\":[78,86,82,77]").as_deref(), Some("NVRM"));
    assert_eq!(entry("\"_TRANSPORT\":\"kernel\",\"MESSAGE\":null"), None);
    let sse = format!("data: {{\"_TRANSPORT\":\"kernel\",{message}}}");
    assert_eq!(text(&line(&sse)).as_deref(), Some(SAID));
    assert_eq!(text(&line(&format!("\u{1e}{{\"_TRANSPORT\":\"kernel\",{message}}}"))).as_deref(), Some(SAID));
}

#[test]
fn other_logs_are_in_no_known_form() {
    for other in [
        "2026-11-03 10:11:12,123 - vllm - INFO - NVRM: Xid",
        "[2026-11-03 10:11:12] INFO server.py: listening",
        "[2026-11-03 10:11:12.123 Control     1] Starting new server 7 for user 0",
        "2026/11/03 10:11:12 [error] 123#0: *1 open() failed",
        "127.0.0.1 - - [03/Nov/2026:10:11:12 +0000] \"GET / HTTP/1.1\" 200 612",
        "2026-11-03 10:11:12 status installed libc6:amd64 2.36",
        "2026-11-03T10:11:12.123Z INFO mpswarden: started",
        "2026-11-03T10:11:12.123Z [error] it failed",
        "2026-11-03T10:11:12.123456789Z stdout F NVRM: Xid",
        "1286536308.779    180 192.168.0.224 TCP_MISS/200 411 GET",
        "{\"level\":\"info\",\"msg\":\"NVRM: Xid\"}",
        "INFO 11-03 10:11:12 [core.py:12] Starting",
        "root:x:0:0:root:/root:/bin/bash",
        "\u{0}\u{1}\u{2}",
        "<html>",
        "",
    ] {
        assert!(matches!(line(other), Line::Bare(_)), "{other}: {:?}", line(other));
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".*", form in 0..KERNELS.len(), cut in 0..200usize) {
        line(&text);
        let whole = KERNELS[form].replace('@', &text);
        line(&whole);
        let cut = (0..=cut.min(whole.len())).rfind(|at| whole.is_char_boundary(*at)).unwrap_or(0);
        line(&whole[..cut]);
        line(&format!("{}{text}", &whole[..cut]));
    }
}
