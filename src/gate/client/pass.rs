//! The wait itself: asks until it may pass, says on stderr for what it waits, and becomes the command.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use super::arguments::{Otherwise, PassWish, ReadyWish};
use super::door::{Door, VARIABLE};
use super::terminal::tell;
use super::wire::{Answer, Call, Lack};
use super::{NOT_NOW, health};

/// Pause before a watchdog that does not answer is asked again.
const PAUSE: Duration = Duration::from_millis(250);

/// Upper bound for the watchdog's word on readiness.
const ANSWER: Duration = Duration::from_secs(5);

/// What is lacking, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Lacking {
    what: Lack,
    why: String,
}

/// Waits, and becomes the command; comes back only where it does not.
pub(super) fn pass_and_become(wish: &PassWish) -> ExitCode {
    let door = Door::of_environment();
    match pass(&door, wish) {
        Ok(()) => become_command(&door, wish),
        Err(why) => {
            tell(&format!("it does not start: {why}"));
            ExitCode::from(NOT_NOW)
        }
    }
}

/// The error: why it may not pass.
fn pass(door: &Door, wish: &PassWish) -> Result<(), String> {
    let deadline = Instant::now() + wish.within;
    let mut lacking = None;
    loop {
        if wait(door, wish, deadline, &mut lacking)? == Heard::Pass {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return give_up(door, wish, lacking.as_ref());
        }
        thread::sleep(PAUSE.min(deadline.saturating_duration_since(Instant::now())));
    }
}

/// What a conversation with the watchdog came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    /// The caller may pass.
    Pass,
    /// It is over, and nothing was allowed.
    Nothing,
}

/// One conversation with the watchdog. The error: it may never pass.
fn wait(door: &Door, wish: &PassWish, deadline: Instant, lacking: &mut Option<Lacking>) -> Result<Heard, String> {
    let call = Call::Pass { memory: wish.memory, turn: wish.turn, engine: wish.engine.clone() };
    let mut over = |what, why| {
        note(lacking, Lacking { what, why });
        Ok(Heard::Nothing)
    };
    let mut conversation = match door.ask(&call) {
        Ok(conversation) => conversation,
        Err(why) => return over(Lack::Watchdog, why),
    };
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Heard::Nothing);
        }
        match conversation.listen(left) {
            // It may have gone since the watchdog looked.
            Ok(Some(Answer::Pass)) => match door.has_daemon() {
                Ok(()) => return Ok(Heard::Pass),
                Err(why) => return over(Lack::Daemon, why),
            },
            Ok(Some(Answer::Wait(what, why))) => drop(over(what, why)),
            Ok(Some(Answer::Refused(why))) => return Err(why),
            Ok(None) => {}
            Err(why) => return over(Lack::Watchdog, why),
        }
    }
}

/// Keeps it, and says it where it is another thing that is lacking.
fn note(lacking: &mut Option<Lacking>, now: Lacking) {
    if lacking.as_ref().is_none_or(|before| before.what != now.what) {
        tell(&format!("waiting for {}: {}", now.what, now.why));
    }
    *lacking = Some(now);
}

/// The time is over. It starts all the same where that was asked for and it starts inside MPS: what is lacking can be
/// given up, or nobody is there to say, and the control daemon is.
fn give_up(door: &Door, wish: &PassWish, lacking: Option<&Lacking>) -> Result<(), String> {
    let (what, why) = lacking.map_or((Lack::Watchdog, "it was not asked"), |lacking| (lacking.what, &lacking.why));
    let why = format!("no {what} within {} s: {why}", wish.within.as_secs_f64());
    let bearable = what.can_be_given_up() || what == Lack::Watchdog;
    if wish.otherwise == Otherwise::Fail || !bearable {
        return Err(why);
    }
    door.has_daemon().map_err(|no_daemon| format!("{why}; {no_daemon}"))?;
    tell(&format!("{why}; it starts all the same"));
    Ok(())
}

fn become_command(door: &Door, wish: &PassWish) -> ExitCode {
    let Some((program, arguments)) = wish.command.split_first() else { return ExitCode::from(NOT_NOW) };
    let error = Command::new(program).args(arguments).env(VARIABLE, &door.directory).exec();
    tell(&format!("{} can't be run: {error}", program.display()));
    ExitCode::from(if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 })
}

/// Ends with 0 once the engine answers and the group is well, within the time that it has.
pub(super) fn is_ready(wish: &ReadyWish) -> ExitCode {
    let door = Door::of_environment();
    let deadline = Instant::now() + wish.within;
    loop {
        match ready(&door, wish) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(why) if Instant::now() >= deadline => {
                tell(&format!("not ready: {why}"));
                return ExitCode::from(NOT_NOW);
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

fn ready(door: &Door, wish: &ReadyWish) -> Result<(), String> {
    wish.url.as_deref().map_or(Ok(()), health::ask)?;
    let answer = door.ask(&Call::Ready).and_then(|mut conversation| conversation.listen(ANSWER));
    match answer {
        Ok(Some(Answer::Pass)) => Ok(()),
        Ok(Some(Answer::Wait(what, why))) => Err(format!("{what}: {why}")),
        Ok(Some(Answer::Refused(why))) => Err(why),
        // A watchdog that is started again takes no engine out of service meanwhile.
        Ok(None) | Err(_) if wish.otherwise == Otherwise::Start => door.has_daemon(),
        Ok(None) => Err("the watchdog says nothing".to_owned()),
        Err(why) => Err(why),
    }
}
