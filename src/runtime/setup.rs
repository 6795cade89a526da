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
    pub fn new(configuration: Configuration, file: Option<PathBuf>) -> InForce {
        InForce { file, configuration: Mutex::new(configuration) }
    }

    /// Another one from now on.
    pub fn take_up(&self, configuration: Configuration) {
        *self.lock() = configuration;
    }

    /// As it may be shown.
    pub fn setup(&self) -> Result<Setup, String> {
        let configuration = self.lock().clone();
        setup(&configuration, self.file.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Configuration> {
        self.configuration.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A configuration as it may be shown.
pub(super) fn setup(configuration: &Configuration, file: Option<PathBuf>) -> Result<Setup, String> {
    let logs = configuration.groups.iter().map(|group| (group.name.clone(), group.log_directories()));
    Ok(Setup {
        // A client may stand elsewhere.
        file: file.map(|file| std::path::absolute(&file).unwrap_or(file)),
        configuration: configuration.shown()?,
        kernel_log: configuration.kernel_log.clone(),
        logs: logs.collect(),
    })
}
