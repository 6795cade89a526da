//! What a benchmark was asked for on its command line.
#![allow(dead_code, reason = "each benchmark uses a part")]

/// Whether it is to run: `cargo test` starts benchmarks too, and wants to know only that they start.
pub fn wants_a_run() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

/// The number after `name`, else the usual one.
pub fn number(name: &str, usual: u64) -> u64 {
    let value = std::env::args().skip_while(|argument| argument != name).nth(1);
    value.map_or(usual, |value| value.parse().unwrap_or_else(|_| panic!("{name} takes a number")))
}
