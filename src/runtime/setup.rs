//! The configuration in force, as it may be shown to others; asked for by the control socket's own thread.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::config::Configuration;
use crate::model::Setup;

/// What is in force now.
pub(super) struct InForce {
    /// Where it is read; `None`: `demo` made it.
    file: Option<PathBuf>,
    configuration: Mutex<Configuration>,
}

impl InForce {
    /// This one, read there.
    pub(super) fn new(configuration: Configuration, file: Option<PathBuf>) -> InForce {
        InForce { file, configuration: Mutex::new(configuration) }
    }

    /// Another one from now on.
    pub(super) fn take_up(&self, configuration: Configuration) {
        *self.lock() = configuration;
    }

    /// The setup as it may be shown.
    pub(super) fn setup(&self) -> Result<Setup, String> {
        let configuration = self.lock().clone();
        configuration.setup(self.file.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Configuration> {
        self.configuration.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
