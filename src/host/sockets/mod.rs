//! TCP sockets as the kernel knows them (sock_diag over netlink): who waits on a port, and what has moved. The kernel
//! itself picks those of the port, so that a host with many sockets costs little. Judges nothing.
//!
//! The crates for it know no more than the layout of a header, so the few bytes that are needed are read in `wire.rs`.

mod answers_at;
mod ask;
mod network;
pub mod unix;
mod wire;

pub use answers_at::answers_at;
pub use ask::Sockets;
use ask::{BOUND, MOST, PATIENCE, PIECE};
pub use network::{Network, NetworkId};
pub use wire::Socket;
