//! Commands that are called for events, and how they end.

use super::words::words;

words! {
    /// What a command is called for, by its key in the configuration.
    Hook {
        /// A group is held.
        OnHeld = "on_held",
        /// A fault began.
        OnFault = "on_fault",
        /// A restart ended serving, or partly.
        OnRecovered = "on_recovered",
        /// An engine is not started any more.
        OnQuarantined = "on_quarantined",
    }
}

words! {
    /// How a command ended.
    HookResult {
        /// It ended with status 0.
        Ok = "ok",
        /// It ended with another status or by a signal, or did not start.
        Failed = "failed",
        /// Not in time: it was killed.
        Timeout = "timeout",
        /// It was not started: too many waited.
        Dropped = "dropped",
    }
}

impl Hook {
    /// The event that it is called for, in one word.
    pub fn event(self) -> &'static str {
        self.as_str().trim_start_matches("on_")
    }
}
