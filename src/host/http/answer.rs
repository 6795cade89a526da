//! What came of a request: a response, or why there is none.

use std::io;
use std::time::Duration;

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The body, up to the limit.
    pub body: Vec<u8>,
    /// Whether the body went on after the limit.
    pub cut: bool,
}

/// Why there was no response.
#[derive(Debug, thiserror::Error)]
pub enum GetError {
    /// The URL can't be asked.
    #[error("{url} is no http://host:port, https://host:port or unix:/path")]
    Url {
        /// The URL as given.
        url: String,
    },
    /// No connection: nothing listens there.
    #[error("no connection to {authority}: {source}")]
    Refused {
        /// Host and port, or the socket's path.
        authority: String,
        /// The system's words.
        source: io::Error,
    },
    /// It was not asked: we have no descriptor, port or memory for a connection.
    #[error("{authority} was not asked: {source}")]
    NotAsked {
        /// Host and port, or the socket's path.
        authority: String,
        /// The system's words.
        source: io::Error,
    },
    /// Somebody listens, and does not speak TLS with us.
    #[error("{url} speaks no TLS: {source}")]
    Tls {
        /// The URL as given.
        url: String,
        /// rustls' words.
        source: io::Error,
    },
    /// No whole response in time.
    #[error("no answer from {url} within {timeout:?}")]
    Timeout {
        /// The URL as given.
        url: String,
        /// The bound.
        timeout: Duration,
    },
    /// What came is no HTTP response, or only a part of one.
    #[error("{url} answers no HTTP: {source}")]
    Malformed {
        /// The URL as given.
        url: String,
        /// hyper's words.
        source: hyper::Error,
    },
}
