//! Starts and stops the MPS control daemon. It stays in the foreground, its output goes to a file of ours:
//! a watchdog that dies breaks no pipe.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::{sleep, timeout};

use super::environment;
use super::shared::{Shared, Watch, failed, make_directories, refused};
use crate::files::{self, Links};
use crate::host::child::{self, Launch, Output, StartError};
use crate::host::control::{CommandOutcome, ControlClient, READ_TIMEOUT};
use crate::host::pidfd::Pidfd;
use crate::host::pipe_directory::{self, InTheWay};
use crate::model::{CommandResult, DomainId, GroupLaunch, HeldReason, Observation, Outcome, Owner, ProcessId};

/// Bytes of its log that are reported when it ended at once.
const LAST: u64 = 600;
/// Pause between two questions whether it is up: it takes 20 to 65 ms.
const POLL: Duration = Duration::from_millis(5);
/// Upper bound for a new daemon's first answer.
const TO_ANSWER: Duration = Duration::from_secs(12);
/// Questions in a row that can't be put, and between two of them.
const MOST_UNASKED: u32 = 20;
const UNASKED_PAUSE: Duration = Duration::from_millis(100);
/// Upper bound for the end of the process, after quit's answer and after KILL.
const TO_END: Duration = Duration::from_secs(2);

pub(super) async fn start(shared: &Arc<Shared>, domain: &DomainId) -> Outcome {
    try_start(shared, domain).await.unwrap_or_else(|outcome| outcome)
}

async fn try_start(shared: &Arc<Shared>, domain: &DomainId) -> Result<Outcome, Outcome> {
    let group = shared.launch(domain)?;
    let control = shared.control(domain).ok_or_else(|| failed(format!("no group `{domain}`")))?;
    make_directories(&group).map_err(|error| failed(error.to_string()))?;
    pipe_directory::in_use(control.pipe_directory(), control.binary()).map_err(in_the_way)?;
    let log = group.control.log_directory.join("daemon.log");
    let written = log.metadata().map_or(0, |metadata| metadata.len());
    let child = child::start(&launch_of(shared, &group, &log)).map_err(|error| not_started(domain, &error))?;
    let held = child.pidfd();
    let owner = Owner::Control(domain.clone());
    shared.note(owner.clone(), &held, None);
    shared.running().daemons.insert(domain.clone(), held.clone());
    Watch { child, owner }.spawn(shared);
    let asked = timeout(TO_ANSWER, answers(&control, &held)).await.unwrap_or(Asked::No(None));
    match asked {
        Asked::Answered => {
            shared.observed(Observation::ControlReply { domain: domain.clone(), result: CommandResult::Answered });
            return Ok(Outcome::Started { process: held.id });
        }
        Asked::No(why) => return Err(given_up(domain, &held, why).await),
        Asked::Ended => {}
    }
    let last = last_lines(&log, written);
    Err(failed(format!("the control daemon of group `{domain}` ended at once; its last lines: {last}")))
}

fn launch_of(shared: &Shared, group: &GroupLaunch, log: &Path) -> Launch {
    Launch {
        program: group.control.binary.clone(),
        arguments: vec!["-f".into()],
        environment: environment::of_control(std::env::vars_os().collect(), group, &shared.owner),
        output: Output::Append(PathBuf::from(log)),
        ..Launch::default()
    }
}

/// What came of asking a new daemon.
enum Asked {
    Answered,
    Ended,
    /// The daemon is not up: no answer, or, for this reason, no question.
    No(Option<String>),
}

/// Waits until it answers, or until it is gone. That it can't be asked is waited for too, but not for long.
async fn answers(control: &ControlClient, held: &Pidfd) -> Asked {
    let mut unasked = 0;
    while !held.is_gone() {
        match control.command("get_server_list", READ_TIMEOUT).await {
            CommandOutcome::Answered(_) if !held.is_gone() => return Asked::Answered,
            CommandOutcome::NotAsked(why) => {
                unasked += 1;
                if unasked >= MOST_UNASKED {
                    return Asked::No(Some(why));
                }
                sleep(UNASKED_PAUSE).await;
            }
            CommandOutcome::Answered(_)
            | CommandOutcome::Refused
            | CommandOutcome::Unreachable(_)
            | CommandOutcome::Timeout => unasked = 0,
        }
        sleep(POLL).await;
    }
    Asked::Ended
}

/// A daemon that can't be asked is of no use, and in the next one's way.
async fn given_up(domain: &DomainId, held: &Arc<Pidfd>, why: Option<String>) -> Outcome {
    let _ = held.signal(Signal::SIGKILL);
    let _ = timeout(TO_END, held.gone()).await;
    match why {
        Some(why) => Outcome::NotAsked { why: format!("the control daemon of group `{domain}` can't be asked: {why}") },
        None => failed(format!("the control daemon of group `{domain}` does not answer")),
    }
}

/// What was written last since `from`, in one line; shortened.
fn last_lines(log: &Path, from: u64) -> String {
    let mut text = Vec::new();
    let read = files::open(log, Links::Refused).and_then(|mut file| {
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(from.max(length.saturating_sub(LAST)).min(length)))?;
        file.take(LAST).read_to_end(&mut text)
    });
    match read {
        Ok(_) if !text.is_empty() => String::from_utf8_lossy(&text).trim().replace('\n', " | "),
        _ => format!("none, see {}", log.display()),
    }
}

/// Asks the daemon to quit, then ends what lives of daemon and server, then sweeps.
pub(super) async fn stop(shared: &Shared, domain: &DomainId, grace: Duration, server: Option<ProcessId>) -> Outcome {
    let held = match held(shared, domain, server) {
        Ok(held) => held,
        Err(error) => return refused(&error, format!("can't hold the control daemon of group `{domain}`: {error}")),
    };
    if !grace.is_zero() && held.iter().any(|process| !process.is_gone()) {
        quit(shared, domain, grace, &held).await;
    }
    for process in held.iter().filter(|process| !process.is_gone()) {
        if let Err(error) = process.signal(Signal::SIGKILL) {
            return failed(format!("can't end process {} of group `{domain}`: {error}", process.id));
        }
    }
    if timeout(TO_END, all_gone(&held)).await.is_err() {
        let stuck: Vec<String> = held.iter().filter(|held| !held.is_gone()).map(|held| held.id.to_string()).collect();
        return failed(format!("group `{domain}`: KILL did not end process {}", stuck.join(", ")));
    }
    let Some(control) = shared.control(domain) else { return failed(format!("no group `{domain}`")) };
    match pipe_directory::sweep(control.pipe_directory(), control.binary()) {
        Ok(()) => Outcome::Done,
        Err(why) => in_the_way(why),
    }
}

/// The pipe directory is not free, which no restart mends: it is waited for.
fn in_the_way(why: InTheWay) -> Outcome {
    match why {
        InTheWay::Used(why) => Outcome::Waits { reason: HeldReason::PipeDirectoryOccupied, why },
        InTheWay::NotAsked(why) => Outcome::NotAsked { why },
    }
}

/// A program that is not there, as while a driver is upgraded, is waited for.
fn not_started(domain: &DomainId, error: &StartError) -> Outcome {
    let why = format!("control daemon of group `{domain}`: {error}");
    match error {
        error if error.is_of_the_program() => Outcome::Waits { reason: HeldReason::MpsBinaryMissing, why },
        error if error.is_ours() => Outcome::NotAsked { why },
        _ => failed(why),
    }
}

/// The daemon and the servers that are known of.
fn held(shared: &Shared, domain: &DomainId, server: Option<ProcessId>) -> std::io::Result<Vec<Arc<Pidfd>>> {
    let named = server.map(Pidfd::open_exact).transpose()?.flatten().map(Arc::new);
    let running = shared.running();
    Ok([running.daemons.get(domain).cloned(), running.servers.get(domain).cloned(), named]
        .into_iter()
        .flatten()
        .collect())
}

/// Asks the daemon to quit, with back-off within the grace, then by force, as the daemon does it; then waits for its
/// end.
async fn quit(shared: &Shared, domain: &DomainId, grace: Duration, held: &[Arc<Pidfd>]) {
    let seconds = grace.as_secs_f64().ceil() as u64;
    shared.command(domain, &format!("quit -t {seconds}"), Duration::from_secs(seconds) + TO_END).await;
    let _ = timeout(TO_END, all_gone(held)).await;
}

async fn all_gone(held: &[Arc<Pidfd>]) {
    for process in held {
        process.gone().await;
    }
}
