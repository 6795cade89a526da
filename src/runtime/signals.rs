//! SIGTERM and SIGINT become requests: the first to drain, the second to stop at once. SIGHUP asks for a reload.

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;

use crate::model::Request;

/// Follows the signals until the receiver is gone. A SIGHUP that comes before it is waited for is kept.
pub(super) fn follow(requests: UnboundedSender<Request>, hangup: Arc<Notify>) -> io::Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangups = signal(SignalKind::hangup())?;
    tokio::task::spawn_local(async move {
        while hangups.recv().await.is_some() {
            hangup.notify_one();
        }
    });
    tokio::task::spawn_local(async move {
        let mut stops = 0;
        while next(&mut term, &mut interrupt).await {
            stops += 1;
            let request = if stops == 1 { Request::Stop } else { Request::StopNow };
            tracing::info!(
                "a signal asks to stop {}",
                if stops == 1 { "in order" } else { "at once: it is not the first" }
            );
            if requests.send(request).is_err() {
                return;
            }
        }
    });
    Ok(())
}

/// Waits for a signal that asks to stop; false when none will come.
async fn next(term: &mut Signal, interrupt: &mut Signal) -> bool {
    tokio::select! {
        seen = term.recv() => seen.is_some(),
        seen = interrupt.recv() => seen.is_some(),
    }
}
