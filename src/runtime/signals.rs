//! SIGTERM and SIGINT become requests: the first to drain, the second to stop at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::UnboundedSender;

use crate::model::Request;

/// Follows the signals until nobody listens any more. SIGHUP is taken and only told of: a reload comes later.
pub(super) fn follow(requests: UnboundedSender<Request>) -> io::Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::task::spawn_local(async move {
        let mut stops = 0;
        while next(&mut term, &mut interrupt, &mut hangup).await {
            stops += 1;
            let request = if stops == 1 { Request::Stop } else { Request::StopNow };
            tracing::info!(second = stops > 1, "a signal asks to stop");
            if requests.send(request).is_err() {
                return;
            }
        }
    });
    Ok(())
}

/// Waits for a signal that asks to stop; false when none will come.
async fn next(term: &mut Signal, interrupt: &mut Signal, hangup: &mut Signal) -> bool {
    loop {
        let stop = tokio::select! {
            seen = term.recv() => seen.is_some(),
            seen = interrupt.recv() => seen.is_some(),
            seen = hangup.recv() => {
                if seen.is_some() {
                    tracing::warn!("SIGHUP: the configuration is read at the start only; restart to take up a change");
                    continue;
                }
                false
            }
        };
        return stop;
    }
}
