//! The steps of a whole-group recovery, and how a test gets into the middle of one.

use mpswarden::sim::Injection;

use crate::support::scene::Scene;
use crate::support::watchdog::Watchdog;

/// A step that something else can happen in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Kill,
    Gone,
    Memory,
    Backoff,
    Active,
    Ready,
}

impl Step {
    /// A group whose recovery is in this step. Memory and back-off last until the test goes on; the others
    /// pass by themselves, so what happens next may hit the step after.
    pub fn reached(self) -> (Scene, Watchdog) {
        let mut scene = Scene::set();
        if self == Step::Backoff {
            scene.recovery("backoff", toml::toml! { first = "5m" });
        }
        let watchdog = scene.serving();
        let mark = watchdog.mark();
        if self == Step::Memory {
            scene.hang_nvml(true);
        }
        scene.inject(Injection::IllegalAddress);
        let (event, part) = self.begins_with();
        watchdog.await_line_after(mark, event, |line| line.is(event, part));
        (scene, watchdog)
    }

    /// The line of the log with which it begins.
    fn begins_with(self) -> (&'static str, &'static str) {
        match self {
            Step::Kill => ("gpu_fault", ""),
            Step::Gone => ("step", "kill took"),
            Step::Memory => ("step", "gone took"),
            Step::Backoff => ("step", "memory took"),
            Step::Active => ("step", "backoff took"),
            Step::Ready => ("started", "qwen-a"),
        }
    }
}
