//! Bounded HTTP/1.1 requests to one server, over a connection that is kept while the server keeps it: plain http,
//! https, or http over a unix socket. Never follows a redirect.
//!
//! A certificate is not checked, as kubelet's probes don't: engines have them self-signed or for other names, and
//! nothing secret is sent or asked for.

mod place;
mod port;
mod tls;

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use super::own_limits;
use place::Place;
use port::Held;
pub use port::OurPort;

/// The most that is buffered of a response: its head must fit, and a piece of its body is no larger.
const BUFFER: usize = 32 * 1024;

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
        /// As given.
        url: String,
    },
    /// No connection: nobody listens there.
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
        /// As given.
        url: String,
        /// rustls' words.
        source: io::Error,
    },
    /// No whole response in time.
    #[error("no answer from {url} within {timeout:?}")]
    Timeout {
        /// As given.
        url: String,
        /// The bound.
        timeout: Duration,
    },
    /// What came is no HTTP response, or only a part of one.
    #[error("{url} answers no HTTP: {source}")]
    Malformed {
        /// As given.
        url: String,
        /// hyper's words.
        source: hyper::Error,
    },
}

/// A server that is asked again and again, over one connection as long as it keeps that.
#[derive(Debug)]
pub struct Peer {
    url: String,
    /// `None`: the URL can't be asked.
    place: Option<Place>,
    ours: OurPort,
    kept: Option<Connection>,
}

#[derive(Debug)]
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// Ends the connection's task with it.
    _tasks: JoinSet<Result<(), hyper::Error>>,
}

/// A head that came, and the body that follows.
struct Answer {
    status: u16,
    body: Incoming,
    connection: Connection,
}

/// What is asked.
struct Question<'a> {
    method: Method,
    path: &'a str,
    /// JSON, where there is one.
    body: Bytes,
}

impl<'a> Question<'a> {
    fn get(path: &'a str) -> Self {
        Question { method: Method::GET, path, body: Bytes::new() }
    }
}

impl Peer {
    /// At `url`: `http://host:port`, `https://host:port` or `unix:/absolute/path`. Connects to nobody yet.
    pub fn new(url: &str) -> Peer {
        Peer { url: url.to_owned(), place: Place::parse(url), ours: OurPort::default(), kept: None }
    }

    /// The local port of the TCP connection that it holds or is opening, also while it is asking.
    pub fn ours(&self) -> OurPort {
        self.ours.clone()
    }

    /// GETs `path`: connection, head and body all within `timeout`, at most `limit` bytes of body.
    pub async fn get(&mut self, path: &str, timeout: Duration, limit: usize) -> Result<Response, GetError> {
        self.bounded(Question::get(path), timeout, limit).await
    }

    /// POSTs JSON to `path`, with the bounds of [`Peer::get`]. It may arrive twice: where a kept connection ends
    /// just then.
    pub async fn post(
        &mut self,
        path: &str,
        json: String,
        timeout: Duration,
        limit: usize,
    ) -> Result<Response, GetError> {
        self.bounded(Question { method: Method::POST, path, body: json.into() }, timeout, limit).await
    }

    /// GETs `path`, all within `timeout`, and hands the body of a 200 to `take` in pieces, until it fails. Tells
    /// the status. The body of any other answer is not read.
    pub async fn read<E: From<GetError>>(
        &mut self,
        path: &str,
        timeout: Duration,
        take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<u16, E> {
        match tokio::time::timeout(timeout, self.pieces(path, take)).await {
            Ok(read) => read,
            Err(_) => Err(self.timed_out(timeout).into()),
        }
    }

    async fn bounded(&mut self, question: Question<'_>, timeout: Duration, limit: usize) -> Result<Response, GetError> {
        match tokio::time::timeout(timeout, self.whole(question, limit)).await {
            Ok(answered) => answered,
            Err(_) => Err(self.timed_out(timeout)),
        }
    }

    async fn whole(&mut self, question: Question<'_>, limit: usize) -> Result<Response, GetError> {
        let Answer { status, mut body, connection } = self.ask(question).await?;
        let mut read = Vec::new();
        while let Some(data) = self.piece(&mut body).await? {
            let room = limit - read.len();
            read.extend_from_slice(&data[..data.len().min(room)]);
            if data.len() > room {
                return Ok(Response { status, body: read, cut: true });
            }
        }
        self.kept = Some(connection);
        Ok(Response { status, body: read, cut: false })
    }

    async fn pieces<E: From<GetError>>(
        &mut self,
        path: &str,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<u16, E> {
        let Answer { status, mut body, connection } = self.ask(Question::get(path)).await?;
        if status == 200 {
            while let Some(data) = self.piece(&mut body).await? {
                take(&data)?;
            }
            self.kept = Some(connection);
        }
        Ok(status)
    }

    /// The next piece of a body; whoever has them all may keep the connection.
    async fn piece(&self, body: &mut Incoming) -> Result<Option<Bytes>, GetError> {
        match body.frame().await {
            Some(Ok(frame)) => Ok(Some(frame.into_data().unwrap_or_default())),
            Some(Err(source)) => Err(self.malformed(source)),
            None => Ok(None),
        }
    }

    /// Asks, and waits for the head. A kept connection may have ended by now, which says nothing: then a new
    /// one is asked.
    async fn ask(&mut self, question: Question<'_>) -> Result<Answer, GetError> {
        let place = self.place.clone().ok_or_else(|| self.no_url())?;
        let request = self.request(&place, question)?;
        if let Some(kept) = self.kept.take()
            && let Ok(answer) = kept.ask(request.clone()).await
        {
            return Ok(answer);
        }
        let connection = self.connect(&place).await?;
        connection.ask(request).await.map_err(|source| self.malformed(source))
    }

    fn request(&self, place: &Place, question: Question<'_>) -> Result<Request<Full<Bytes>>, GetError> {
        let mut request = Request::builder()
            .method(question.method)
            .uri(question.path)
            .header(HOST, place.host_header())
            .header(USER_AGENT, concat!("mpswarden/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, "text/plain, */*;q=0.5");
        if !question.body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        request.body(Full::new(question.body)).map_err(|_| self.no_url())
    }

    async fn connect(&self, place: &Place) -> Result<Connection, GetError> {
        let refused = |source| match place.to_string() {
            authority if own_limits::is_ours(&source) => GetError::NotAsked { authority, source },
            authority => GetError::Refused { authority, source },
        };
        let made = match place {
            Place::Unix(path) => Connection::over(UnixStream::connect(path).await.map_err(refused)?, None).await,
            Place::Tcp { host, port, tls } => {
                let (stream, held) = self.ours.connect(host, *port).await.map_err(refused)?;
                if !tls {
                    Connection::over(stream, Some(held)).await
                } else {
                    let no_tls = |source| GetError::Tls { url: self.url.clone(), source };
                    Connection::over(tls::over(stream, host).await.map_err(no_tls)?, Some(held)).await
                }
            }
        };
        made.map_err(|source| self.malformed(source))
    }

    fn no_url(&self) -> GetError {
        GetError::Url { url: self.url.clone() }
    }

    fn malformed(&self, source: hyper::Error) -> GetError {
        GetError::Malformed { url: self.url.clone(), source }
    }

    fn timed_out(&self, timeout: Duration) -> GetError {
        GetError::Timeout { url: self.url.clone(), timeout }
    }
}

impl Connection {
    async fn over<S>(stream: S, held: Option<Held>) -> Result<Connection, hyper::Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::Builder::new().max_buf_size(BUFFER).handshake(TokioIo::new(stream)).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            // Let go of after the connection.
            let _held = held;
            connection.await
        });
        Ok(Connection { sender, _tasks: tasks })
    }

    async fn ask(mut self, request: Request<Full<Bytes>>) -> Result<Answer, hyper::Error> {
        let (head, body) = self.sender.send_request(request).await?.into_parts();
        Ok(Answer { status: head.status.as_u16(), body, connection: self })
    }
}

#[cfg(test)]
mod tests;
