//! What this library is to answer in place of the simulated GPU: the NVML of other GPUs and drivers. It stands in a
//! file `nvml.script` beside the library, one rule a line, read anew at every call; the first rule that fits decides.
//!
//! ```text
//! nvmlDeviceGetMemoryInfo_v2 3     this call answers NVML_ERROR_NOT_SUPPORTED from now on
//! nvmlDeviceGetName 999 once       this call fails once
//! * 16                             every call about a GPU does so
//! nvmlDeviceGetMPSComputeRunningProcesses_v3 empty
//! pids 4000000                     processes are listed under other pids: the host's
//! action 6                         the recovery action, field 230
//! driver 615.10                    the driver's version
//! name NVIDIA GB10                 the product's name
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::sync::Mutex;

use super::Return;
use super::wire::beside;

/// Rules that were to hold once, and have.
static SPENT: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// What a call is to answer; `None`: what the GPU says.
pub fn answer(call: &str) -> Option<Return> {
    let script = script()?;
    let fits = |line: &&str| {
        let named = line.split_whitespace().next();
        named == Some(call) || named == Some("*") && call.starts_with("nvmlDevice")
    };
    for line in script.lines().filter(fits) {
        let mut words = line.split_whitespace().skip(1);
        let Some(code) = words.next().and_then(|code| code.parse().ok()) else { continue };
        if words.next() != Some("once") || spend(line) {
            return Some(code);
        }
    }
    None
}

/// Whether a list of processes is to be empty.
pub fn is_empty(call: &str) -> bool {
    value(call).as_deref() == Some("empty")
}

/// What stands behind this word.
pub fn value(word: &str) -> Option<String> {
    let script = script()?;
    let found = script.lines().find_map(|line| line.split_once(' ').filter(|(first, _)| *first == word));
    found.map(|(_, value)| value.trim().to_owned())
}

fn script() -> Option<String> {
    fs::read_to_string(beside("nvml.script")).ok()
}

fn spend(line: &str) -> bool {
    SPENT.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(line.to_owned())
}
