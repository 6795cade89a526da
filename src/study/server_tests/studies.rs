//! Studies of engines whose behaviour is known, a hundred of each: the true ratio lies within the interval that is told
//! of it, and where nothing can be told, nothing is.

use super::super::analysis::CellFigures;
use super::super::recommend::{Choice, recommend};
use super::super::spread::{Spread, Verdict};
use super::server::{Model, Work};
use super::world::{Differ, World, figures};

/// Studies of each kind.
const STUDIES: u64 = 100;
/// Most studies of a hundred that may be wrong.
const WRONG: usize = 5;

/// What MPS is compared with.
type RatioOf = fn(&CellFigures) -> Option<Spread>;
const RATIOS: [(&str, RatioOf); 4] = [
    ("gain", |cell| cell.gain),
    ("gain time-sliced", |cell| cell.sliced_gain),
    ("over time-slicing", |cell| cell.over_sliced),
    ("over one engine", |cell| cell.over_one),
];

/// Studies them and asserts that each ratio's interval holds the true one; the true gain and that over one engine.
#[track_caller]
fn told_right(world: &World) -> [f64; 2] {
    let truth = world.truth();
    let studies: Vec<CellFigures> = (0..STUDIES).map(|seed| figures(&world.study(seed))).collect();
    for (name, ratio) in RATIOS {
        let wanted = ratio(&truth).unwrap().middle;
        let holds = |told: &Spread| told.low <= wanted && wanted <= told.high;
        let missed: Vec<Option<Spread>> =
            studies.iter().map(ratio).filter(|told| !told.as_ref().is_some_and(holds)).collect();
        eprintln!("{name}: {wanted:.3} missed {} of {STUDIES}", missed.len());
        assert!(missed.len() <= WRONG, "{name}: {wanted:.3} is missed by {} of {STUDIES}: {missed:.3?}", missed.len());
    }
    [truth.gain, truth.over_one].map(|ratio| ratio.unwrap().middle)
}

#[track_caller]
fn near(told: f64, wanted: f64) {
    assert!((told / wanted - 1.0).abs() < 0.02, "{told} is not {wanted}");
}

#[test]
fn engines_of_a_fixed_rate_gain_what_each_keeps_of_it() {
    let [gain, over_one] = told_right(&World::of(Model { step: 0.0, each: 1.0 / 400.0, ..Model::default() }));
    near(gain, 1.6);
    near(over_one, 1.6);
}

#[test]
fn engines_that_saturate_gain_less_over_one_with_the_whole_load() {
    let [gain, over_one] = told_right(&World::of(Model::default()));
    near(gain, 1.6);
    // Pauses leave 15.2 of 16 requests in flight: such a step takes 31.2 ms, and one of 7.6 takes 23.6.
    near(over_one, 1.6 * (31.2 / 23.6) / 2.0);
}

#[test]
fn engines_that_wait_for_their_front_ends_gain_one_for_each() {
    let front = Model { step: 0.004, each: 0.0002, front: 1.0 / 300.0, ..Model::default() };
    let [gain, over_one] = told_right(&World::of(front));
    near(gain, 2.0);
    near(over_one, 2.0);
}

#[test]
fn engines_that_work_in_lockstep_are_measured_all_the_same() {
    told_right(&World::of(Model { lockstep: true, ..Model::default() }));
}

#[test]
fn engines_that_show_no_tokens_are_measured_by_their_count() {
    near(told_right(&World::of(Model { shows: false, ..Model::default() }))[0], 1.6);
}

#[test]
fn engines_whose_prompts_take_long_are_measured_in_both_phases() {
    let slow = World::of(Model { prefill: 0.0001, ..Model::default() });
    near(told_right(&World { seconds: 5.0, work: Work { prompt: 512, ..slow.work }, ..slow })[0], 1.6);
}

#[test]
fn prompts_alone_are_measured_too() {
    let prefill = World::of(Model { prefill: 0.00005, ..Model::default() });
    near(told_right(&World { work: Work { prompt: 256, output: 1, ..prefill.work }, ..prefill })[0], 1.6);
}

#[test]
fn runs_that_hardly_differ_are_not_believed_more_than_they_are_worth() {
    told_right(&World { differ: Differ::Hardly, ..World::of(Model::default()) });
    told_right(&World { differ: Differ::Hardly, ..World::of(Model { lockstep: true, ..Model::default() }) });
}

#[test]
fn runs_that_differ_by_a_third_are_told_to() {
    told_right(&World { differ: Differ::ByAThird, ..World::of(Model::default()) });
}

#[test]
fn of_the_same_engine_alone_twice_no_difference_is_told() {
    for differ in [Differ::Usually, Differ::Hardly, Differ::ByAThird] {
        let world = World { differ, ..World::of(Model::default()) };
        let told = (0..3 * STUDIES).filter(|seed| {
            let gain = figures(&world.twice(*seed)).gain.unwrap();
            matches!(gain.verdict(), Verdict::More | Verdict::Less)
        });
        let told = told.count();
        eprintln!("{differ:?}: {told} of {}", 3 * STUDIES);
        assert!(told <= 3 * WRONG, "{differ:?}: {told} of {}", 3 * STUDIES);
    }
}

/// A study measures nothing, for one of these reasons.
#[track_caller]
fn not_measured(world: &World, why: &[&str]) {
    let study = world.study(0);
    let told: Vec<_> = study.cells[0].runs.iter().map(|run| run.not_measured.clone().unwrap_or_default()).collect();
    assert!(told.iter().all(|told| why.iter().any(|why| told.contains(why))), "{told:?}");
    assert_eq!(recommend(&study).choice, Choice::NotMeasured);
}

#[test]
fn engines_too_slow_for_the_window_are_not_measured() {
    let slow = World { longest: 2.0, ..World::of(Model { step: 0.2, ..Model::default() }) };
    not_measured(&slow, &["did not all end within 2.00 s"]);
    let few = World { longest: 8.0, work: Work { concurrency: 1, ..slow.work }, ..slow };
    not_measured(&few, &["and 20 are needed"]);
}

#[test]
fn engines_that_get_ever_slower_are_not_measured() {
    let tired = World { longest: 5.0, ..World::of(Model { tires: 0.6, ..Model::default() }) };
    not_measured(&tired, &["was not steady", "changed while it counted", "and 20 are needed", "did not all end"]);
}
