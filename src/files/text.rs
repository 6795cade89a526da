//! Text that is read on a thread of its own, within a bound: a file system may hang, and another user may have chosen it.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{Links, read};

/// Paths whose reader has not come back in its time: no other is sent after it.
static HANGING: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn hanging() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    HANGING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The text of a regular file of at most `most` bytes, within `bound`. The thread of a read that hangs is left behind.
pub async fn read_text(path: &Path, links: Links, most: u64, bound: Duration) -> io::Result<String> {
    let hangs = || io::Error::new(io::ErrorKind::TimedOut, "its file system does not answer");
    if hanging().contains(path) {
        return Err(hangs());
    }
    let (tell, mut told) = oneshot::channel();
    let file = path.to_owned();
    thread::Builder::new().name("file".to_owned()).spawn(move || {
        let text = read(&file, links, most).and_then(|bytes| {
            String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is no UTF-8"))
        });
        let mut hanging = hanging();
        hanging.remove(&file);
        // Nobody listens any more once its time is over.
        let _ = tell.send(text);
    })?;
    if let Ok(answer) = timeout(bound, &mut told).await {
        return answer.unwrap_or_else(|_| Err(io::Error::other("its reader ended")));
    }
    let mut hanging = hanging();
    match told.try_recv() {
        Ok(text) => text,
        Err(_) => {
            hanging.insert(path.to_owned());
            Err(hangs())
        }
    }
}
