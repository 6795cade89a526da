//! How often what other facts are judged by is read, in steady state. The cadence of everything else is in `looks`.

use std::time::Duration;

/// Pause between two readings of an engine's own metrics: a request over loopback, some 100 KB of text at vLLM's and
/// SGLang's worst, read on the core's thread. So not while it starts, and no more often than a person or a scrape can
/// use.
pub(crate) const LOAD: Duration = Duration::from_secs(2);
/// Pause between two looks at an engine's processes.
pub(crate) const TREES: Duration = Duration::from_secs(10);
