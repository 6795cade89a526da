//! `mpswarden demo` in a build without the simulation: whatever its arguments are, it is refused. Touches nothing.

use std::ffi::OsString;

use clap::Args;

/// Arguments of `demo`; none of them counts.
#[derive(Clone, Debug, PartialEq, Args)]
#[command(disable_help_flag = true)]
pub struct DemoOptions {
    /// All that follows.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub ignored: Vec<OsString>,
}
