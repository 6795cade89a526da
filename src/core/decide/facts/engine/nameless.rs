//! Whether an engine printed that its server had ended its client.

use crate::decide::facts::engine::Engine;
use crate::decide::facts::evicted::TERMINATED;

/// It printed that its server had ended its client, and nothing has decided that yet.
pub(crate) fn says_terminated(engine: &Engine) -> bool {
    engine.instance.output.said.open().any(|run| run.code == TERMINATED)
}
