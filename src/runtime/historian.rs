//! Takes each new status into the history, on a thread of its own: the core loop does not wait for it, and what nobody
//! looks at is kept all the same.

use std::io;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::thread;

use tokio::runtime::Builder;
use tokio::sync::watch;

use crate::export::Exporter;
use crate::model::Status;

/// Follows the statuses until nothing sends them any more.
pub(super) fn follow(exporter: Arc<Exporter>, mut statuses: watch::Receiver<Arc<Status>>) -> io::Result<()> {
    // Where no thread can be had it is leaked: dropped on another runtime's thread it would panic.
    let runtime = ManuallyDrop::new(Builder::new_current_thread().build()?);
    thread::Builder::new().name("history".to_owned()).spawn(move || {
        ManuallyDrop::into_inner(runtime).block_on(async {
            exporter.look();
            while statuses.changed().await.is_ok() {
                statuses.mark_unchanged();
                exporter.look();
            }
        });
    })?;
    Ok(())
}
