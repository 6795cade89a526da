//! Connections as looks see them, one after the other.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;

/// A connection: bytes received and acknowledged, milliseconds since it received and since it sent.
fn open(cookie: u64, received: u64, acknowledged: u64, since_received: u64, since_sent: u64) -> Socket {
    Socket {
        listens: false,
        local: address("127.0.0.1:8000"),
        remote: SocketAddr::new("10.0.0.9".parse().unwrap(), 40_000 + cookie as u16),
        cookie,
        inode: 0,
        unacknowledged: 0,
        acknowledged,
        packets: (acknowledged / 200) as u32,
        received,
        since_sent: Duration::from_millis(since_sent),
        since_received: Duration::from_millis(since_received),
    }
}

fn listener(at: &str) -> Socket {
    Socket { listens: true, local: address(at), remote: address("0.0.0.0:0"), ..open(0, 0, 0, 0, 0) }
}

fn at(local: &str, socket: Socket) -> Socket {
    Socket { local: address(local), ..socket }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Traffic of a single look.
fn once(sockets: &[Socket]) -> Traffic {
    Looks::default().look(0, sockets)
}

/// Looks at one engine.
#[derive(Default)]
struct Looks(Reckoner);

impl Looks {
    /// Milliseconds after the first.
    fn look(&mut self, at: u64, sockets: &[Socket]) -> Traffic {
        self.0.reckon(sockets, None, &[], second(100).after(Duration::from_millis(at)))
    }

    /// One that saw no connection, which makes those of the next one new.
    fn begun() -> Looks {
        let mut looks = Looks::default();
        looks.look(0, &[]);
        looks
    }
}

fn second(second: u64) -> Moment {
    Moment::ZERO.after(Duration::from_secs(second))
}

/// `answered` after each look at one connection: when it is, bytes received and acknowledged, milliseconds since either.
fn answered(story: &[(u64, u64, u64, u64, u64)]) -> Vec<u64> {
    let mut looks = Looks::begun();
    let all = story.iter();
    all.map(|(at, received, acked, since_in, since_out)| {
        looks.look(*at, &[open(1, *received, *acked, *since_in, *since_out)]).answered
    })
    .collect()
}

#[test]
fn a_port_with_nobody_says_nothing_and_one_with_a_listener_listens() {
    assert_eq!(once(&[]), Traffic::default());
    assert_eq!(once(&[listener("0.0.0.0:8000")]), Traffic { listening: true, ..Traffic::default() });
}

#[test]
fn a_client_waits_from_its_last_byte_to_the_first_of_its_answer() {
    let waits = |socket| (once(&[socket]).unanswered, once(&[socket]).longest.as_millis());
    assert_eq!(waits(open(1, 0, 0, 900, 900)), (0, 0), "it asked nothing yet");
    assert_eq!(waits(open(1, 18, 0, 900, 904)), (1, 900));
    assert_eq!(waits(open(1, 18, 0, 900, 900)), (1, 900), "it asked in the tick in which it connected");
    assert_eq!(waits(open(1, 18, 120, 900, 900)), (0, 0), "it was answered within a tick");
    assert_eq!(waits(Socket { unacknowledged: 9, ..open(1, 18, 0, 0, 0) }), (0, 0), "its answer is on its way");
    assert_eq!(waits(open(1, 18, 120, 900, 20)), (0, 0));
    assert_eq!(waits(open(1, 36, 120, 700, 3000)), (1, 700), "it asks again");
    let two = once(&[open(1, 18, 0, 70_000, 70_004), open(2, 18, 0, 5, 9)]);
    assert_eq!((two.open, two.unanswered, two.longest), (2, 2, Duration::from_secs(70)));
}

#[test]
fn an_answer_that_does_not_go_on_is_stalled_unless_its_client_does_not_read() {
    let stalled = |socket| once(&[socket]).stalled;
    assert_eq!(stalled(open(1, 18, 500, 30_000, 10_004)), 1);
    assert_eq!(stalled(open(1, 18, 500, 10_004, 10_004)), 1);
    assert_eq!(stalled(open(1, 18, 500, 30_000, 10_000)), 0, "not long enough");
    assert_eq!(stalled(open(1, 18, 500, 20_000, 30_000)), 0, "it waits: that is another thing");
    assert_eq!(stalled(open(1, 0, 0, 30_000, 30_000)), 0, "nobody asked for anything");
    assert_eq!(stalled(Socket { unacknowledged: 1, ..open(1, 18, 500, 30_000, 20_000) }), 0);
}

#[test]
fn the_watchdog_is_no_client() {
    let sockets = [open(1, 18, 0, 50, 54), open(2, 18, 0, 60, 64)];
    let traffic = Reckoner::default().reckon(&sockets, None, &[40_002, 40_007], second(1));
    assert_eq!((traffic.open, traffic.unanswered, traffic.longest.as_millis()), (1, 1, 50));
}

#[test]
fn quick_answers_of_a_front_end_never_count() {
    // A scraper with a kept connection: asked and answered within 20 ms, every 15 s.
    let scraper = [(100, 200, 9_000, 80, 60), (15_100, 400, 18_000, 80, 60), (30_100, 600, 27_000, 80, 60)];
    assert_eq!(answered(&scraper), [0, 0, 0]);
    let between = [(100, 200, 9_000, 80, 60), (5_000, 200, 9_000, 4_980, 4_960), (15_100, 400, 18_000, 80, 60)];
    assert_eq!(answered(&between), [0, 0, 0]);
    // Quick answers at every look, and one in the very middle of a look.
    assert_eq!(answered(&[(250, 100, 100, 3, 1), (500, 200, 200, 3, 1), (750, 300, 300, 3, 1)]), [0, 0, 0]);
    assert_eq!(answered(&[(250, 200, 100, 1, 90), (500, 200, 200, 251, 250)]), [0, 0]);
}

#[test]
fn an_acknowledgement_that_comes_late_makes_no_late_answer() {
    let mut looks = Looks::begun();
    let quick = Socket { unacknowledged: 9_000, ..open(1, 200, 0, 30, 10) };
    looks.look(1_000, &[quick]);
    assert_eq!(looks.look(1_250, &[open(1, 200, 9_000, 280, 260)]).answered, 0);
}

#[test]
fn a_late_answer_counts_also_on_a_connection_that_had_quick_ones() {
    let story = [
        (1_000, 100, 900, 3, 1),
        (5_000, 200, 900, 3_000, 4_000),
        (9_000, 200, 1_500, 7_000, 1_000),
        (12_000, 200, 1_500, 10_000, 4_000),
    ];
    assert_eq!(answered(&story), [0, 0, 600, 600]);
}

#[test]
fn a_late_answer_counts_whose_connection_is_newer_than_the_last_look_and_not_what_came_before_all_looks() {
    assert_eq!(answered(&[(4_000, 100, 700, 3_000, 1_000)]), [700]);
    assert_eq!(once(&[open(1, 100, 700, 3_000, 1_000)]).answered, 0);
}

#[test]
fn a_stream_counts_from_its_second_look_on() {
    let stream = [(250, 100, 600, 90, 10), (500, 100, 1_200, 340, 10), (750, 100, 1_800, 590, 10)];
    assert_eq!(answered(&stream), [0, 600, 1_200]);
    // A token in three seconds, after a head that came at once.
    let slow = [(1_000, 100, 140, 990, 980), (4_000, 100, 380, 3_990, 20), (7_000, 100, 620, 6_990, 20)];
    assert_eq!(answered(&slow), [0, 240, 480]);
    // Another request in between: two quick answers are no stream.
    assert_eq!(answered(&[(250, 100, 600, 90, 10), (500, 200, 1_200, 40, 10)]), [0, 0]);
}

#[test]
fn a_front_ends_signs_of_life_on_a_silent_stream_are_no_answer_and_let_it_stall() {
    // (bytes of a sign, milliseconds from one to the next): llama.cpp, vLLM, the same with TLS, sse-starlette.
    for (bytes, every) in [(8, 1_000), (20, 1_000), (42, 1_000), (51, 15_000), (73, 15_000)] {
        for step in [250, 1_000, 5_000, 10_000] {
            let mut looks = Looks::begun();
            for since in (1..).map(|look| look * step).take_while(|since| *since <= 45_000) {
                let signs = since / every;
                let sent_at = if signs == 0 { 10 } else { signs * every };
                let socket = open(1, 300, 140 + bytes * signs, since, since - sent_at);
                let traffic = looks.look(since, &[Socket { packets: signs as u32 + 1, ..socket }]);
                let case = format!("{bytes} bytes each {every} ms, seen each {step} ms, after {since} ms");
                assert_eq!((traffic.answered, traffic.unanswered), (0, 0), "{case}");
                assert!(traffic.stalled == 0 || since > 10_000, "{case}");
                assert!(traffic.stalled == 1 || since <= step + 10_000, "{case}");
            }
        }
    }
}

#[test]
fn an_answer_after_signs_of_life_counts() {
    let mut looks = Looks::begun();
    for second in 1..30 {
        looks.look(
            second * 1_000,
            &[Socket { packets: second as u32, ..open(1, 300, 140 + 8 * second, second * 1_000, 5) }],
        );
    }
    let tokens = |tokens: u64| Socket { packets: 30 + tokens as u32, ..open(1, 300, 380 + 240 * tokens, 30_000, 5) };
    assert_eq!(looks.look(30_000, &[tokens(0)]).answered, 0);
    assert!(looks.look(31_000, &[tokens(30)]).answered > 7_000);
    assert_eq!(looks.look(31_500, &[tokens(30)]).stalled, 0);
}

#[test]
fn what_was_answered_never_shrinks() {
    let mut looks = Looks::begun();
    assert_eq!(looks.look(4_000, &[open(1, 100, 700, 3_000, 1_000)]).answered, 700);
    assert_eq!(looks.look(5_000, &[]).answered, 700);
    // A cookie that another connection has now.
    assert_eq!(looks.look(6_000, &[open(1, 10, 0, 5, 9)]).answered, 700);
    looks.0.begin();
    assert_eq!(looks.look(9_000, &[open(1, 100, 900, 3_000, 1_000)]).answered, 700);
}

#[test]
fn connections_beyond_the_bound_are_counted_and_not_followed() {
    let late = |acknowledged| (0..5_000).map(|one| open(one, 9, acknowledged, 3_000, 1_000)).collect::<Vec<_>>();
    let mut looks = Looks::default();
    looks.look(0, &late(100));
    let traffic = looks.look(1_000, &late(300));
    assert_eq!((traffic.open, traffic.answered, looks.0.seen.len()), (5_000, 200 * 4096, 4096));
}

#[test]
fn an_engine_has_the_connections_of_its_own_listener() {
    let shared = [
        listener("127.0.0.2:8000"),
        listener("0.0.0.0:8000"),
        at("127.0.0.2:8000", open(1, 9, 0, 5, 9)),
        at("10.0.0.1:8000", open(2, 9, 0, 5, 9)),
        at("127.0.0.1:8000", open(3, 9, 0, 5, 9)),
    ];
    let seen = |host: Option<&str>| {
        let traffic = Reckoner::default().reckon(&shared, host.map(|host| host.parse().unwrap()), &[], second(1));
        (traffic.listening, traffic.open)
    };
    assert_eq!(seen(Some("127.0.0.2")), (true, 1));
    assert_eq!(seen(Some("127.0.0.1")), (true, 2), "who listens at any address");
    assert_eq!(seen(Some("0.0.0.0")), (true, 2));
    assert_eq!(seen(None), (true, 3), "localhost");
    let other = Reckoner::default().reckon(&shared[..1], Some("127.0.0.3".parse().unwrap()), &[], second(1));
    assert!(!other.listening, "another engine's listener");
}

proptest! {
    #[test]
    fn whatever_is_seen_the_figures_fit_together(looks_at in prop::collection::vec(prop::collection::vec(
        (0u64..6, 0u64..400, 0u64..4_000, 0u64..20_000, 0u64..20_000), 0..6), 1..8)) {
        let mut looks = Looks::default();
        let mut before = 0;
        for (place, look) in looks_at.iter().enumerate() {
            let sockets: Vec<Socket> = look.iter().map(|(cookie, a, b, c, d)| open(*cookie, *a, *b, *c, *d)).collect();
            let traffic = looks.look(place as u64 * 700, &sockets);
            prop_assert!(traffic.unanswered + traffic.stalled <= traffic.open);
            prop_assert!(traffic.unanswered > 0 || traffic.longest.is_zero());
            prop_assert!(traffic.answered >= before);
            before = traffic.answered;
        }
    }
}
