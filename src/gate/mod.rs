//! The gate in front of engines that others start: a socket in a group's pipe directory, which clients mount anyway. Who
//! asks there waits until the group is ready for another engine. It gives no orders, and answers from the status alone.

pub mod client;
mod conditions;
mod serve;
mod turns;

use crate::text::plain;

pub use serve::{Starts, open};

/// The client as a program of its own: `mpswarden-gate`.
pub const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/mpswarden-gate"));

/// Whether [`PROGRAM`] needs nothing of its image. It needs its C library where this was built without a static one.
pub fn program_is_static() -> bool {
    env!("MPSWARDEN_GATE_IS_STATIC") == "true"
}

#[cfg(test)]
mod tests {
    use super::client::wire::SOCKET;
    use crate::host::pipe_directory::GATE;

    #[test]
    fn the_socket_is_left_alone_when_a_pipe_directory_is_swept() {
        assert_eq!(SOCKET, GATE);
    }
}
