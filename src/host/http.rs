//! Bounded HTTP/1.1 GETs of one server, plain http only, over a connection that is kept while the server
//! keeps it. Never follows a redirect.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, HOST, USER_AGENT};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

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
    #[error("{url} is no http://host:port")]
    Url {
        /// As given.
        url: String,
    },
    /// No connection: nobody listens there.
    #[error("no connection to {authority}: {source}")]
    Refused {
        /// Host and port.
        authority: String,
        /// The system's words.
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
    kept: Option<Connection>,
}

#[derive(Debug)]
struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    /// Ends the connection's task with it.
    _tasks: JoinSet<Result<(), hyper::Error>>,
}

/// A head that came, and the body that follows.
struct Answer {
    status: u16,
    body: Incoming,
    connection: Connection,
}

impl Peer {
    /// At `url`, `http://host:port`. Connects to nobody yet.
    pub fn new(url: &str) -> Peer {
        Peer { url: url.to_owned(), kept: None }
    }

    /// GETs `path`: connection, head and body all within `timeout`, at most `limit` bytes of body.
    pub async fn get(&mut self, path: &str, timeout: Duration, limit: usize) -> Result<Response, GetError> {
        match tokio::time::timeout(timeout, self.whole(path, limit)).await {
            Ok(answered) => answered,
            Err(_) => Err(self.timed_out(timeout)),
        }
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

    async fn whole(&mut self, path: &str, limit: usize) -> Result<Response, GetError> {
        let Answer { status, mut body, connection } = self.ask(path).await?;
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
        let Answer { status, mut body, connection } = self.ask(path).await?;
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
    async fn ask(&mut self, path: &str) -> Result<Answer, GetError> {
        let no_url = || GetError::Url { url: self.url.clone() };
        let (host, port) = host_and_port(&self.url).ok_or_else(no_url)?;
        let request = Request::get(path)
            .header(HOST, format!("{host}:{port}"))
            .header(USER_AGENT, concat!("mpswarden/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, "text/plain, */*;q=0.5")
            .body(Empty::<Bytes>::new())
            .map_err(|_| no_url())?;
        if let Some(kept) = self.kept.take()
            && let Ok(answer) = kept.ask(request.clone()).await
        {
            return Ok(answer);
        }
        let stream = TcpStream::connect((host.trim_matches(['[', ']']), port))
            .await
            .map_err(|source| GetError::Refused { authority: format!("{host}:{port}"), source })?;
        let connection = Connection::over(stream).await.map_err(|source| self.malformed(source))?;
        connection.ask(request).await.map_err(|source| self.malformed(source))
    }

    fn malformed(&self, source: hyper::Error) -> GetError {
        GetError::Malformed { url: self.url.clone(), source }
    }

    fn timed_out(&self, timeout: Duration) -> GetError {
        GetError::Timeout { url: self.url.clone(), timeout }
    }
}

impl Connection {
    async fn over(stream: TcpStream) -> Result<Connection, hyper::Error> {
        let (sender, connection) = http1::Builder::new().max_buf_size(BUFFER).handshake(TokioIo::new(stream)).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(connection);
        Ok(Connection { sender, _tasks: tasks })
    }

    async fn ask(mut self, request: Request<Empty<Bytes>>) -> Result<Answer, hyper::Error> {
        let (head, body) = self.sender.send_request(request).await?.into_parts();
        Ok(Answer { status: head.status.as_u16(), body, connection: self })
    }
}

/// The host, IPv6 in brackets, and the port, 80 by default; `None` for anything but plain http.
fn host_and_port(url: &str) -> Option<(String, u16)> {
    let uri: Uri = url.parse().ok()?;
    (uri.scheme_str() == Some("http")).then_some(())?;
    Some((uri.host()?.to_owned(), uri.port_u16().unwrap_or(80)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    async fn get(url: &str, path: &str, timeout: Duration, limit: usize) -> Result<Response, GetError> {
        Peer::new(url).get(path, timeout, limit).await
    }

    /// A server that answers its first caller with `head`, then with `body` for ever if `endless`.
    async fn server(head: &'static [u8], endless: bool) -> (String, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let length = stream.read(&mut request).await.unwrap();
            assert!(request[..length].starts_with(b"GET /health HTTP/1.1\r\n"));
            stream.write_all(head).await.unwrap();
            while endless && stream.write_all(&[b'x'; 65536]).await.is_ok() {}
        });
        (url, serving)
    }

    #[tokio::test]
    async fn a_status_and_its_body_come_back() {
        let (url, _serving) = server(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nwait", false).await;
        let response = get(&url, "/health", LONG, 100).await.unwrap();
        assert_eq!(response, Response { status: 503, body: b"wait".to_vec(), cut: false });
    }

    /// Answers `requests` on each of its connections, one connection after the other, and counts those.
    async fn keeper(requests: usize) -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (url, connections) = (format!("http://{}", listener.local_addr().unwrap()), Arc::<AtomicUsize>::default());
        let count = connections.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                for _ in 0..requests {
                    let mut request = [0; 1024];
                    assert!(stream.read(&mut request).await.unwrap() > 0);
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
                }
            }
        });
        (url, connections)
    }

    #[tokio::test]
    async fn one_connection_serves_for_many_questions() {
        let (url, connections) = keeper(5).await;
        let mut peer = Peer::new(&url);
        for _ in 0..5 {
            assert_eq!(peer.get("/health", LONG, 100).await.unwrap().status, 200);
        }
        assert_eq!(connections.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_connection_that_the_server_ended_is_replaced_without_a_word() {
        let (url, connections) = keeper(1).await;
        let mut peer = Peer::new(&url);
        for _ in 0..3 {
            assert_eq!(peer.get("/health", LONG, 100).await.unwrap().status, 200);
        }
        assert_eq!(connections.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn a_body_of_gigabytes_is_cut() {
        let (url, serving) = server(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000000\r\n\r\n", true).await;
        let response = get(&url, "/health", LONG, 100_000).await.unwrap();
        assert_eq!((response.status, response.body.len(), response.cut), (200, 100_000, true));
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn a_head_without_an_end_is_malformed() {
        let (url, _serving) = server(b"HTTP/1.1 200 OK\r\nX-Long: ", true).await;
        assert!(matches!(get(&url, "/health", LONG, 100).await, Err(GetError::Malformed { .. })));
    }

    #[tokio::test]
    async fn garbage_is_malformed() {
        let (url, _serving) = server(b"SSH-2.0-OpenSSH_9.9\r\n", false).await;
        assert!(matches!(get(&url, "/health", LONG, 100).await, Err(GetError::Malformed { .. })));
    }

    #[tokio::test]
    async fn half_a_body_is_malformed() {
        let (url, _serving) = server(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", false).await;
        assert!(matches!(get(&url, "/health", LONG, 100).await, Err(GetError::Malformed { .. })));
    }

    #[tokio::test]
    async fn a_port_that_nobody_listens_on_refuses() {
        // Bound and never listening: no other test can take the port meanwhile.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let url = format!("http://{}", socket.local_addr().unwrap());
        assert!(matches!(get(&url, "/health", LONG, 100).await, Err(GetError::Refused { .. })));
    }

    #[tokio::test]
    async fn a_server_that_never_answers_times_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answer = get(&url, "/health", Duration::from_millis(20), 100).await;
        assert!(matches!(answer, Err(GetError::Timeout { .. })));
    }

    #[tokio::test]
    async fn a_url_that_is_not_plain_http_is_refused() {
        for url in ["https://127.0.0.1:1", "127.0.0.1:1", "", "http://"] {
            assert!(matches!(get(url, "/health", LONG, 100).await, Err(GetError::Url { .. })), "{url}");
        }
    }

    #[test]
    fn an_ipv6_host_keeps_its_brackets_for_the_host_header() {
        assert_eq!(host_and_port("http://[::1]:8001"), Some(("[::1]".into(), 8001)));
    }
}
