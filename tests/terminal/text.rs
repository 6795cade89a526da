//! What people see, held as text in `tests/fixtures/terminal/`; `UPDATE=1` rewrites it.

use std::fs;
use std::path::Path;

use jiff::tz::TimeZone;
use mpswarden::cli::{incident_text, incidents_text, numbered, status_text};
use mpswarden::control::Seen;
use mpswarden::export::history::Since;
use mpswarden::text::screen::Screen;
use unicode_width::UnicodeWidthStr;

use crate::terminal::made::{self, NOW};

fn screen(width: Option<usize>, coloured: bool) -> Screen {
    Screen { width, coloured, zone: TimeZone::UTC }
}

fn seen(status: mpswarden::model::Status) -> Seen {
    Seen { timestamp_seconds: NOW, http: Vec::new(), since: Since::default(), status }
}

fn assert_golden(name: &str, text: &str) {
    let path = Path::new("tests/fixtures/terminal").join(name);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, text).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, golden, "{} differs; UPDATE=1 rewrites it", path.display());
}

#[test]
fn a_group_that_serves_is_one_short_block() {
    assert_golden("status.txt", &status_text(&seen(made::well()), NOW, &screen(None, false)));
}

#[test]
fn every_trouble_is_seen_first() {
    assert_golden("status_troubled.txt", &status_text(&seen(made::troubled()), NOW, &screen(Some(120), false)));
}

#[test]
fn colours_say_what_is_good_and_what_is_not() {
    assert_golden("status_coloured.txt", &status_text(&seen(made::troubled()), NOW, &screen(Some(120), true)));
}

#[test]
fn a_narrow_terminal_gets_fewer_columns_and_no_line_is_wider_than_it() {
    for width in [60, 80, 100] {
        let text = status_text(&seen(made::troubled()), NOW, &screen(Some(width), false));
        for line in text.lines().filter(|line| !line.contains("generation")) {
            assert!(line.width() <= width, "{} columns of {width}: {line}", line.width());
        }
        assert_golden(&format!("status_{width}.txt"), &text);
    }
}

#[test]
fn whether_sharing_pays_is_said_with_its_advice() {
    assert_golden("status_sharing.txt", &status_text(&seen(made::sharing()), NOW, &screen(None, false)));
    for width in [60, 100] {
        let text = status_text(&seen(made::sharing()), NOW, &screen(Some(width), false));
        assert!(text.lines().all(|line| line.width() <= width), "{width}: {text}");
        assert_golden(&format!("status_sharing_{width}.txt"), &text);
    }
}

#[test]
fn an_old_status_and_a_blind_watchdog_say_so() {
    let mut status = made::well();
    status.ready = false;
    assert_golden("status_old.txt", &status_text(&seen(status), NOW + 12.4, &screen(None, false)));
}

#[test]
fn incidents_are_a_table_and_one_is_its_time_line() {
    let incidents = numbered(made::incidents());
    assert_golden("incidents.txt", &incidents_text(&incidents, &screen(None, false)));
    assert_golden("incident.txt", &incident_text(&incidents[0].1, &screen(Some(100), false)));
}

#[test]
fn ids_are_never_cut_and_reasons_are_wrapped_on_a_narrow_terminal() {
    let incidents = numbered(made::incidents());
    for width in [60, 80] {
        let list = incidents_text(&incidents, &screen(Some(width), false));
        assert_golden(&format!("incidents_{width}.txt"), &list);
        let one = incident_text(&incidents[0].1, &screen(Some(width), false));
        assert_golden(&format!("incident_{width}.txt"), &one);
        assert!(!list.contains('…') && !one.contains('…'), "{list}{one}");
        assert!(incidents.iter().all(|(_, incident)| list.contains(&incident.id)), "{list}");
        let status = status_text(&seen(made::troubled()), NOW, &screen(Some(width), false));
        assert!(!status.contains('…') && status.contains("failed too often"), "{status}");
    }
}

#[test]
fn nothing_that_engines_say_drives_the_terminal() {
    let incidents = made::incidents();
    let plain = screen(None, false);
    for text in [status_text(&seen(made::troubled()), NOW, &plain), incident_text(&incidents[0], &plain)] {
        let driving = text.chars().find(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}');
        assert_eq!(driving, None, "{text}");
    }
}
