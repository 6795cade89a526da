//! Ends processes and proves them gone. `domain` ends all engines of a domain and then its control daemon, for a
//! restart or a stop; `engine` ends one engine while the others of its domain serve on; `obstacle` says what may stand
//! in the way of either. Nothing else ends a process.
//!
//! ```text
//! for a restart:  Kill -> Gone -> Control           at once:  Kill -> Gone -> Control
//!                  ^       |         |                         ^       |
//!                  +-- Stuck <-------+                         +-- Starts
//!
//! in order:       Quiet -> Stop (each engine, the last one first) -> Control
//!
//! one engine:     Look -> Terminate -> Stop -> Aftershock
//!                                      ^  |
//!                                      Stuck
//! ``` What to do about an obstacle is the owner's: a restart is held and tries again, an engine stays stopped while
//! its siblings serve, a stop goes on and leaves behind what it could not prove gone.
//!
//! All bounds and pauses stand here. Where two differ the reason stands beside them.

pub(crate) mod domain;
pub(crate) mod engine;
pub(crate) mod obstacle;

use std::time::Duration;

pub(crate) use crate::decide::domain::teardown::domain::{Manner, Target, Teardown, TeardownProgress, kill_strays};
pub(crate) use crate::decide::domain::teardown::engine::{
    Beside, EndingProgress, advance_ending, ending_deadline, ending_finished,
};
pub(crate) use crate::decide::domain::teardown::obstacle::Obstacle;

/// Upper bound for sending KILL to all processes of a domain.
const KILL_BOUND: Duration = Duration::from_secs(5);
/// The same, where those who run some of them are asked to end them.
const KILL_BOUND_OF_OTHERS: Duration = Duration::from_secs(20);
/// Upper bound for all of them to be gone before a restart: one with 16 GiB resident takes a second. Nothing can start
/// earlier anyway, and what comes after it is a held group.
const GONE_BOUND: Duration = Duration::from_secs(30);
/// The same bound for a stop: a person waits for its end, and what is left is reported and left behind.
const GONE_BOUND_OF_A_STOP: Duration = Duration::from_secs(5);
/// Upper bound for an engine to be gone after its KILL, which follows its own time to stop: a process may die slowly.
const DEATH_BOUND: Duration = Duration::from_secs(15);

/// Pause before what did not end is ended again, where nothing serves meanwhile or nothing could be tried.
const STUCK_PAUSE: Duration = Duration::from_secs(1);
/// The same for one engine whose process does not die: its siblings serve on, so nothing is urgent.
const STUCK_PAUSE_BESIDE_OTHERS: Duration = Duration::from_secs(5);

/// Time between `quit -t` and the KILL of the control daemon.
const QUIT_GRACE: Duration = Duration::from_secs(2);
/// Upper bound for the control daemon and its server to be gone.
const STOP_CONTROL_BOUND: Duration = Duration::from_secs(15);

/// Upper bound for a fresh look at an engine's processes; after it the last look must do.
const LOOK_BOUND: Duration = Duration::from_secs(2);
/// Upper bound for each `terminate_client`.
const TERMINATE_BOUND: Duration = Duration::from_millis(2500);
/// Time between TERM and KILL of an engine that hangs, or of which only the main process is left, with its port closed:
/// it can't react, and its requests are lost.
const HUNG_GRACE: Duration = Duration::from_secs(2);
