//! The control socket at work, on a thread and a runtime of its own: a slow or mad client never delays the
//! core. It bounds connections, waits and sizes and checks who asks; what is answered is `answers`'.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::unistd::geteuid;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use super::answers::Answers;
use super::at_work::{SocketAtWork, accept_on_a_thread};
use super::listen::Listening;
use super::words::{Failure, IDLE, Kind, LONGEST_CALL, Reply};
use crate::export::Exporter;

pub use super::answers::{Asked, SetupSource, Wanted};

/// Most connections at once; further ones are asked to try again.
const MAX_CONNECTIONS: usize = 16;
/// Pause between two log lines about callers that were refused.
const TELL_PAUSE: Duration = Duration::from_secs(10);
/// Bytes of a call that is too long which are read and thrown away: closed with bytes unread, a socket takes its answer
/// back.
const MOST_DRAINED: u64 = 16 << 20;
const DRAIN_BOUND: Duration = Duration::from_secs(1);

/// Answers on a thread of its own. What only the core loop can answer goes to `core`; at most as many
/// questions as there are connections are open there.
pub fn serve(
    listening: Listening,
    exporter: Arc<Exporter>,
    core: mpsc::Sender<Asked>,
    setup: SetupSource,
) -> io::Result<SocketAtWork> {
    let answers = Answers { exporter, core, setup };
    accept_on_a_thread(listening, "control", "the control socket".to_owned(), move || {
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut refused = Refused::default();
        async move |stream| take(stream, &room, &answers, &mut refused).await
    })
}

/// Callers that were refused: each writes a line otherwise, as often as it likes.
#[derive(Default)]
struct Refused {
    logged: Option<Instant>,
    since: u64,
}

impl Refused {
    /// How many there were since the last line, this one included; `None`: a line was written a moment ago.
    fn count(&mut self, now: Instant) -> Option<u64> {
        self.since += 1;
        if self.logged.is_some_and(|logged| now.saturating_duration_since(logged) < TELL_PAUSE) {
            return None;
        }
        self.logged = Some(now);
        Some(std::mem::take(&mut self.since))
    }
}

/// Gives a connection its place, or answers why not.
async fn take(stream: UnixStream, room: &Arc<Semaphore>, answers: &Answers, refused: &mut Refused) {
    if let Err(denied) = admit(&stream) {
        match refused.count(Instant::now()) {
            Some(1) => tracing::warn!("a control connection was refused: {denied}"),
            Some(count) => tracing::warn!("{count} control connections were refused, the last: {denied}"),
            None => {}
        }
        return refuse(stream, denied).await;
    }
    let Ok(place) = Arc::clone(room).try_acquire_owned() else {
        let busy = format!("{MAX_CONNECTIONS} control connections are open already: try again");
        return refuse(stream, Failure::new(Kind::Unavailable, busy)).await;
    };
    let answers = answers.clone();
    tokio::spawn(async move {
        converse(stream, &answers).await;
        drop(place);
    });
}

/// Only root and the watchdog's own user. The file's mode says so already; this says it of a socket that
/// was handed on, too.
fn admit(stream: &UnixStream) -> Result<(), Failure> {
    let peer =
        stream.peer_cred().map_err(|error| Failure::new(Kind::Denied, format!("the caller is not known: {error}")))?;
    admits(peer.uid(), geteuid().as_raw())
}

fn admits(peer: u32, own: u32) -> Result<(), Failure> {
    if peer == 0 || peer == own {
        return Ok(());
    }
    let who = format!("user {peer} may not ask: only root and user {own}, which mpswarden runs as, may");
    Err(Failure::new(Kind::Denied, who))
}

/// One short line into an empty buffer: it never waits.
async fn refuse(mut stream: UnixStream, failure: Failure) {
    let line = line(&Reply::from(Err(failure)));
    let _ = stream.try_write(&line);
    let _ = stream.shutdown().await;
}

/// One call, one answer.
async fn converse(stream: UnixStream, answers: &Answers) {
    let mut stream = BufReader::new(stream);
    let answered = match call(&mut stream).await {
        Ok(None) => return,
        Ok(Some(call)) => answers.answer(&call).await,
        Err(failure) => Err(failure),
    };
    let is_too_long = matches!(&answered, Err(failure) if failure.kind == Kind::Malformed);
    let line = line(&Reply::from(answered));
    // A client that went away, or takes nothing, is its own affair.
    let _ = timeout(IDLE, async {
        stream.get_mut().write_all(&line).await?;
        stream.get_mut().shutdown().await
    })
    .await;
    if is_too_long {
        let mut rest = stream.take(MOST_DRAINED);
        let _ = timeout(DRAIN_BOUND, tokio::io::copy_buf(&mut rest, &mut tokio::io::sink())).await;
    }
}

/// One whole line within [`IDLE`], however its bytes trickle; `None`: it hung up without a word.
async fn call(stream: &mut BufReader<UnixStream>) -> Result<Option<Vec<u8>>, Failure> {
    let mut call = Vec::new();
    let mut bounded = stream.take(LONGEST_CALL as u64);
    let malformed = |why: String| Err(Failure::new(Kind::Malformed, why));
    match timeout(IDLE, bounded.read_until(b'\n', &mut call)).await {
        Ok(Ok(0)) => Ok(None),
        Ok(Ok(_)) if call.ends_with(b"\n") => Ok(Some(call)),
        Ok(Ok(LONGEST_CALL)) => malformed(format!("a call of over {} KiB", LONGEST_CALL / 1024)),
        Ok(Ok(_)) => malformed("half a call: its end of line is missing".to_owned()),
        Ok(Err(error)) => malformed(format!("the call can't be read: {error}")),
        Err(_) => malformed(format!("no whole call within {} s", IDLE.as_secs())),
    }
}

fn line(reply: &Reply) -> Vec<u8> {
    let mut line = serde_json::to_vec(reply).unwrap_or_default();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_that_are_refused_write_a_line_now_and_then() {
        let (mut refused, begin) = (Refused::default(), Instant::now());
        let told: Vec<Option<u64>> =
            [0, 1, 9, 10, 30].map(|after| refused.count(begin + Duration::from_secs(after))).to_vec();
        assert_eq!(told, [Some(1), None, None, Some(3), Some(1)]);
    }

    #[test]
    fn only_root_and_its_own_user_may_ask() {
        assert_eq!(admits(0, 1000), Ok(()));
        assert_eq!(admits(1000, 1000), Ok(()));
        let denied = admits(1001, 1000).map_err(|failure| (failure.kind, failure.text));
        let text = "user 1001 may not ask: only root and user 1000, which mpswarden runs as, may";
        assert_eq!(denied, Err((Kind::Denied, text.to_owned())));
    }
}
