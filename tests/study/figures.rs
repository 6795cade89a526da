//! The arithmetic, against answers worked out by hand, and against studies that would never be made.

use mpswarden::model::{BaselineSource, Taken};
use mpswarden::study::analysis::{CellFigures, Way, analyses};
use mpswarden::study::results::{Arrangement, Cell, Measured, Percentiles, Run, StudiedEngine, Study};
use mpswarden::study::spread::Verdict;
use mpswarden::study::{baselines, html, recommend, table};
use proptest::prelude::*;

use crate::study::made::{Speeds, around, sharing, steady, study, with};

const LOAD: (u32, u32, u32) = (256, 32, 4);

/// The only load's figures.
fn figures(study: &Study) -> CellFigures {
    analyses(study).remove(0).cells.pop().unwrap()
}

/// Rounded to four digits, so that it can be compared.
fn middle(spread: Option<mpswarden::study::spread::Spread>) -> Option<f64> {
    spread.map(|spread| (spread.middle * 1e4).round() / 1e4)
}

#[test]
fn the_gain_is_the_sum_of_what_each_engine_keeps_of_its_speed() {
    // 810 of 1000 and 405 of 500: 0.81 each.
    let speeds = Speeds {
        alone: vec![steady(1000.0), steady(500.0)],
        mps: vec![steady(810.0), steady(405.0)],
        sliced: vec![steady(500.0), steady(250.0)],
        one: steady(1080.0),
        ttft: None,
    };
    let cell = figures(&with(study(&["a", "b"]), LOAD, &speeds));
    assert_eq!((middle(cell.gain), middle(cell.sliced_gain)), (Some(1.62), Some(1.0)));
    assert_eq!((middle(cell.over_sliced), middle(cell.over_one)), (Some(1.62), Some(1.125)));
    let totals = Way::ALL.map(|way| middle(cell.total(way)));
    assert_eq!(totals, [Some(750.0), Some(1215.0), Some(750.0), Some(1080.0)]);
    let slowdowns: Vec<f64> =
        cell.engines.iter().map(|engine| (engine.slowdown.unwrap() * 1e4).round() / 1e4).collect();
    assert_eq!(slowdowns, [1.2346; 2]);
}

/// A ratio of 1.6 as finely as any is told: 2 % to either side.
const FINEST: [f64; 3] = [1.568, 1.6, 1.632];

/// Rounded to three digits, so that it can be compared.
fn rounded(numbers: [f64; 3]) -> [f64; 3] {
    numbers.map(|number| (number * 1e3).round() / 1e3)
}

#[test]
fn rates_have_their_median_and_ratios_the_interval_of_their_repeats() {
    let speeds =
        Speeds { alone: vec![vec![100.0, 104.0, 90.0]], mps: vec![vec![80.0, 83.2, 81.0]], ..Speeds::default() };
    let cell = figures(&with(study(&["a"]), LOAD, &speeds));
    let alone = cell.total(Way::Alone).unwrap();
    assert_eq!((alone.middle, alone.low, alone.high, alone.runs), (100.0, 90.0, 104.0, 3));
    // 0.8, 0.8 and 0.9, by hand: logarithms of mean -0.1839 and deviation 0.0680, t of 2 degrees 4.303.
    let gain = cell.gain.unwrap();
    assert_eq!((rounded([gain.low, gain.middle, gain.high]), gain.runs), ([0.703, 0.832, 0.985], 3));
}

#[test]
fn repeats_that_take_turns_are_paired_so_that_what_slows_both_sides_widens_nothing() {
    let slower = vec![1000.0, 700.0, 500.0];
    let shared = vec![slower.iter().map(|rate| rate * 0.8).collect(); 2];
    let speeds = Speeds { mps: shared.clone(), sliced: shared, alone: vec![slower; 2], ..Speeds::default() };
    let cell = figures(&with(study(&["a", "b"]), LOAD, &speeds));
    let gain = cell.sliced_gain.unwrap();
    assert_eq!(rounded([gain.low, gain.middle, gain.high]), FINEST);
    // What runs under MPS runs later: that its repeats are as slow as the others' is luck.
    assert!(cell.gain.unwrap().low < 1.2, "{:?}", cell.gain);
}

#[test]
fn ratios_that_agree_by_luck_are_no_surer_than_the_runs_behind_them() {
    // Two engines of 0.5B on an H200, as measured: the three gains are 1.86, 1.94 and 1.96, the runs differ by a third.
    let speeds = Speeds {
        alone: vec![vec![22_961.0, 21_344.0, 20_306.0], vec![28_163.0, 21_248.0, 25_239.0]],
        mps: vec![vec![25_058.0, 18_756.0, 20_501.0], vec![21_572.0, 22_654.0, 23_946.0]],
        sliced: vec![vec![25_336.0, 25_752.0, 20_480.0], vec![25_343.0, 30_564.0, 24_430.0]],
        one: vec![42_660.0, 34_768.0, 44_174.0],
        ttft: None,
    };
    let gain = figures(&with(study(&["a", "b"]), LOAD, &speeds)).gain.unwrap();
    assert!(gain.low < 1.7 && gain.high > 2.15, "{gain:?}");
}

#[test]
fn a_single_repeat_has_no_ratio() {
    let once = Speeds { alone: vec![vec![1000.0]; 2], mps: vec![vec![800.0]; 2], ..Speeds::default() };
    assert_eq!(figures(&with(study(&["a", "b"]), LOAD, &once)).gain, None);
}

/// One of three repeats of a rate that is `rate` in truth and differs by 4 % from run to run.
fn noisy(random: &mut fastrand::Rng, rate: f64) -> Vec<f64> {
    let normal = |random: &mut fastrand::Rng| (0..12).map(|_| random.f64()).sum::<f64>() - 6.0;
    (0..3).map(|_| rate * (0.04 * normal(random)).exp()).collect()
}

#[test]
fn the_interval_holds_the_true_ratio_in_95_of_100_studies() {
    let mut random = fastrand::Rng::with_seed(7);
    let held = (0..1000).filter(|_| {
        let mut two = |rate: f64| vec![noisy(&mut random, rate), noisy(&mut random, rate)];
        let speeds = Speeds { alone: two(1000.0), mps: two(810.0), ..Speeds::default() };
        let gain = figures(&with(study(&["a", "b"]), LOAD, &speeds)).gain.unwrap();
        gain.low <= 1.62 && 1.62 <= gain.high
    });
    let held = held.count();
    assert!(held >= 950, "{held} of 1000");
}

#[test]
fn the_same_engine_twice_differs_in_fewer_than_5_of_100_studies() {
    let mut random = fastrand::Rng::with_seed(8);
    let told = (0..1000).filter(|_| {
        let speeds = Speeds {
            alone: vec![noisy(&mut random, 1000.0)],
            mps: vec![noisy(&mut random, 1000.0)],
            ..Speeds::default()
        };
        let gain = figures(&with(study(&["a"]), LOAD, &speeds)).gain.unwrap();
        matches!(gain.verdict(), Verdict::More | Verdict::Less)
    });
    let told = told.count();
    assert!(told <= 50, "{told} of 1000");
}

#[test]
fn what_engines_trade_within_a_run_does_not_widen_the_gain() {
    let traded = vec![vec![60.0, 80.0, 100.0], vec![100.0, 80.0, 60.0]];
    let speeds = Speeds { alone: vec![steady(100.0); 2], mps: traded, ..Speeds::default() };
    let gain = figures(&with(study(&["a", "b"]), LOAD, &speeds)).gain.unwrap();
    assert_eq!(rounded([gain.low, gain.middle, gain.high]), FINEST);
}

#[test]
fn what_was_not_measured_has_no_number() {
    let two = || study(&["a", "b"]);
    let only_alone = figures(&with(two(), LOAD, &Speeds { alone: vec![steady(9.0); 2], ..Speeds::default() }));
    assert_eq!((only_alone.gain, only_alone.over_sliced, only_alone.total(Way::Mps)), (None, None, None));
    let one_alone = Speeds { alone: vec![steady(9.0)], mps: vec![steady(5.0); 2], ..Speeds::default() };
    let cell = figures(&with(two(), LOAD, &one_alone));
    assert_eq!((cell.gain, cell.total(Way::Alone)), (None, None));
    assert_eq!(middle(cell.total(Way::Mps)), Some(10.0));
    assert_eq!(figures(&with(study(&[]), LOAD, &Speeds::default())).gain, None);
}

#[test]
fn a_run_in_which_one_engine_got_nothing_done_counts_for_nobody() {
    let mut speeds = sharing(2, 0.8, 0.5);
    speeds.mps = vec![vec![800.0, 990.0], vec![800.0, 0.0]];
    let mut study = with(study(&["a", "b"]), LOAD, &speeds);
    assert_eq!(middle(figures(&study).total(Way::Mps)), Some(1600.0));
    for run in study.cells[0].runs.iter_mut().filter(|run| run.arrangement == Arrangement::Mps) {
        run.engines.retain(|part| part.engine == "a");
    }
    assert_eq!((figures(&study).total(Way::Mps), figures(&study).gain), (None, None));
}

#[test]
fn one_engine_for_all_is_compared_only_where_all_serve_the_same_model() {
    let mut study = with(study(&["a", "b"]), LOAD, &Speeds { one: steady(1200.0), ..sharing(2, 0.8, 0.5) });
    assert_eq!(middle(figures(&study).over_one), Some(1.3333));
    study.engines[1].model = Some("another".to_owned());
    assert_eq!(figures(&study).over_one, None);
    study.engines.iter_mut().for_each(|engine| engine.model = None);
    assert_eq!((figures(&study).over_one, figures(&study).total(Way::Consolidated)), (None, None));
}

#[test]
fn eight_engines_that_keep_a_quarter_each_gain_twofold() {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    assert_eq!(middle(figures(&with(study(&names), LOAD, &sharing(8, 0.25, 0.125))).gain), Some(2.0));
}

#[test]
fn more_than_one_failure_in_a_hundred_makes_a_load_doubtful() {
    let mut study = with(study(&["a", "b"]), LOAD, &sharing(2, 0.8, 0.5));
    let part = &mut study.cells[0].runs[4].engines[0];
    (part.requests, part.failed) = (99, 1);
    assert_eq!(figures(&study).failures, None);
    let part = &mut study.cells[0].runs[4].engines[0];
    (part.requests, part.failed) = (98, 2);
    assert_eq!(figures(&study).failures, Some(0.02));
}

#[test]
fn baselines_are_what_each_engine_did_alone() {
    let speeds = Speeds { alone: vec![around(2880.0), steady(28.8)], ..Speeds::default() };
    let baselines = baselines(&with(study(&["a", "b"]), LOAD, &speeds));
    let told: Vec<_> = baselines.iter().map(|one| (one.engine.as_str(), one.tokens_per_second, one.samples)).collect();
    assert_eq!(told, [("a", 2880.0, 3), ("b", 28.8, 3)]);
    let first = &baselines[0];
    assert_eq!((first.running, first.source, first.taken), (4.0, BaselineSource::Study, Taken::Unix(1_795_388_702)));
    assert_eq!((first.prompt_tokens, first.generation_tokens), (256.0, 32.0));
    // Of b one request ended in each run: too few to tell a request's tokens from them.
    assert_eq!((baselines[1].prompt_tokens, baselines[1].generation_tokens), (256.0, 32.0));
}

#[test]
fn no_baseline_comes_from_runs_that_failed_or_did_nothing() {
    let mut study = with(study(&["a", "b"]), LOAD, &sharing(2, 0.8, 0.5));
    for run in &mut study.cells[0].runs {
        let part = &mut run.engines[0];
        match part.engine.as_str() {
            "a" => part.failed = part.requests,
            _ => (part.prompt_tokens, part.generation_tokens, part.requests) = (0, 0, 0),
        }
    }
    assert_eq!(baselines(&study), []);
}

fn number() -> impl Strategy<Value = f64> {
    let odd = prop_oneof![Just(0.0), Just(-1.0), Just(f64::NAN), Just(f64::INFINITY), Just(1e-308), Just(1e308)];
    prop_oneof![4 => 0.001..1e4, 1 => odd]
}

fn count() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 0..100_000_u64, 1 => Just(u64::MAX)]
}

fn percentiles() -> impl Strategy<Value = Option<Percentiles>> {
    let three = (number(), number(), number()).prop_map(|(p50, p90, p99)| Percentiles { p50, p90, p99 });
    proptest::option::of(three)
}

fn names() -> impl Strategy<Value = String> {
    prop_oneof![Just("a".to_owned()), Just("b".to_owned()), Just("c".to_owned())]
}

fn measured() -> impl Strategy<Value = Measured> {
    let counts = (count(), count(), count(), count());
    let all = (names(), number(), counts, number(), percentiles(), percentiles());
    all.prop_map(|(engine, seconds, (requests, failed, prompt, generated), running, ttft, tpot)| Measured {
        engine,
        seconds,
        requests,
        whole: requests,
        failed,
        prompt_tokens: prompt,
        generation_tokens: generated,
        running,
        ttft,
        tpot,
    })
}

fn run() -> impl Strategy<Value = Run> {
    let arrangement = prop_oneof![
        names().prop_map(Arrangement::Alone),
        names().prop_map(Arrangement::Consolidated),
        Just(Arrangement::Mps),
        Just(Arrangement::TimeSliced),
    ];
    (arrangement, 0..3_u32, proptest::collection::vec(measured(), 0..4)).prop_map(|(arrangement, repeat, engines)| {
        Run {
            arrangement,
            variant: None,
            repeat,
            engines,
            used: mpswarden::study::limits::Used::default(),
            not_measured: None,
        }
    })
}

fn cell() -> impl Strategy<Value = Cell> {
    let size = || prop_oneof![Just(0), Just(1), Just(16), Just(1024), Just(u32::MAX)];
    (size(), size(), size(), proptest::collection::vec(run(), 0..20))
        .prop_map(|(prompt, output, concurrency, runs)| Cell { prompt, output, concurrency, runs })
}

fn any_study() -> impl Strategy<Value = Study> {
    let engine = (names(), proptest::option::of("\\PC{0,40}"), proptest::option::of(number()));
    let engine = engine.prop_map(|(name, model, sm_percentage)| StudiedEngine { name, model, sm_percentage });
    let engines = proptest::collection::vec(engine, 0..4);
    (engines, proptest::collection::vec(cell(), 0..8), number()).prop_map(|(engines, cells, took)| Study {
        engines,
        cells,
        took,
        ..study(&[])
    })
}

/// Words of a text that begin or end like a number that is none.
fn not_finite(text: &str) -> Vec<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words.filter(|word| matches!(*word, "NaN" | "inf")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_study_makes_it_panic_or_tell_a_number_that_is_none(mut any in any_study(), width in 0..300_usize) {
        any.engines.iter_mut().for_each(|engine| engine.model = engine.model.take().filter(|it| not_finite(it).is_empty()));
        let shown = [table(&any, width), html(&any), recommend(&any).sentences.join("\n")];
        for text in &shown {
            prop_assert!(not_finite(text).is_empty(), "{text}");
        }
        for baseline in baselines(&any) {
            let numbers = [baseline.running, baseline.prompt_tokens, baseline.generation_tokens, baseline.tokens_per_second];
            prop_assert!(numbers.iter().all(|number| number.is_finite() && *number >= 0.0), "{baseline:?}");
        }
        let recommended = recommend(&any);
        let told = serde_json::to_string(&recommended).unwrap();
        prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&told).is_ok(), true);
        let mut ratios = recommended.loads.iter().flat_map(|load| [load.gain, load.sliced_gain, load.over_sliced, load.over_one]).flatten();
        prop_assert!(ratios.all(|ratio| ratio.low <= ratio.middle && ratio.middle <= ratio.high));
    }
}
