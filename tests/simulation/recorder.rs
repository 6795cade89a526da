//! A library for tests: an injection and a stand-in CUPTI that write down what they are called for, one line each, to
//! the file that `RECORDER` names.

use std::fs::File;
use std::io::Write;

fn note(line: &str) {
    let path = std::env::var_os("RECORDER").unwrap();
    File::options().create(true).append(true).open(path).unwrap().write_all(format!("{line}\n").as_bytes()).unwrap();
}

#[unsafe(no_mangle)]
pub extern "C" fn InitializeInjection() -> i32 {
    note("injected");
    1
}

#[unsafe(no_mangle)]
pub extern "C" fn simulated_launch() -> i32 {
    note("launched");
    0
}

#[unsafe(no_mangle)]
pub extern "C" fn simulated_kernel(begin: u64, end: u64) {
    note(&format!("{begin} {end}"));
}
