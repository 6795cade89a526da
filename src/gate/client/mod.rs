//! `mpswarden gate`: stands in front of an engine that others start, waits until the group is ready for it, and becomes
//! that engine. Of std alone, since it is compiled into a small static program too, which goes into any image.

mod arguments;
mod door;
mod health;
mod pass;
mod signals;
mod terminal;
mod units;
pub mod wire;

use std::ffi::OsString;
use std::process::ExitCode;

use arguments::Asked;

/// It did not pass: try again later (EX_TEMPFAIL of sysexits.h).
const NOT_NOW: u8 = 75;
/// The command line is wrong.
const USAGE: u8 = 64;

/// Runs it with these arguments, those after `gate`; where it becomes the engine it does not come back.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    match arguments::parse(arguments) {
        Ok(Asked::Help) => {
            terminal::help();
            ExitCode::SUCCESS
        }
        Ok(Asked::Pass(wish)) => {
            signals::end_by_signals();
            pass::pass_and_become(&wish)
        }
        Ok(Asked::Ready(wish)) => {
            signals::end_by_signals();
            pass::is_ready(&wish)
        }
        Err(why) => {
            terminal::complain(&why);
            ExitCode::from(USAGE)
        }
    }
}
