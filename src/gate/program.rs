//! `mpswarden-gate`: the client of the gate as a small static program of its own, for images in which nothing else of
//! mpswarden is.

// The watchdog's half of what is said is not used here.
#[allow(dead_code)]
#[path = "client/mod.rs"]
mod client;

#[allow(dead_code)]
#[path = "../text/plain.rs"]
mod plain;

fn main() -> std::process::ExitCode {
    client::main(std::env::args_os().skip(1))
}
