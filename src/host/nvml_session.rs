//! The open NVML library, shared by all who read: opened anew after it was closed. An open one has every GPU's device
//! open, so a GPU can't be reset and the driver can't be reloaded meanwhile; and it may never see a GPU again that came
//! back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use nvml_wrapper::Nvml;

use super::nvml_error::{NvmlError, open_error};

/// Pause between two openings for a GPU that stays lost: one takes some 10 ms of the driver's time, and the Xids of
/// well GPUs are not heard meanwhile.
const RENEWED: Duration = Duration::from_secs(60);
/// Upper bound for those who follow events to drop the old session: NVML counts who has it open, and looks at the GPUs
/// anew only after the last. Longer than one of their waits.
const DROPPED: Duration = Duration::from_millis(1500);
/// Pause between two looks whether they have.
const LOOK: Duration = Duration::from_millis(10);

/// The library and whether it is open.
pub(super) struct Session {
    library: String,
    open: Mutex<Open>,
}

struct Open {
    nvml: Option<Arc<Nvml>>,
    since: Instant,
    /// The one that was closed: others may use it still.
    before: Weak<Nvml>,
}

impl Session {
    /// Loads `library` (a path, or a name that the loader finds) and initializes it. May block.
    pub(super) fn open(library: &str) -> Result<Session, NvmlError> {
        let open = Mutex::new(Open { nvml: None, since: Instant::now(), before: Weak::new() });
        let session = Session { library: library.to_owned(), open };
        session.nvml()?;
        Ok(session)
    }

    /// The open library, opened again if it was closed. May block.
    pub(super) fn nvml(&self) -> Result<Arc<Nvml>, NvmlError> {
        let mut open = self.lock();
        if let Some(nvml) = &open.nvml {
            return Ok(nvml.clone());
        }
        open.await_dropped(DROPPED);
        let init = Nvml::builder().lib_path(self.library.as_ref()).init();
        let nvml = Arc::new(init.map_err(|error| open_error(&self.library, error))?);
        *open = Open { nvml: Some(nvml.clone()), since: Instant::now(), before: Weak::new() };
        Ok(nvml)
    }

    /// The library, if it is open.
    pub(super) fn opened(&self) -> Option<Arc<Nvml>> {
        self.lock().nvml.clone()
    }

    /// The library's path, or its name.
    pub(super) fn library(&self) -> &str {
        &self.library
    }

    /// Closes it, once those who use it now are done.
    pub(super) fn let_go(&self) {
        self.lock().close();
    }

    /// Whether nobody uses it, once it was closed and so much time has passed at most. May block.
    pub(super) fn is_dropped(&self, within: Duration) -> bool {
        let until = Instant::now() + within;
        // The lock is not held meanwhile: those who read are to see that it is closed.
        while self.lock().is_used() && Instant::now() < until {
            thread::sleep(LOOK);
        }
        !self.lock().is_used()
    }

    /// Closes it, unless it was opened a moment ago.
    pub(super) fn renew(&self) -> bool {
        let mut open = self.lock();
        let old = open.since.elapsed() >= RENEWED;
        if old {
            open.close();
        }
        old
    }

    /// An option is whole after a panic, too.
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn is_used(&self) -> bool {
        self.nvml.is_some() || self.before.strong_count() > 0
    }

    /// Waits until nobody uses the one that was closed, for so long at most.
    fn await_dropped(&self, within: Duration) {
        let until = Instant::now() + within;
        while self.before.strong_count() > 0 && Instant::now() < until {
            thread::sleep(LOOK);
        }
    }

    fn close(&mut self) {
        if let Some(nvml) = self.nvml.take() {
            self.before = Arc::downgrade(&nvml);
        }
    }
}
