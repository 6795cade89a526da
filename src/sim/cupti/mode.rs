//! How the stand-in behaves: words in the environment, none for a CUPTI and a driver that do what they are asked.

/// See each word.
pub struct Mode {
    /// `unknown-version`: of a CUPTI that is not made yet.
    pub unknown: bool,
    /// `subscriber-refused`: another profiler was faster. `subscriber-refused-once`: and goes away.
    pub refusals: u32,
    /// `hanging-subscribe`: a driver that does not answer.
    pub hangs: bool,
    /// `no-context`: the process has none.
    pub idle: bool,
    /// `foreign-context`: kernels are launched in another context than the primary one.
    pub foreign: bool,
    /// `capturing`: what is launched goes into a graph.
    pub captures: bool,
    /// `no-events`: none can be recorded in the engine's stream.
    pub refuses_events: bool,
    /// `deaf`: a call to the driver is not called back.
    pub deaf: bool,
}

impl Mode {
    pub fn of_environment() -> Mode {
        let words = std::env::var("MPSWARDEN_SIM_CUPTI").unwrap_or_default();
        let says = |word: &str| words.split_whitespace().any(|said| said == word);
        Mode {
            unknown: says("unknown-version"),
            refusals: if says("subscriber-refused") { u32::MAX } else { u32::from(says("subscriber-refused-once")) },
            hangs: says("hanging-subscribe"),
            idle: says("no-context"),
            foreign: says("foreign-context"),
            captures: says("capturing"),
            refuses_events: says("no-events"),
            deaf: says("deaf"),
        }
    }
}
