//! Real sockets that answer well and badly.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};

use super::*;

const LONG: Duration = Duration::from_secs(60);

async fn get(url: &str, path: &str, timeout: Duration, limit: usize) -> Result<Response, GetError> {
    Peer::new(url).get(path, timeout, limit).await
}

/// A server that answers its first caller with `head`, then with `body` indefinitely if `endless`.
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
async fn a_url_of_another_kind_is_refused() {
    for url in ["ftp://127.0.0.1:1", "127.0.0.1:1", "", "http://", "unix:relative"] {
        assert!(matches!(get(url, "/health", LONG, 100).await, Err(GetError::Url { .. })), "{url}");
    }
}

#[tokio::test]
async fn json_is_posted_with_its_length_and_type() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut peer = Peer::new(&format!("http://{}", listener.local_addr().unwrap()));
    let asked = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 1024];
        let mut length = 0;
        while !request[..length].ends_with(b"{\"a\":1}") {
            length += stream.read(&mut request[length..]).await.unwrap();
        }
        stream.write_all(b"HTTP/1.1 201 Made\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        String::from_utf8(request[..length].to_vec()).unwrap().to_lowercase()
    };
    let (answer, request) = tokio::join!(peer.post("/v1", "{\"a\":1}".into(), LONG, 100), asked);
    assert_eq!(answer.unwrap().status, 201);
    assert!(request.starts_with("post /v1 http/1.1\r\n"), "{request}");
    assert!(request.contains("content-length: 7") && request.contains("content-type: application/json"), "{request}");
}

#[tokio::test]
async fn a_body_is_handed_on_as_it_comes_and_a_refusal_comes_back_with_its_reason() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut peer = Peer::new(&format!("http://{}", listener.local_addr().unwrap()));
    let (mut pieces, mut request) = (Vec::new(), vec![0; 1024]);
    let (said, heard) = tokio::sync::oneshot::channel();
    let mut said = Some(said);
    let serving = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let length = stream.read(&mut request).await.unwrap();
        request.truncate(length);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\none").await.unwrap();
        // The rest is not sent before the first piece has arrived.
        heard.await.unwrap();
        stream.write_all(b"two").await.unwrap();
        assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
        stream.write_all(b"HTTP/1.1 422 No\r\nContent-Length: 7\r\n\r\nbecause").await.unwrap();
    };
    let asking = async {
        let question = Question::post("/v1", "{}".to_owned()).with_key(Some("s3c"));
        let take = |piece: &[u8]| {
            pieces.extend_from_slice(piece);
            said.take().into_iter().for_each(|said| said.send(()).unwrap());
            Ok::<(), GetError>(())
        };
        let streamed = peer.stream(question.clone(), LONG, 4, take).await.unwrap();
        let refused = peer.stream(question, LONG, 4, |_| Ok::<(), GetError>(())).await.unwrap();
        (streamed, refused)
    };
    let ((streamed, refused), ()) = tokio::join!(asking, serving);
    assert_eq!(streamed, Response { status: 200, body: Vec::new(), cut: false });
    assert_eq!(
        (pieces.as_slice(), refused),
        (b"onetwo".as_slice(), Response { status: 422, body: b"beca".to_vec(), cut: true })
    );
    assert!(String::from_utf8(request).unwrap().contains("authorization: Bearer s3c\r\n"));
}

#[tokio::test]
async fn its_own_port_is_told_while_it_asks_and_until_the_connection_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut peer = Peer::new(&format!("http://{}", listener.local_addr().unwrap()));
    let ours = peer.ours();
    assert_eq!(ours.get(), None);
    let seen = async {
        let (mut stream, caller) = listener.accept().await.unwrap();
        assert_eq!(ours.get(), Some(caller.port()));
        assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        (stream, caller.port())
    };
    let (answer, (_stream, port)) = tokio::join!(peer.get("/health", LONG, 100), seen);
    assert_eq!((answer.unwrap().status, ours.get()), (200, Some(port)));
    drop(peer);
    while ours.get().is_some() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_unix_socket_answers_and_one_that_is_not_there_refuses() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("engine.sock");
    let url = format!("unix:{}", path.display());
    assert!(matches!(get(&url, "/health", LONG, 100).await, Err(GetError::Refused { .. })));
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let asked = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        let length = stream.read(&mut request).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        String::from_utf8(request[..length].to_vec()).unwrap()
    };
    let (answer, request) = tokio::join!(get(&url, "/health", LONG, 100), asked);
    assert_eq!(answer.unwrap().status, 200);
    assert!(request.contains("host: localhost\r\n"), "{request}");
}

#[tokio::test]
async fn a_certificate_that_nobody_signed_is_taken() {
    let made = rcgen::generate_simple_self_signed(["somebody.else".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let serving = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = tokio_rustls::TlsAcceptor::from(Arc::new(config)).accept(stream).await.unwrap();
        assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
        stream
    };
    let (answer, _stream) = tokio::join!(get(&url, "/health", LONG, 100), serving);
    assert_eq!(answer.unwrap().body, b"ok");
}

#[tokio::test]
async fn a_server_of_plain_http_speaks_no_tls() {
    let (url, _serving) = plain().await;
    assert!(matches!(get(&url, "/health", LONG, 100).await, Err(GetError::Tls { .. })));
}

/// The https URL of a server that answers any first words in plain http.
async fn plain() -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    });
    (url, serving)
}
