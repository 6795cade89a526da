//! Who follows a watchdog in the place of its log, if somebody does.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::model::{Event, Incident};

/// Who is told of it. An audience logs events itself, or does not.
pub(super) trait Audience {
    /// Everything is open, and nothing is started yet: HTTP on these addresses, as `http` or `https`.
    fn opened(&self, scheme: &str, addresses: &[SocketAddr]);
    /// An event happened.
    fn saw(&self, event: &Event);
    /// The watchdog ended; these are the incidents that it knows, newest first.
    fn ended(&self, incidents: Vec<Arc<Incident>>);
}
