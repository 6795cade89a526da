//! One HTTP/1.1 connection that requests go over, one after the other. Nothing is known here of what they ask for.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

use super::port::Held;

/// The most that is buffered of a response: its head must fit, and a piece of its body is no larger.
const BUFFER: usize = 32 * 1024;

/// Kept as long as the server keeps it.
#[derive(Debug)]
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// Ends the connection's task with it.
    _tasks: JoinSet<Result<(), hyper::Error>>,
}

/// A head that came, and the body that follows.
pub(super) struct Answer {
    pub status: u16,
    body: Incoming,
    connection: Connection,
}

impl Connection {
    /// A connection over an open stream. `held` is released after the connection.
    pub(super) async fn over<S>(stream: S, held: Option<Held>) -> Result<Connection, hyper::Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::Builder::new().max_buf_size(BUFFER).handshake(TokioIo::new(stream)).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let _held = held;
            connection.await
        });
        Ok(Connection { sender, _tasks: tasks })
    }

    /// Asks on a connection that was kept, once it is done with the end of the last answer.
    pub(super) async fn ask_again(mut self, request: Request<Full<Bytes>>) -> Result<Answer, hyper::Error> {
        self.sender.ready().await?;
        self.ask(request).await
    }

    /// Asks, and waits for the head. A server that answers before it was asked is heard all the same.
    pub(super) async fn ask(mut self, request: Request<Full<Bytes>>) -> Result<Answer, hyper::Error> {
        let (head, body) = self.sender.send_request(request).await?.into_parts();
        Ok(Answer { status: head.status.as_u16(), body, connection: self })
    }
}

impl Answer {
    /// The next piece of the body; `None`: that was all.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, hyper::Error> {
        let frame = self.body.frame().await.transpose()?;
        Ok(frame.map(|frame| frame.into_data().unwrap_or_default()))
    }

    /// The connection, for the next request: a caller that has had the whole body may keep it.
    pub(super) fn connection(self) -> Connection {
        self.connection
    }
}
