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
    says(&recommended, "MPS pays: gain 1.62. So many GPUs with one engine each would do the same work.");
    says(&recommended, "Where MPS pays, its throughput is 1.62 times that of time-slicing.");
    says(&recommended, "No active thread percentage was set, and none was tried.");
    says(&recommended, "Slow-downs are even: a 1.23 and b 1.23.");
    is_silent(&recommended, "doubtful");
}

#[test]
fn mps_that_does_less_than_taking_turns_is_advised_against() {
    let recommended = of(&sharing(2, 0.40, 0.42));
    assert_eq!((recommended.choice, recommended.engines), (Choice::NoSharing, 1));
    assert_eq!(recommended.sentences[0], "Do not share this GPU among these 2 engines.");
    says(&recommended, "MPS does not pay: gain 0.80, and one engine at a time gets more done.");
}

#[test]
fn time_slicing_that_does_as_well_is_recommended_instead() {
    let recommended = of(&sharing(2, 0.80, 0.79));
    assert_eq!((recommended.choice, recommended.engines), (Choice::TimeSlicing, 2));
    assert_eq!(recommended.sentences[0], "Let these 2 engines share the GPU without MPS: MPS brings no more.");
    says(&recommended, "time-slicing does as well: gain 1.58 without MPS and 1.60 with it.");
}

#[test]
fn one_engine_that_serves_the_whole_load_as_well_is_recommended_instead() {
    let recommended = of(&Speeds { one: around(2000.0), ..sharing(2, 0.80, 0.5) });
    assert_eq!((recommended.choice, recommended.engines), (Choice::OneEngine, 1));
    assert_eq!(recommended.sentences[0], "Serve the load of these 2 engines with one engine instead.");
    says(&recommended, "MPS gets 0.80 times as much done");
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
    says(&recommended, "For outputs of 32 tokens and more; prompts of up to 256 tokens: MPS pays: gain 1.40 to 1.66.");
    says(&recommended, "For prefill only, prompts of 1024 tokens: MPS does not pay: gain 0.90, and");
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
    says(&recommended, "Active thread percentages were a 60 %; no others were tried.");
    says(&recommended, "b pays most for it: slow-downs are a 1.11 and b 2.00.");
    says(&recommended, "Try more active threads for b or fewer for the others.");
}

#[test]
fn runs_that_lie_too_far_apart_recommend_nothing() {
    let wild = vec![vec![350.0, 600.0, 800.0]; 2];
    let recommended = of(&Speeds { mps: wild, sliced: Vec::new(), ..sharing(2, 0.5, 0.5) });
    assert_eq!((recommended.choice, recommended.engines), (Choice::NotClear, 0));
    says(&recommended, "Nothing can be recommended: the runs differ too much. Give it more --repeats");
    says(&recommended, "not clear: gain 1.10, and the runs differ too much to say more.");
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
        "is 124 ms under MPS and 40.0 ms alone, 3.10 times as long (prompt 1024, output 32, 16 in flight",
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
