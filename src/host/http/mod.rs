//! Bounded HTTP/1.1 requests to one server, over a connection that is kept while the server keeps it: plain http,
//! https, or http over a unix socket. The one client of the program: whole answers and streamed ones. Never follows a
//! redirect.
//!
//! A certificate is not checked, as kubelet's probes don't: engines have them self-signed or for other names. So no key
//! may be sent over https.

mod answer;
mod connection;
mod peer;
mod place;
mod port;
mod question;
#[cfg(test)]
mod tests;
mod tls;

pub use answer::{GetError, Response};
pub use peer::Peer;
pub use port::OurPort;
pub use question::Question;
