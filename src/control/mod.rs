//! The control socket: its file, who may ask, its words, and the client's end of it. It decides nothing: an order is
//! the core's to plan and to refuse.

mod answers;
mod at_work;
mod client;
mod listen;
mod order_words;
mod seen;
mod serve;
mod words;

pub use at_work::{SocketAtWork, accept_on_a_thread};
pub use client::Client;
pub use listen::{BindError, Listening, bind, bind_as};
pub use seen::{Incidents, Seen};
pub use serve::{Asked, SetupSource, Wanted, serve};
pub use words::{Call, Failure, Kind};

/// Where the socket is unless another is asked for.
pub const DEFAULT_SOCKET: &str = "/run/mpswarden/control.sock";
