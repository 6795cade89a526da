//! What `mpswarden demo` says before its story and after it. Pure text.

use std::path::PathBuf;

use super::demo_arguments::{DemoMode, DemoOptions, Injection};
use super::figures::{span, time};
use crate::config::units;
use crate::model::Incident;
use crate::text::cost::cost_of;
use crate::text::plain::one_line as clean;
use crate::text::screen::{Ink, Screen};
use crate::text::span::age;
use crate::text::table::{Cell, Column, table};

/// Where a demo is seen and asked.
#[derive(Clone, Debug)]
pub struct DemoPlaces {
    /// Its page, as a URL that ends with `/`; `None`: no address could be had.
    pub page: Option<String>,
    /// Path of its metrics below that, with the first `/`.
    pub telemetry_path: String,
    /// The default port, where another program has it and the next one is used.
    pub taken_port: Option<u16>,
    /// Path of its control socket.
    pub control_socket: PathBuf,
    /// This program, as a shell finds it.
    pub program: PathBuf,
}

/// The first block: where it is seen, how long it lasts, what will happen. `now` is in seconds since 1970.
pub fn begins(options: &DemoOptions, places: &DemoPlaces, now: f64, screen: &Screen) -> String {
    let engines = if options.engines == 1 { "1 engine".to_owned() } else { format!("{} engines", options.engines) };
    let what = format!(
        "the real watchdog over a simulated GPU, MPS daemon and {engines}, as real processes; no GPU is touched"
    );
    let mut text = screen.prose("mpswarden demo  ", Ink::Bold, &what);
    let mut line = |label: &str, ink, words: &str| text.push_str(&screen.prose(&format!("  {label:<8}"), ink, words));
    if let Some(page) = &places.page {
        line("page", Ink::Dim, page);
        line("metrics", Ink::Dim, &format!("{}{}", page.trim_end_matches('/'), places.telemetry_path));
    }
    if let Some(port) = places.taken_port {
        line("", Ink::Warn, &format!("port {port} is in use: --web.listen-address chooses another"));
    }
    let socket = quoted(&places.control_socket.to_string_lossy());
    let program = quoted(&places.program.to_string_lossy());
    line("status", Ink::Dim, &format!("{program} --control-socket {socket} status"));
    let ends = time(now + options.length.as_secs_f64(), &screen.zone, "%T %Z");
    line("ends", Ink::Dim, &format!("after {}, at {ends}; Ctrl-C ends it sooner", age(options.length)));
    if options.mode == DemoMode::Observe {
        line("mode", Ink::Warn, "observe: it only says what it would do");
    }
    let schedule = options.schedule();
    for (at, injection) in schedule.iter().enumerate() {
        line(if at == 0 { "faults" } else { "" }, Ink::Dim, &announced(injection));
    }
    if schedule.is_empty() {
        line("faults", Ink::Dim, "none");
    }
    for injection in options.unseen() {
        let words = format!(
            "{injection} may not be seen before the end: that takes up to {}; --for {} is long enough",
            injection.fault.seen_within().map(age).unwrap_or_default(),
            units::write_duration(injection.seen_at())
        );
        line("note", Ink::Warn, &words);
    }
    text.push('\n');
    text
}

fn announced(injection: &Injection) -> String {
    let at = units::write_duration(injection.at);
    format!("at {at} {}: {}", injection.fault.into_whom(injection.engine.as_deref()), injection.fault.does)
}

/// A word for a shell: quoted where it must be.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The summary: each fault with its time to serving and the requests that it cost, then the traffic. `start`: when it
/// began, in seconds since 1970.
pub fn ended<'a>(
    incidents: impl DoubleEndedIterator<Item = &'a Incident>,
    start: f64,
    (answered, failed): (u64, u64),
    screen: &Screen,
) -> String {
    // The first comes first.
    let all: Vec<&Incident> = incidents.rev().collect();
    let of = |cell: &dyn Fn(&Incident) -> Cell| all.iter().map(|one| cell(one)).collect::<Vec<_>>();
    let plain = |text: String| (text, Ink::Plain);
    let columns = vec![
        Column::right("AT", 0, of(&|one| plain(span(one.evidence_at - start)))),
        Column::left("FAULT", 0, of(&|one| (one.fault.to_string(), Ink::Bad))),
        Column::left("OF", 0, of(&|one| plain(place(one)))),
        Column::left("RESULT", 0, of(&result)),
        Column::right("AFTER", 0, of(&|one| plain(lasted(one)))),
        Column::left("COST", 0, of(&|one| plain(cost(one, &all)))),
    ];
    let table = table(columns, "  ", screen);
    let heading = if all.is_empty() { "no fault was seen" } else { "what was seen of faults:" };
    format!("\n{}\n{table}requests: {answered} answered, {failed} failed\n", screen.paint(heading, Ink::Bold))
}

fn place(incident: &Incident) -> String {
    match &incident.engine {
        Some(engine) => clean(&format!("{}/{engine}", incident.group)),
        None => clean(incident.group.as_str()),
    }
}

fn result(incident: &Incident) -> Cell {
    match incident.result.as_deref() {
        None => ("not over".to_owned(), Ink::Warn),
        Some(result @ ("serving" | "over")) => (result.to_owned(), Ink::Good),
        Some(result) => (result.to_owned(), Ink::Warn),
    }
}

/// What it cost, and which of the others led to it.
fn cost(incident: &Incident, all: &[&Incident]) -> String {
    let cause = incident.caused_by.as_ref().and_then(|id| all.iter().find(|other| other.id == *id));
    let cause = cause.map(|cause| format!("caused by {} of {}", cause.fault, place(cause)));
    let cost = cost_of(incident.requests_in_flight, &incident.unavailable_seconds);
    cost.into_iter().chain(cause).collect::<Vec<_>>().join("; ")
}

/// Time from its evidence to its end.
fn lasted(incident: &Incident) -> String {
    incident.ended_at.map_or("-".to_owned(), |ended| span(ended - incident.evidence_at))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::ffi::OsString;

    use super::super::arguments::{Arguments, Command};
    use super::*;
    use crate::model::Fault;

    fn first_block(line: &str, taken_port: Option<u16>) -> String {
        let argv: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let Ok(Command::Demo(options)) = Arguments::read(&argv).map(|arguments| arguments.command) else {
            panic!("{line}")
        };
        let places = DemoPlaces {
            page: Some("http://127.0.0.1:10678/".to_owned()),
            telemetry_path: "/metrics".to_owned(),
            taken_port,
            control_socket: "/tmp/x/control.sock".into(),
            program: "/opt/my tools/mpswarden".into(),
        };
        begins(&options, &places, 1_795_388_702.0, &Screen::plain())
    }

    #[test]
    fn the_first_block_says_where_when_and_what() {
        assert_eq!(
            first_block("mpswarden demo --inject trap:qwen-b@5s --inject hang@50s --mode observe", Some(10677)),
            "mpswarden demo  the real watchdog over a simulated GPU, MPS daemon and 3 engines, as real processes; no GPU is \
             touched\n  \
             page    http://127.0.0.1:10678/\n  \
             metrics http://127.0.0.1:10678/metrics\n          \
             port 10677 is in use: --web.listen-address chooses another\n  \
             status  '/opt/my tools/mpswarden' --control-socket /tmp/x/control.sock status\n  \
             ends    after 1 min, at 23:06:02 UTC; Ctrl-C ends it sooner\n  \
             mode    observe: it only says what it would do\n  \
             faults  at 5s trap into qwen-b: a kernel traps: error 719\n          \
             at 50s hang into the first engine that runs: a kernel never ends\n  \
             note    hang@50s may not be seen before the end: that takes up to 20 s; --for 70s is long enough\n\n"
        );
    }

    fn incident(fault: Fault, engine: Option<&str>, id: &str, at: f64) -> Incident {
        let begins = Incident::begins(id.to_owned(), "small-llms".into(), fault, at, at);
        Incident { engine: engine.map(Into::into), ..begins }
    }

    #[test]
    fn the_summary_has_each_fault_with_its_time_to_serving_and_its_cost() {
        let mended = Incident {
            ended_at: Some(1_020.2),
            result: Some("serving".to_owned()),
            requests_in_flight: Some(3.0),
            unavailable_seconds: [("qwen-a".into(), 1.9), ("qwen-b".into(), 3.6)].into(),
            ..incident(Fault::GpuFault, None, "1", 1_015.0)
        };
        let hangs = Incident { caused_by: Some("1".to_owned()), ..incident(Fault::Hang, Some("qwen-a"), "2", 1_030.0) };
        let said = ended([&hangs, &mended].into_iter(), 1_000.0, (500, 3), &Screen::plain());
        assert_eq!(
            said,
            "\nwhat was seen of faults:\n       \
             AT  FAULT      OF                 RESULT     AFTER  COST\n  \
             15.00 s  gpu_fault  small-llms         serving   5.20 s  3 requests in flight; not serving: qwen-a 1.90 s, \
             qwen-b 3.60 s\n  \
             30.00 s  hang       small-llms/qwen-a  not over       -  caused by gpu_fault of small-llms\n\
             requests: 500 answered, 3 failed\n"
        );
    }

    #[test]
    fn a_demo_without_faults_says_so() {
        let said = ended(std::iter::empty(), 0.0, (1, 0), &Screen::plain());
        assert_eq!(said, "\nno fault was seen\nrequests: 1 answered, 0 failed\n");
    }
}
