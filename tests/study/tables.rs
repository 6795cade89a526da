//! What the terminal shows, word for word.

use std::path::Path;

use unicode_width::UnicodeWidthStr;

use crate::study::made::{self, Speeds, sharing, steady, study, with};

/// `UPDATE=1` rewrites it; look at the difference.
#[track_caller]
pub fn golden(name: &str, told: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/study/tables").join(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, told).unwrap();
    }
    assert_eq!(told, std::fs::read_to_string(&file).unwrap_or_default(), "{name}: UPDATE=1 rewrites it");
}

#[test]
fn a_whole_study_reads_well_on_a_narrow_and_on_a_wide_screen() {
    let mut study = made::typical();
    study.engines[0].sm_percentage = Some(60.0);
    study.problems.push("qwen-b took no token ids for prompts: text was sent instead".to_owned());
    for width in [80, 120, 200] {
        golden(&format!("typical_{width}.txt"), &mpswarden::study::table(&study, width));
    }
}

#[test]
fn no_line_is_wider_than_asked_for() {
    let names: Vec<String> = (0..8).map(|at| format!("an-engine-with-quite-a-long-name-of-its-own-{at}")).collect();
    let mut study = study(&names.iter().map(String::as_str).collect::<Vec<_>>());
    study.plan.concurrencies = vec![1, 2, 4, 8, 16, 32, 64, 128];
    let study = made::grid(study, |prompt, _, _| sharing(8, 0.2 + 10.0 / f64::from(prompt), 0.12));
    for width in [0, 80, 100, 150, 200] {
        let told = mpswarden::study::table(&study, width);
        let widest = told.lines().map(UnicodeWidthStr::width).max().unwrap();
        assert!(widest <= width.max(80), "{width}: {widest}\n{told}");
    }
}

#[test]
fn what_was_not_measured_is_a_dash_and_what_is_doubtful_is_marked() {
    let study = with(study(&["a", "b"]), (16, 1, 1), &sharing(2, 0.8, 0.5));
    let study = with(study, (16, 32, 1), &Speeds { alone: vec![steady(100.0); 2], ..Speeds::default() });
    let mut study = with(study, (16, 128, 4), &sharing(2, 0.9, 0.5));
    study.cells[2].runs[0].engines[0].failed = 40;
    golden("holes.txt", &mpswarden::study::table(&study, 100));
}

#[test]
fn a_study_of_nothing_is_told() {
    golden("nothing.txt", &mpswarden::study::table(&study(&[]), 80));
}
