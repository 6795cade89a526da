//! Several studies beside each other: in the terminal, as a page and as data, also where they hardly can be compared.

use std::fs;

use mpswarden::study::compare::{Comparison, Given, read_study};
use mpswarden::study::results::Study;

use unicode_width::UnicodeWidthStr;

use crate::study::made::{self, Speeds, sharing, study, with};
use crate::study::report::{assert_balanced, shown, text};
use crate::study::tables::golden;
use crate::support::browser::{Browser, Look};

fn given(study: Study) -> Given {
    Given { name: None, from: "here/study.json".to_owned(), study }
}

/// A study of another model, which keeps less of its speed the larger it is and the longer its prompts are.
pub fn of_model(model: &str, size: f64) -> Study {
    let mut made = study(&["a", "b"]);
    made.began += (size * 100_000.0) as u64;
    made.engines.iter_mut().for_each(|engine| engine.model = Some(format!("/models/{model}")));
    made::grid(made, |prompt, output, some| {
        let busy = (f64::from(prompt) / 1024.0 * size / 4.0 + f64::from(some) / 64.0) / f64::from(output).powf(0.2);
        let kept = (1.0 / (1.0 + busy + size / 20.0)).max(0.5);
        Speeds { one: made::around(1250.0), ..sharing(2, kept, kept.min(0.6)) }
    })
}

fn models() -> Vec<Study> {
    vec![of_model("Qwen2.5-0.5B", 0.5), of_model("Qwen2.5-3B", 3.0), of_model("Qwen2.5-7B", 7.0)]
}

fn compared(studies: Vec<Study>) -> Comparison {
    Comparison::of(studies.into_iter().map(given).collect())
}

#[track_caller]
fn notes(comparison: &Comparison, part: &str) {
    assert!(comparison.notes.iter().any(|note| note.contains(part)), "{part:?} is not in {:#?}", comparison.notes);
}

fn names(comparison: &Comparison) -> Vec<&str> {
    comparison.entries.iter().map(|entry| entry.name.as_str()).collect()
}

#[test]
fn models_stand_beside_each_other_on_a_narrow_and_on_a_wide_screen() {
    let mut few = models();
    few.iter_mut().for_each(|study| study.cells.retain(|cell| cell.output != 32 && cell.concurrency != 4));
    let comparison = compared(few);
    assert_eq!((names(&comparison), &comparison.notes), (vec!["Qwen2.5-0.5B", "Qwen2.5-3B", "Qwen2.5-7B"], &vec![]));
    for width in [80, 120] {
        golden(&format!("compared_{width}.txt"), &comparison.table(width));
    }
}

#[test]
fn studies_of_one_model_are_told_apart_by_what_differs() {
    let one = of_model("m", 1.0);
    let other_group = Study { group: "other".to_owned(), ..one.clone() };
    assert_eq!(names(&compared(vec![one.clone(), other_group])), ["m, small-llms", "m, other"]);
    let later = Study { began: one.began + 86_400, ..one.clone() };
    assert_eq!(names(&compared(vec![one.clone(), later])), ["m, 2026-11-24 02:51 UTC", "m, 2026-11-25 02:51 UTC"]);
    let longer = Study { took: 1.0, ..one.clone() };
    assert_eq!(names(&compared(vec![one.clone(), longer.clone()])), ["m", "m #2"]);
    let own = |name: &str, study| Given { name: Some(name.to_owned()), ..given(study) };
    let mut swept = longer;
    swept.plan.percentages = vec![50.0, 100.0];
    let comparison = Comparison::of(vec![own("ours", one), given(swept)]);
    assert_eq!(names(&comparison), ["ours", "m, 2 engines, 50 %"]);
}

#[test]
fn the_same_study_twice_is_shown_once() {
    let comparison = compared(vec![of_model("m", 1.0), of_model("m", 1.0)]);
    assert_eq!(comparison.entries.len(), 1);
    notes(&comparison, "here/study.json is the same study as here/study.json: it is shown once.");
}

#[test]
fn a_simulated_study_is_one_wherever_it_is_named() {
    let simulated = Study { simulated: true, gpu: "NVIDIA H200 (simulated)".to_owned(), ..of_model("tiny", 0.1) };
    let comparison = compared(vec![of_model("m", 1.0), simulated.clone()]);
    assert_eq!(names(&comparison), ["m", "tiny (simulated)"]);
    notes(&comparison, "tiny (simulated) is a study of simulated engines on a simulated GPU: compare nothing");
    notes(&comparison, "Their GPUs differ: NVIDIA H200 (m); NVIDIA H200 (simulated) (tiny (simulated)).");
    assert!(!comparison.table(100).contains("SIMULATED"), "the banner is for all of it");
    let comparison = compared(vec![simulated]);
    assert!(comparison.table(100).starts_with("SIMULATED  the GPU and the engines are simulated."));
    assert!(comparison.html().contains("class=\"simulated\""));
}

#[test]
fn what_makes_studies_less_alike_than_they_look_is_said() {
    let mut other = of_model("other", 3.0);
    other.version = "0.0.9".to_owned();
    other.plan.rate = Some(20.0);
    other.plan.repeats = 2;
    other.engines[0].sm_percentage = Some(60.0);
    other.ended_early = true;
    other.cells.truncate(20);
    other.cells[7].runs.clear();
    other.cells[0].runs[0].engines[0].failed = 100;
    let again = other.cells[3].clone();
    other.cells.push(again);
    let comparison = compared(vec![of_model("m", 1.0), other]);
    for part in [
        "other was measured by mpswarden 0.0.9, and this is 0.1.0: versions differ in what they count",
        "Their active thread percentages differ: 60 % and none (other); none (m).",
        "Their loads differ: 20 requests a second to each engine (other); requests that follow each other (m).",
        "Their times that count differ: 2 repeats of 10 s (other); 3 repeats of 10 s (m).",
        "other was ended early by a signal: 20 of its 21 loads were measured.",
        "other has 2 repeats: its intervals are wide, or narrow by luck.",
        "Of other too many requests failed at 1 load: marked with ?.",
        "other has prompt 256, output 1, 1 in flight more than once: the first counts.",
    ] {
        notes(&comparison, part);
    }
}

#[test]
fn studies_without_numbers_or_without_a_common_load_say_so() {
    let mut once = with(study(&["a", "b"]), (7, 7, 7), &Speeds { mps: vec![vec![5.0]; 2], ..Speeds::default() });
    once.plan.repeats = 1;
    let comparison = compared(vec![of_model("m", 1.0), once.clone(), study(&[])]);
    notes(&comparison, "has a single repeat, which says nothing of how far runs differ: it has no ratio.");
    notes(&comparison, "small-llms measured no load both alone and under MPS.");
    notes(&comparison, "No two of these studies have a load in common");
    let nothing = compared(vec![once]);
    assert!(!nothing.table(80).contains("MPS over"), "{}", nothing.table(80));
    assert_eq!(compared(Vec::new()).table(80), "0 studies beside each other, 0 loads in all\n");
    assert_balanced(&compared(Vec::new()).html());
}

#[test]
fn a_file_that_is_no_study_is_refused_with_what_it_is_and_the_cure() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("study.json");
    let refused = |text: &str| {
        fs::write(&path, text).unwrap();
        read_study(directory.path()).unwrap_err()
    };
    let why = refused("{\"baselines\": []}");
    assert!(why.contains("study.json is no study: missing field") && why.contains("name the study.json"), "{why}");
    let why = refused("{\"version\": \"9.0.0\", \"cells\": [1]}");
    assert!(why.contains("is a study of mpswarden 9.0.0, and this is 0.1.0: it is not understood"), "{why}");
    assert!(refused("<html>").contains("is no study"), "a report");
    fs::remove_file(&path).unwrap();
    let why = read_study(&path).unwrap_err();
    assert!(why.contains("can't be read: No such file") && why.contains("name the study.json"), "{why}");
    fs::write(&path, serde_json::to_vec(&study(&["a"])).unwrap()).unwrap();
    for given in [directory.path(), &path] {
        let read = read_study(given).unwrap();
        assert!(read.study == study(&["a"]) && read.path == path);
    }
}

#[test]
fn a_comparison_is_data_too() {
    let data = serde_json::to_value(compared(models()).document()).unwrap();
    assert_eq!(
        (data["studies"][1]["name"].as_str(), data["studies"][1]["engines"].as_u64()),
        (Some("Qwen2.5-3B"), Some(2))
    );
    let load = &data["loads"][0];
    assert_eq!(
        (load["output"].as_u64(), load["prompt"].as_u64(), load["concurrency"].as_u64()),
        (Some(1), Some(16), Some(1))
    );
    let of: Vec<_> = load["studies"].as_array().unwrap().iter().map(|one| one["study"].as_str().unwrap()).collect();
    assert_eq!(of, ["Qwen2.5-0.5B", "Qwen2.5-3B", "Qwen2.5-7B"]);
    let gain = &load["studies"][0]["gain"];
    assert!(gain["low"].as_f64() <= gain["middle"].as_f64() && gain["middle"].as_f64() <= gain["high"].as_f64());
    assert_eq!(data["notes"], serde_json::json!([]));
}

/// Names that would drive a terminal or a page, and as many studies as there may be.
fn odd() -> Comparison {
    let hostile = |at: usize| {
        let mut study = of_model(&format!("<script>\u{1b}[2J-{at}-{}", "x".repeat(80)), at as f64);
        study.gpu = "<img src=http://evil.example/x>\u{1b}[2J".to_owned();
        study.group = "\u{1b}]0;title\u{7}".to_owned();
        study.version = "\u{1b}[31m".to_owned();
        study
    };
    compared((0..24).map(hostile).collect())
}

#[test]
fn names_of_others_drive_neither_terminal_nor_page() {
    let comparison = odd();
    for width in [0, 80, 300] {
        let told = comparison.table(width);
        assert!(!told.contains('\u{1b}') && !told.contains('\u{7}'), "{told}");
        let wide = told.lines().find(|line| line.width() > width.clamp(80, 200));
        assert_eq!(wide, None, "{width}");
    }
    let page = comparison.html();
    assert_balanced(&page);
    assert!(!page.contains("<script") && !page.contains("<img"), "{page}");
}

#[test]
fn the_page_says_what_the_terminal_says() {
    let comparison = compared(models());
    let page = text(&comparison.html());
    for entry in &comparison.entries {
        assert!(page.contains(&entry.name) && page.contains(&entry.recommended.sentences[0]));
    }
    let ratio = comparison.entries[0].analysis.cells[0].gain.unwrap();
    assert!(page.contains(&format!("{:.2} ({:.2}–{:.2})", ratio.middle, ratio.low, ratio.high)), "{page}");
}

#[test]
fn the_page_reads_well_in_light_and_dark_on_a_screen_and_on_a_phone() {
    let Some(browser) = Browser::start(Look::default()) else { return };
    shown(&browser, "compared-screen", &compared(models()).html());
    shown(&browser, "compared-odd", &odd().html());
    drop(browser);
    let Some(browser) = Browser::start(Look { phone: true, ..Look::default() }) else { return };
    shown(&browser, "compared-phone", &compared(models()).html());
}
