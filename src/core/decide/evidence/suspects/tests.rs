//! The thirteen faults of a known culprit as evidence, and what must hold whatever the evidence is.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use crate::decide::evidence::suspects::evidence::{EngineEvidence, Evidence, FaultKind};
use crate::decide::evidence::suspects::verdict::Verdict;
use crate::decide::evidence::suspects::weigh::weigh;
use crate::model::{EngineName, Exit, Moment, Strength};

/// The fault's time.
const AT: Duration = Duration::from_secs(100);

fn at(millis: i64) -> Moment {
    let wait = Duration::from_millis(millis.unsigned_abs());
    let fault = Moment::ZERO.after(AT);
    if millis < 0 { fault.before(wait) } else { fault.after(wait) }
}

fn micros(micros: u64) -> Moment {
    Moment::ZERO.after(AT + Duration::from_micros(micros))
}

fn busy(name: &str) -> EngineEvidence {
    EngineEvidence { requests: Some((4.0, 0.0, at(-700))), ..EngineEvidence::of(name.into()) }
}

fn idle(name: &str) -> EngineEvidence {
    EngineEvidence { idle: Some((at(-60_000), at(-700))), ..EngineEvidence::of(name.into()) }
}

fn fault(kind: FaultKind, engines: Vec<EngineEvidence>) -> Evidence {
    Evidence { fault_at: at(0), kind, strangers: false, someone_left: None, earlier: 0, doubtful: false, engines }
}

fn stands_out(evidence: &Evidence) -> Option<String> {
    weigh(evidence).stands_out().map(ToString::to_string)
}

fn strengths(verdict: &Verdict) -> Vec<(EngineName, Strength)> {
    let mut all: Vec<_> = verdict.suspicions.iter().map(|held| (held.engine.clone(), held.strength)).collect();
    all.sort();
    all
}

/// Two or three busy engines; `culprit` is one of them and `blamed` the one that connected first.
fn engines(count: usize, blamed: usize, kind: FaultKind) -> Vec<EngineEvidence> {
    let name = |index: usize| format!("engine-{index}");
    let one = |index| EngineEvidence { blamed: kind == FaultKind::Memory && index == blamed, ..busy(&name(index)) };
    (0..count).map(one).collect()
}

/// A trap as measured: its line comes 14 ms after it, the culprit's error 14 to 24 ms, others' 110 to 440 ms.
fn trap() -> impl Strategy<Value = (Evidence, usize)> {
    (2..4usize, 0..3usize, 0..=10_000u64, prop::collection::vec(96_000..=426_000u64, 3), any::<bool>()).prop_map(
        |(count, culprit, first, others, killed_at_once)| {
            let culprit = culprit % count;
            let mut engines = engines(count, 0, FaultKind::Trap);
            for (index, engine) in engines.iter_mut().enumerate() {
                let after = if index == culprit { first } else { others[index] };
                let heard = index == culprit || !killed_at_once;
                engine.error = heard.then(|| (micros(after), 719));
            }
            (fault(FaultKind::Trap, engines), culprit)
        },
    )
}

/// An illegal address as measured: the log names the client that connected first, and all errors come within 1.5 ms; of
/// those the watchdog hears any part before all are dead.
fn illegal_address() -> impl Strategy<Value = Evidence> {
    let heard = prop::collection::vec(prop::option::of(24_000..25_500u64), 3);
    (2..4usize, 0..3usize, heard, 0..3usize).prop_map(|(count, blamed, heard, in_xid)| {
        let mut engines = engines(count, blamed % count, FaultKind::Memory);
        for (index, engine) in engines.iter_mut().enumerate() {
            engine.error = heard[index].map(|after| (micros(after), 700));
            engine.in_xid = index == in_xid;
        }
        fault(FaultKind::Memory, engines)
    })
}

/// Anything at all, of engines with names of their own.
fn anything() -> impl Strategy<Value = Evidence> {
    let kind = prop_oneof![Just(FaultKind::Trap), Just(FaultKind::Memory), Just(FaultKind::Unknown)];
    let time = || (-600..600i64).prop_map(at);
    let exit = prop_oneof![Just(Exit::Signal(9)), Just(Exit::Signal(11)), Just(Exit::Status(1)), Just(Exit::Unknown)];
    let one = (
        any::<[bool; 5]>(),
        prop::option::of((time(), prop_oneof![Just(700u32), Just(719), Just(806)])),
        prop::option::of((-600..0i64).prop_map(at)),
        prop::option::of((time(), exit)),
        time(),
        0..3u32,
    );
    (kind, any::<bool>(), 0..3u32, prop::collection::vec(one, 0..5)).prop_map(|(kind, strangers, earlier, known)| {
        let engine = |(index, (yes, error, left, exit, started, before)): (usize, (_, _, _, _, _, u32))| {
            let [there, had_no_work, evicted, blamed, in_xid]: [bool; 5] = yes;
            let base = if had_no_work { idle(&format!("e{index}")) } else { busy(&format!("e{index}")) };
            let before = before.min(earlier);
            EngineEvidence { there, error, left, exit, evicted, blamed, in_xid, started, before, ..base }
        };
        let engines = known.into_iter().enumerate().map(engine).collect();
        Evidence { strangers, earlier, ..fault(kind, engines) }
    })
}

/// The cases that failed once are tried again.
fn config() -> ProptestConfig {
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/decide/suspects/tests.proptest-regressions");
    let persistence = FileFailurePersistence::Direct(kept);
    ProptestConfig { failure_persistence: Some(Box::new(persistence)), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn each_trap_makes_its_culprit_suspected_and_convicts_nobody((evidence, culprit) in trap()) {
        let verdict = weigh(&evidence);
        prop_assert_eq!(verdict.stands_out(), Some(&evidence.engines[culprit].engine));
        prop_assert_eq!((verdict.convicted(), verdict.cleared().len()), (None, 0));
    }

    #[test]
    fn what_engines_print_convicts_nobody_whatever_else_is_known(evidence in anything()) {
        let mut silent = evidence.clone();
        silent.engines.iter_mut().for_each(|engine| engine.error = None);
        let (with, without) = (weigh(&evidence), weigh(&silent));
        let convicted: Vec<_> = with.of(Strength::Convicted).collect();
        let same: Vec<_> = without.of(Strength::Convicted).collect();
        prop_assert!(convicted.is_empty() || convicted == same, "{convicted:?} {same:?}");
    }

    #[test]
    fn nobody_is_suspected_by_words_where_words_were_wrong_shortly_before((evidence, _) in trap()) {
        let verdict = weigh(&Evidence { doubtful: true, ..evidence });
        prop_assert!(verdict.suspicions.iter().all(|held| held.strength == Strength::Weak), "{verdict:?}");
    }

    #[test]
    fn no_illegal_address_convicts_anybody_while_two_are_at_work(evidence in illegal_address()) {
        let verdict = weigh(&evidence);
        prop_assert!(verdict.suspicions.iter().all(|held| held.strength == Strength::Weak), "{verdict:?}");
    }

    #[test]
    fn neither_order_nor_names_of_the_engines_change_what_is_thought_of_them(
        (evidence, shuffled) in anything().prop_flat_map(|evidence| {
            let engines = Just(evidence.engines.clone()).prop_shuffle();
            (Just(evidence), engines)
        })
    ) {
        let other = Evidence { engines: shuffled, ..evidence.clone() };
        prop_assert_eq!(strengths(&weigh(&evidence)), strengths(&weigh(&other)));
        prop_assert!(weigh(&evidence).agrees_with(&weigh(&other)));
    }

    #[test]
    fn at_most_one_is_convicted_and_everybody_is_judged_once(evidence in anything()) {
        let verdict = weigh(&evidence);
        prop_assert_eq!(verdict.suspicions.len(), evidence.engines.len());
        prop_assert!(verdict.of(Strength::Convicted).count() <= 1);
        prop_assert!(!verdict.sentence.is_empty());
        let ranks: Vec<Strength> = verdict.suspicions.iter().map(|held| held.strength).collect();
        prop_assert!(ranks.is_sorted());
    }

    #[test]
    fn two_engines_of_which_the_same_is_known_are_thought_of_alike(evidence in anything()) {
        let mut twice = evidence.clone();
        twice.engines.extend(evidence.engines.iter().map(|engine| EngineEvidence {
            engine: format!("twin-of-{}", engine.engine).into(),
            ..engine.clone()
        }));
        prop_assert_eq!(weigh(&twice).of(Strength::Convicted).count(), 0);
    }

    #[test]
    fn the_logs_name_and_the_xids_pid_move_nobody(evidence in anything()) {
        let mut without = evidence.clone();
        for engine in &mut without.engines {
            (engine.blamed, engine.in_xid) = (false, false);
        }
        prop_assert_eq!(strengths(&weigh(&evidence)), strengths(&weigh(&without)));
    }
}

#[test]
fn an_error_that_was_read_late_accuses_nobody() {
    // The core stood still for 200 ms: a bystander's error is read, the culprit's not yet.
    let late = EngineEvidence { error: Some((at(200), 719)), ..busy("a") };
    assert_eq!(stands_out(&fault(FaultKind::Trap, vec![late, busy("b")])), None);
}

#[test]
fn two_errors_at_once_accuse_nobody() {
    let of = |name, millis| EngineEvidence { error: Some((at(millis), 719)), ..busy(name) };
    assert_eq!(stands_out(&fault(FaultKind::Trap, vec![of("a", 5), of("b", 54)])), None);
    assert_eq!(stands_out(&fault(FaultKind::Trap, vec![of("a", 5), of("b", 55)])), Some("a".to_owned()));
}

#[test]
fn a_lead_without_a_word_of_the_server_is_suspicion_and_no_proof() {
    let of = |name, millis| EngineEvidence { error: Some((at(millis), 719)), ..busy(name) };
    let verdict = weigh(&fault(FaultKind::Unknown, vec![of("a", -110), of("b", 0), busy("c")]));
    assert_eq!((verdict.convicted(), verdict.stands_out().unwrap().as_str()), (None, "a"));
}

#[test]
fn who_alone_had_work_is_convicted_by_exclusion() {
    let verdict = weigh(&fault(FaultKind::Memory, vec![idle("a"), busy("b"), idle("c")]));
    assert_eq!((verdict.convicted().unwrap().as_str(), verdict.cleared().len()), ("b", 2));
    assert_eq!(verdict.sentence, "b, by exclusion: every other engine was idle");
    let alone = weigh(&fault(FaultKind::Memory, vec![busy("b")]));
    assert_eq!(alone.sentence, "b, by exclusion: no other engine was on the server");
}

#[test]
fn an_engine_of_unknown_load_is_neither_cleared_nor_convicted() {
    let verdict = weigh(&fault(FaultKind::Memory, vec![EngineEvidence::of("a".into()), busy("b")]));
    assert_eq!((verdict.convicted(), verdict.cleared().len()), (None, 0));
}

#[test]
fn where_everybody_looked_idle_nobody_is_cleared() {
    let verdict = weigh(&fault(FaultKind::Memory, vec![idle("a"), idle("b")]));
    assert_eq!((verdict.convicted(), verdict.cleared().len()), (None, 0));
}

#[test]
fn an_error_of_its_own_says_that_an_engine_was_not_idle() {
    let erred = EngineEvidence { error: Some((at(24), 700)), ..idle("a") };
    let verdict = weigh(&fault(FaultKind::Memory, vec![erred, busy("b")]));
    assert_eq!((verdict.convicted(), verdict.cleared().len()), (None, 0));
}

#[test]
fn a_kill_from_outside_explains_the_fault_and_a_crash_convicts() {
    let gone = |exit| EngineEvidence { left: Some(at(-140)), exit: Some((at(-100), exit)), ..busy("b") };
    let killed = weigh(&fault(FaultKind::Memory, vec![busy("a"), gone(Exit::Signal(9))]));
    assert_eq!((killed.explained.as_ref().unwrap().as_str(), killed.convicted()), ("b", None));
    assert_eq!(strengths(&killed)[1].1, Strength::Convicted);
    let crashed = weigh(&fault(FaultKind::Memory, vec![busy("a"), gone(Exit::Signal(11))]));
    assert_eq!((crashed.explained.as_ref(), crashed.convicted().unwrap().as_str()), (None, "b"));
}

#[test]
fn a_death_explains_no_trap_nor_a_fault_that_comes_too_soon_or_too_late_or_of_an_idle_engine() {
    let gone = |millis, base| EngineEvidence { left: Some(at(millis)), ..base };
    let told = |kind, engine| weigh(&fault(kind, vec![busy("a"), engine, busy("c")])).explained;
    assert_eq!(told(FaultKind::Memory, gone(-140, busy("b"))), Some("b".into()));
    assert_eq!(told(FaultKind::Trap, gone(-140, busy("b"))), None);
    assert_eq!(told(FaultKind::Memory, gone(-10, busy("b"))), None);
    assert_eq!(told(FaultKind::Memory, gone(-501, busy("b"))), None);
    assert_eq!(told(FaultKind::Memory, gone(-140, idle("b"))), None);
}

#[test]
fn who_was_at_work_in_each_of_several_faults_is_suspected() {
    let of = |name, before| EngineEvidence { before, ..busy(name) };
    let mut evidence = fault(FaultKind::Memory, vec![of("a", 1), of("b", 2), of("c", 0)]);
    evidence.earlier = 2;
    let verdict = weigh(&evidence);
    assert_eq!((verdict.convicted(), verdict.stands_out().unwrap().as_str()), (None, "b"));
    let ranked: Vec<&str> = verdict.ranked().into_iter().map(EngineName::as_str).collect();
    assert_eq!(ranked, ["b", "a", "c"]);
}

#[test]
fn a_departure_that_nobody_has_a_name_for_explains_a_fault_shortly_after_it_and_accuses_nobody() {
    let of = |left: i64, kind| {
        let evidence = Evidence { someone_left: Some(at(left)), ..fault(kind, vec![busy("a"), busy("b")]) };
        weigh(&evidence)
    };
    let verdict = of(-140, FaultKind::Memory);
    assert!(verdict.unnamed && verdict.sentence.contains("left 140 ms before"), "{verdict:?}");
    assert_eq!((verdict.convicted(), verdict.of(Strength::Weak).count()), (None, 2));
    for (left, kind) in [(-140, FaultKind::Trap), (-5, FaultKind::Memory), (-900, FaultKind::Memory)] {
        assert!(!of(left, kind).unnamed, "{left} {kind:?}");
    }
}
