//! The gate at work, on a thread and a runtime of its own: a slow or mad caller never delays the core.

use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::client::wire::{Answer, Call, HEARTBEAT, LONGEST_LINE, Lack, SOCKET};
use super::conditions;
use super::turns::{Origin, Ticket, Turns};
use crate::control::{self, BindError, SocketAtWork};
use crate::host::clock;
use crate::host::owners::Owners;
use crate::host::peer::SocketPeer;
use crate::host::pidfd::Pidfd;
use crate::model::{GroupName, Status};
use crate::text::plain::one_line;

/// Most callers at once; further ones are asked to come again.
const MOST_CALLERS: usize = 64;
/// Upper bound for a caller's line to come, and for one of ours to be taken.
const BOUND: Duration = Duration::from_secs(5);
/// Pause between two looks at a turn, which ends without a change of the status.
const LOOK: Duration = Duration::from_millis(200);
/// Every user's engines come here; what may be done here is to wait.
const MODE: u32 = 0o666;

/// How engines start in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Starts {
    /// One after the other.
    InTurn,
    /// All at once.
    Together,
}

/// Opens the gate of a group in a pipe directory that is there; it answers from the latest status. `owners` hear what
/// engines call themselves. The errors: the socket can't be made there, or no thread can be had.
pub fn open(
    group: GroupName,
    directory: &Path,
    starts: Starts,
    statuses: watch::Receiver<Arc<Status>>,
    owners: Owners,
) -> Result<SocketAtWork, BindError> {
    let path = directory.join(SOCKET);
    let listening = control::bind_as(&path, MODE)?;
    let opened = control::accept_on_a_thread(listening, "gate", format!("the gate of {group}"), move || {
        let turns = Mutex::new(Turns::new(Pidfd::is_gone));
        let room = Arc::new(Semaphore::new(MOST_CALLERS));
        let shared = Rc::new(Shared { group, starts, statuses, owners, turns, room });
        async move |stream| drop(spawn_local(converse(stream, shared.clone())))
    });
    opened.map_err(|source| BindError::Io { path, source })
}

/// What all callers of a gate share.
struct Shared {
    group: GroupName,
    starts: Starts,
    statuses: watch::Receiver<Arc<Status>>,
    /// Who finds engines that nobody configured calls them as they call themselves here.
    owners: Owners,
    turns: Mutex<Turns<Pidfd>>,
    room: Arc<Semaphore>,
}

impl Shared {
    fn turns(&self) -> MutexGuard<'_, Turns<Pidfd>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lacking(&self, memory: Option<u64>) -> Option<(Lack, String)> {
        conditions::lacking(&self.statuses.borrow(), &self.group, memory, clock::now())
    }
}

async fn converse(mut stream: UnixStream, shared: Rc<Shared>) {
    let Ok(_place) = Arc::clone(&shared.room).try_acquire_owned() else {
        let busy = format!("{MOST_CALLERS} others wait here already");
        return drop(say(&mut stream, &Answer::Wait(Lack::Turn, busy)).await);
    };
    let peer = match SocketPeer::of(&stream) {
        Ok(peer) => peer,
        Err(unknown) => return drop(say(&mut stream, &Answer::Refused(unknown.to_string())).await),
    };
    let call = call(&mut stream).await;
    // A caller that goes away, or takes nothing, is its own affair.
    let _ = match call {
        Ok(Call::Ready) => ready(&mut stream, &peer, &shared).await,
        Ok(Call::Pass { memory, turn, engine }) => {
            Caller { stream, shared: &shared }.pass(peer, memory, turn, engine).await
        }
        Err(why) => say(&mut stream, &Answer::Refused(why)).await,
    };
}

/// One whole line within the bound.
async fn call(stream: &mut UnixStream) -> Result<Call, String> {
    let mut line = String::new();
    let mut bounded = BufReader::new(stream).take(LONGEST_LINE as u64);
    match timeout(BOUND, bounded.read_line(&mut line)).await {
        Ok(Ok(_)) if line.ends_with('\n') => Call::read(&line),
        Ok(Ok(_)) => Err(format!("no line of at most {LONGEST_LINE} bytes")),
        Ok(Err(error)) => Err(format!("your line can't be read: {error}")),
        Err(_) => Err(format!("no line within {} s", BOUND.as_secs())),
    }
}

async fn say(stream: &mut UnixStream, answer: &Answer) -> io::Result<()> {
    let line = format!("{answer}\n");
    timeout(BOUND, stream.write_all(line.as_bytes())).await.map_err(io::Error::from)?
}

/// Whether its engine may count as ready: the group is well. Its turn ends then.
async fn ready(stream: &mut UnixStream, peer: &SocketPeer, shared: &Shared) -> io::Result<()> {
    let answer = match shared.lacking(None) {
        Some((lack, why)) => Answer::Wait(lack, why),
        None => {
            shared.turns().ready(&origin(peer));
            Answer::Pass
        }
    };
    say(stream, &answer).await
}

fn origin(peer: &SocketPeer) -> Origin {
    Origin { user: peer.user, cgroup: peer.cgroup.clone() }
}

/// Leaves the line when its caller goes away.
struct Place<'a>(&'a Shared, Ticket);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.turns().leave(self.1);
    }
}

/// One that waits to become an engine.
struct Caller<'a> {
    stream: UnixStream,
    shared: &'a Shared,
}

impl Caller<'_> {
    async fn pass(
        mut self,
        peer: SocketPeer,
        memory: Option<u64>,
        turn: Duration,
        engine: Option<String>,
    ) -> io::Result<()> {
        let (shared, came, pid) = (self.shared, Instant::now(), peer.process.id.pid);
        let ticket = shared.turns().enter();
        let _place = Place(shared, ticket);
        let mut statuses = shared.statuses.clone();
        let mut said: Option<(Answer, Instant)> = None;
        while let Some((lack, why)) = lacking(shared, memory, (ticket, pid)) {
            let answer = Answer::Wait(lack, why);
            let old = |(before, at): &(Answer, Instant)| *before != answer || at.elapsed() >= HEARTBEAT;
            if said.as_ref().is_none_or(old) {
                say(&mut self.stream, &answer).await?;
                said = Some((answer, Instant::now()));
            }
            self.something_happens(&mut statuses).await?;
        }
        let name = engine.as_ref().map_or_else(String::new, |engine| format!(" ({})", one_line(engine)));
        if let Some(Err(error)) = engine.and_then(|engine| Some(shared.owners.call(pid, engine.rsplit('/').next()?))) {
            tracing::warn!("process {pid} is not called as it calls itself: {error}");
        }
        let origin = origin(&peer);
        tracing::info!(
            "process {pid}{name} of user {} passes the gate of {} after {:.1} s",
            peer.user,
            shared.group,
            came.elapsed().as_secs_f64()
        );
        if shared.starts == Starts::InTurn {
            shared.turns().go(ticket, (peer.process, pid), origin, turn, Instant::now());
        }
        say(&mut self.stream, &Answer::Pass).await
    }

    /// The status changes, a moment passes, or the caller goes away, which is an error.
    async fn something_happens(&mut self, statuses: &mut watch::Receiver<Arc<Status>>) -> io::Result<()> {
        let mut nothing = [0; 64];
        tokio::select! {
            Ok(()) = statuses.changed() => Ok(()),
            () = sleep(LOOK) => Ok(()),
            read = self.stream.read(&mut nothing) => match read? {
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                _ => Err(io::ErrorKind::InvalidData.into()),
            },
        }
    }
}

/// What is lacking, the turn last: who waits for memory keeps its place.
fn lacking(shared: &Shared, memory: Option<u64>, (ticket, pid): (Ticket, u32)) -> Option<(Lack, String)> {
    shared.lacking(memory).or_else(|| match shared.starts {
        Starts::InTurn => shared.turns().may_go(ticket, pid, Instant::now()).err().map(|why| (Lack::Turn, why)),
        Starts::Together => None,
    })
}
