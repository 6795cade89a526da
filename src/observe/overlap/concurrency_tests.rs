//! Windows counted by hand, and against a count of every single nanosecond.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const WINDOW: Span = (100, 200);

fn client(engine: &str, covered: Span, times: &[Span]) -> Recorded {
    let kernels = Kernels { window: 1, covered, dropped: 1, times: times.to_vec() };
    Recorded { engine: engine.into(), kernels }
}

fn nanos(durations: &[Duration]) -> Vec<u128> {
    durations.iter().map(Duration::as_nanos).collect()
}

fn busy(seen: &OverlapWindow) -> Vec<(&str, u128)> {
    seen.busy.iter().map(|(engine, time)| (engine.as_str(), time.as_nanos())).collect()
}

#[test]
fn two_clients_that_overlap_are_counted_alone_and_together() {
    let clients = [client("a", WINDOW, &[(110, 130), (150, 160)]), client("b", WINDOW, &[(120, 155)])];
    let seen = measure(WINDOW, &clients).unwrap();
    assert_eq!(seen.sampled, Duration::from_nanos(100));
    assert_eq!(nanos(&seen.by_clients), [50, 35, 15]);
    assert_eq!(busy(&seen), [("a", 30), ("b", 35)]);
    assert_eq!((seen.kernels, seen.dropped), (3, 2));
}

#[test]
fn kernels_of_one_client_at_once_count_once() {
    let seen = measure(WINDOW, &[client("a", WINDOW, &[(110, 150), (120, 130), (150, 160)])]).unwrap();
    assert_eq!((nanos(&seen.by_clients), busy(&seen), seen.kernels), (vec![50, 50], vec![("a", 50)], 3));
}

#[test]
fn two_clients_of_one_engine_are_two_clients_and_one_engine() {
    let clients = [client("a", WINDOW, &[(110, 130)]), client("a", WINDOW, &[(120, 140)])];
    let seen = measure(WINDOW, &clients).unwrap();
    assert_eq!((nanos(&seen.by_clients), busy(&seen)), (vec![70, 20, 10], vec![("a", 30)]));
}

#[test]
fn an_idle_client_is_a_client_and_an_engine_without_one_is_not_there() {
    let seen = measure(WINDOW, &[client("a", WINDOW, &[])]).unwrap();
    assert_eq!((nanos(&seen.by_clients), busy(&seen)), (vec![100, 0], vec![("a", 0)]));
    assert_eq!(nanos(&measure(WINDOW, &[]).unwrap().by_clients), [100]);
}

#[test]
fn only_the_time_that_all_cover_counts() {
    let clients = [client("a", (90, 180), &[(0, 120), (170, 500)]), client("b", (110, 300), &[(115, 125)])];
    let seen = measure(WINDOW, &clients).unwrap();
    assert_eq!((seen.sampled.as_nanos(), nanos(&seen.by_clients)), (70, vec![45, 20, 5]));
    assert_eq!((busy(&seen), seen.kernels), (vec![("a", 20), ("b", 10)], 3));
}

#[test]
fn a_client_that_covers_nothing_leaves_no_window() {
    for covered in [(150, 150), (160, 150), (0, 100), (200, 900), (u64::MAX, 0)] {
        let clients = [client("a", WINDOW, &[(110, 120)]), client("b", covered, &[])];
        assert_eq!(measure(WINDOW, &clients), None, "{covered:?}");
    }
}

#[test]
fn times_from_elsewhere_and_of_no_length_are_nothing() {
    let times = [(0, 100), (200, 300), (150, 150), (0, 0), (u64::MAX, u64::MAX)];
    let seen = measure(WINDOW, &[client("a", WINDOW, &times)]).unwrap();
    assert_eq!((nanos(&seen.by_clients), seen.kernels), (vec![100, 0], 0));
}

#[test]
fn kernels_back_to_back_of_two_in_turn_never_overlap() {
    let clients = [client("a", WINDOW, &[(100, 120), (140, 160)]), client("b", WINDOW, &[(120, 140), (160, 200)])];
    assert_eq!(nanos(&measure(WINDOW, &clients).unwrap().by_clients), [0, 100, 0]);
}

/// The same by looking at each nanosecond.
fn counted(window: Span, clients: &[Recorded]) -> Option<(Vec<u128>, BTreeMap<String, u128>)> {
    let covers = |at: u64, (from, to): Span| from <= at && at < to;
    let mut by_clients = vec![0; clients.len() + 1];
    let mut busy: BTreeMap<String, u128> =
        clients.iter().map(|client| (client.engine.as_str().to_owned(), 0)).collect();
    let common = |at: &u64| clients.iter().all(|client| covers(*at, client.kernels.covered));
    let moments: Vec<u64> = (window.0..window.1).filter(common).collect();
    for at in &moments {
        let on = |client: &&Recorded| client.kernels.times.iter().any(|span| covers(*at, *span));
        let on: Vec<&Recorded> = clients.iter().filter(on).collect();
        by_clients[on.len()] += 1;
        let engines: std::collections::BTreeSet<&str> = on.iter().map(|client| client.engine.as_str()).collect();
        engines.iter().for_each(|engine| *busy.get_mut(*engine).unwrap() += 1);
    }
    (!moments.is_empty()).then_some((by_clients, busy))
}

fn clients() -> impl Strategy<Value = Vec<Recorded>> {
    let span = || (80u64..220, 0u64..30).prop_map(|(from, length)| (from, from + length));
    let covered = (80u64..140, 160u64..220);
    let one = ("[abc]", covered, vec(span(), 0..12)).prop_map(|(name, covered, times)| client(&name, covered, &times));
    vec(one, 0..5)
}

proptest! {
    #[test]
    fn it_is_what_a_count_of_every_nanosecond_says(clients in clients()) {
        let seen = measure(WINDOW, &clients);
        let expected = counted(WINDOW, &clients);
        let got = seen.as_ref().map(|seen| {
            let busy = seen.busy.iter().map(|(engine, time)| (engine.as_str().to_owned(), time.as_nanos())).collect();
            (nanos(&seen.by_clients), busy)
        });
        prop_assert_eq!(got, expected);
        let Some(seen) = seen else { return Ok(()) };
        prop_assert_eq!(seen.by_clients.iter().sum::<Duration>(), seen.sampled);
        prop_assert!(seen.busy.iter().all(|(_, busy)| *busy <= seen.sampled));
        if seen.busy.len() == clients.len() {
            let depths = seen.by_clients.iter().zip(0..).map(|(time, clients)| *time * clients).sum::<Duration>();
            prop_assert_eq!(depths, seen.busy.iter().map(|(_, busy)| *busy).sum::<Duration>());
        }
    }
}
