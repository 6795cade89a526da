//! What the gate writes: one line on stderr at a time, plain, since others may be at the socket in the watchdog's place.

use super::super::plain::one_line;

/// Says something to whoever started it.
pub(super) fn tell(what: &str) {
    eprintln!("gate: {}", one_line(what));
}

/// Prints the help, where it was asked for.
pub(super) fn help() {
    println!("{}", super::arguments::HELP);
}

/// Says what is wrong with the command line, and prints the help.
pub(super) fn complain(why: &str) {
    tell(why);
    eprintln!("\n{}", super::arguments::HELP);
}
