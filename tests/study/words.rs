//! What is recommended, in words and as data.

use mpswarden::study::recommend;
use mpswarden::study::recommend::{Choice, Recommendation};

use crate::study::made::{Speeds, around, grid, sharing, steady, study, with};

const LOAD: (u32, u32, u32) = (256, 32, 4);

fn two() -> mpswarden::study::results::Study {
    study(&["a", "b"])
}

fn of(speeds: &Speeds) -> Recommendation {
    recommend(&with(two(), LOAD, speeds))
}

#[track_caller]
fn says(recommended: &Recommendation, part: &str) {
    assert!(recommended.sentences.join("\n").contains(part), "{part:?} is not in {:#?}", recommended.sentences);
}

#[track_caller]
fn is_silent(recommended: &Recommendation, part: &str) {
    assert!(!recommended.sentences.join("\n").contains(part), "{part:?} is in {:#?}", recommended.sentences);
}

#[test]
fn mps_that_pays_everywhere_is_recommended_with_its_numbers() {
    let recommended = of(&sharing(2, 0.81, 0.5));
    assert_eq!((recommended.choice, recommended.engines), (Choice::Mps, 2));
    assert_eq!(recommended.sentences[0], "Use MPS with these 2 engines.");
    says(
        &recommended,
        "MPS gets 1.62 (1.59 to 1.65) times as much done as the same engines without MPS (time-sliced) and 1.62 (1.59 to \
         1.65) times as much done as one engine at a time (the gain).",
    );
    says(&recommended, "In work for each GPU: 1.62 (1.59 to 1.65) GPUs with one engine each would do the same.");
    says(&recommended, "What was run: a without a limit and b without a limit. No other percentages were tried");
    says(
        &recommended,
        "Beside itself alone each engine takes longer for the same, evenly: a 1.23 times and b 1.23 times.",
    );
    is_silent(&recommended, "doubtful");
}

#[test]
fn mps_that_does_less_than_taking_turns_is_advised_against() {
    let recommended = of(&sharing(2, 0.40, 0.42));
    assert_eq!((recommended.choice, recommended.engines), (Choice::NoSharing, 1));
    assert_eq!(recommended.sentences[0], "Do not share this GPU among these 2 engines.");
    says(&recommended, "Do not share: MPS gets 0.80 (0.78 to 0.82) times as much done as one engine at a time.");
}

#[test]
fn time_slicing_that_does_as_well_is_recommended_instead() {
    let recommended = of(&sharing(2, 0.80, 0.79));
    assert_eq!((recommended.choice, recommended.engines), (Choice::TimeSlicing, 2));
    assert_eq!(recommended.sentences[0], "Let these 2 engines share the GPU without MPS: MPS brings no more.");
    says(
        &recommended,
        "Sharing without MPS does as well: it gets 1.58 (1.55 to 1.61) times as much done as one engine at a time, and with \
         MPS 1.60 (1.57 to 1.63).",
    );
}

#[test]
fn one_engine_that_serves_the_whole_load_as_well_is_recommended_instead() {
    let recommended = of(&Speeds { one: around(2000.0), ..sharing(2, 0.80, 0.5) });
    assert_eq!((recommended.choice, recommended.engines), (Choice::OneEngine, 1));
    assert_eq!(recommended.sentences[0], "Serve the load of these 2 engines with one engine instead.");
    says(
        &recommended,
        "One engine that serves the whole load does as well or better: MPS gets 0.80 (0.78 to 0.82) times",
    );
}

#[test]
fn mps_that_pays_for_some_loads_is_recommended_for_those() {
    let study = grid(two(), |prompt, output, _| match (prompt, output) {
        (1024, 1) => sharing(2, 0.45, 0.45),
        _ => sharing(2, 0.7 + f64::from(output) / 1000.0, 0.5),
    });
    let recommended = recommend(&study);
    assert_eq!((recommended.choice, recommended.engines), (Choice::ByLoad, 2));
    assert_eq!(recommended.sentences[0], "Use MPS with these 2 engines for some loads only.");
    says(&recommended, "For outputs of 32 tokens and more; prompts of up to 256 tokens: use MPS.");
    says(&recommended, "For prefill only, prompts of 1024 tokens: do not share: MPS gets 0.90 times as much done");
    says(&recommended, "Where MPS pays, it gets 1.40 to 1.66 times as much done as the same engines without MPS");
    let not: Vec<_> = recommended.loads.iter().filter(|load| load.choice == Choice::NoSharing).collect();
    assert!(not.len() == 3 && not.iter().all(|at| (at.load.prompt, at.load.output) == (1024, 1)), "{not:?}");
}

#[test]
fn uneven_slow_downs_name_who_pays_and_what_to_try() {
    let uneven = vec![around(900.0), around(500.0)];
    let mut study = with(two(), LOAD, &Speeds { mps: uneven, ..sharing(2, 0.5, 0.5) });
    study.engines[0].sm_percentage = Some(60.0);
    let recommended = recommend(&study);
    assert_eq!(recommended.uneven.as_deref(), Some("b"));
    says(&recommended, "What was run: a with 60 % active threads and b without a limit.");
    says(
        &recommended,
        "Beside itself alone each engine takes longer for the same: a 1.11 times and b 2.00 times. b pays most:",
    );
    says(&recommended, "try more active threads for b or fewer for the others.");
}

#[test]
fn runs_that_lie_too_far_apart_recommend_nothing() {
    let wild = vec![vec![350.0, 600.0, 800.0]; 2];
    let recommended = of(&Speeds { mps: wild, sliced: Vec::new(), ..sharing(2, 0.5, 0.5) });
    assert_eq!((recommended.choice, recommended.engines), (Choice::NotClear, 0));
    says(&recommended, "Nothing can be recommended: the runs differ too much. Give it more --repeats");
    says(
        &recommended,
        "It is not clear whether MPS gets more done than one engine at a time (the gain): anything from 0.",
    );
}

#[test]
fn a_gain_of_less_than_five_percent_is_no_difference_however_steady() {
    let speeds = Speeds { mps: vec![steady(520.0); 2], alone: vec![steady(1000.0); 2], ..Speeds::default() };
    assert_eq!(of(&speeds).choice, Choice::NoDifference);
}

#[test]
fn a_study_without_numbers_recommends_nothing() {
    for study in [study(&[]), two(), with(two(), LOAD, &Speeds { mps: vec![steady(9.0); 2], ..Speeds::default() })] {
        let recommended = recommend(&study);
        assert_eq!((recommended.choice, recommended.engines), (Choice::NotMeasured, 0));
        assert!(recommended.sentences[0].starts_with("Nothing can be recommended"));
    }
}

#[test]
fn doubtful_and_missing_loads_are_left_out_and_said() {
    let study = with(two(), LOAD, &sharing(2, 0.8, 0.5));
    let study = with(study, (16, 32, 4), &sharing(2, 0.3, 0.5));
    let mut study = with(study, (1024, 32, 4), &Speeds::default());
    study.cells[1].runs[0].engines[0].failed = 1000;
    let recommended = recommend(&study);
    assert_eq!(recommended.choice, Choice::Mps);
    says(&recommended, "Left out as doubtful (?), since over 1 % of an engine's requests failed: 1 load.");
    says(&recommended, "Not measured whole: 1 of 3 loads.");
}

#[test]
fn a_single_run_recommends_nothing() {
    let once = Speeds { alone: vec![vec![1000.0]; 2], mps: vec![vec![800.0]; 2], ..Speeds::default() };
    assert_eq!(of(&once).choice, Choice::NotMeasured);
}

#[test]
fn first_tokens_that_come_late_are_told_with_the_worst_of_them() {
    let late = Speeds { ttft: Some((0.040, 0.124)), ..sharing(2, 0.8, 0.5) };
    let recommended = recommend(&with(with(two(), LOAD, &sharing(2, 0.8, 0.5)), (1024, 32, 16), &late));
    says(
        &recommended,
        "takes over 124 ms under MPS and over 40.0 ms alone, 3.10 times as long, at worst (prompt 1024, output 32, 16 in flight",
    );
    assert_eq!(recommended.late.as_ref().map(|late| late.load.prompt), Some(1024));
    is_silent(&of(&sharing(2, 0.8, 0.5)), "First tokens come late");
}

#[test]
fn what_is_recommended_is_data_too() {
    let recommended = of(&sharing(2, 0.8, 0.5));
    let json = serde_json::to_value(&recommended).unwrap();
    assert_eq!((json["choice"].as_str(), json["engines"].as_u64()), (Some("mps"), Some(2)));
    assert_eq!((json["loads"][0]["prompt"].as_u64(), json["loads"][0]["choice"].as_str()), (Some(256), Some("mps")));
    assert_eq!(json["percentages"], serde_json::json!([["a", null], ["b", null]]));
    assert_eq!(serde_json::from_value::<Recommendation>(json).unwrap(), recommended);
}
