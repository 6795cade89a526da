//! One HTTP/1.1 connection that requests with a body go over, one after the other. Nothing is known here of what they
//! ask for.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Kept as long as the server keeps it.
#[derive(Debug)]
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// Ends the connection's task with it.
    _tasks: JoinSet<Result<(), hyper::Error>>,
}

impl Connection {
    /// To host and port.
    pub async fn open(address: &(String, u16)) -> Result<Connection, String> {
        let (host, port) = address;
        let stream = TcpStream::connect((host.as_str(), *port))
            .await
            .map_err(|error| format!("no connection to {host}:{port}: {error}"))?;
        // Without it a request may wait for an acknowledgement; where it can't be had, it may.
        let _ = stream.set_nodelay(true);
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        let mut tasks = JoinSet::new();
        tasks.spawn(connection);
        Ok(Connection { sender, _tasks: tasks })
    }

    /// Asks, and waits for the head of the answer; whoever has read all of it may ask again.
    pub async fn ask(
        mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, Connection), hyper::Error> {
        self.sender.ready().await?;
        Ok((self.sender.send_request(request).await?, self))
    }
}

/// The body up to `most` bytes, or up to where it breaks off.
pub(super) async fn read(answer: &mut Response<Incoming>, most: usize) -> Vec<u8> {
    let mut read = Vec::new();
    while let Some(Ok(frame)) = answer.body_mut().frame().await {
        read.extend_from_slice(&frame.into_data().unwrap_or_default());
        if read.len() >= most {
            read.truncate(most);
            break;
        }
    }
    read
}
