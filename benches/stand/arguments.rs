//! What a benchmark was asked for on its command line.
#![allow(dead_code, reason = "each benchmark uses a part")]

use std::process::ExitCode;

/// Whether it is to run: `cargo test` starts benchmarks too, and wants to know only that they start.
pub fn wants_a_run() -> bool {
    has("--bench")
}

/// The number after `name`, else the usual one, or with `--short` the least that shows that the benchmark still runs.
pub fn number(name: &str, usual: u64, short: u64) -> u64 {
    let value = std::env::args().skip_while(|argument| argument != name).nth(1);
    let otherwise = if has("--short") { short } else { usual };
    value.map_or(otherwise, |value| value.parse().unwrap_or_else(|_| panic!("{name} takes a number")))
}

/// The exit code: status 1 where a promise is not kept. With `--short` too little is measured to judge that.
pub fn verdict(kept: bool) -> ExitCode {
    match (kept, has("--short")) {
        (true, _) => ExitCode::SUCCESS,
        (false, true) => {
            println!("a promise was not kept in the short form, which judges none");
            ExitCode::SUCCESS
        }
        (false, false) => ExitCode::FAILURE,
    }
}

fn has(word: &str) -> bool {
    std::env::args().any(|argument| argument == word)
}
