//! A client over plain TCP or TLS, one request at a time, bounded in time.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

/// Upper bound for an answer; then the test fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

/// An answer of the server.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Lower case.
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// A connection, after its handshake where there is one.
pub fn open(address: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> io::Result<Box<dyn Stream>> {
    let stream = connect(address)?;
    let Some(config) = tls else { return Ok(Box::new(stream)) };
    Ok(Box::new(secured(stream, config)?))
}

pub fn secured(
    mut stream: TcpStream,
    config: &Arc<ClientConfig>,
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let name = ServerName::try_from("localhost").unwrap();
    let mut connection = ClientConnection::new(Arc::clone(config), name).unwrap();
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    Ok(StreamOwned::new(connection, stream))
}

/// One request on an open connection: `GET /metrics` and header lines.
pub fn ask(stream: &mut dyn Stream, request: &str, headers: &[String]) -> io::Result<Answer> {
    let lines: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    stream.write_all(format!("{request} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n").as_bytes())?;
    stream.flush()?;
    read(stream, request.starts_with("HEAD"))
}

/// Reads one answer whose length is given, or that ends with the connection.
pub fn read(stream: &mut dyn Stream, without_body: bool) -> io::Result<Answer> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    let mut answer = Answer { status, head, body: Vec::new() };
    match answer.header("content-length").and_then(|length| length.parse().ok()) {
        _ if without_body => {}
        Some(length) => {
            answer.body = vec![0; length];
            stream.read_exact(&mut answer.body)?;
        }
        None => drop(stream.read_to_end(&mut answer.body)),
    }
    Ok(answer)
}

/// One request on a connection of its own.
pub fn once(
    address: SocketAddr,
    tls: Option<&Arc<ClientConfig>>,
    request: &str,
    headers: &[String],
) -> io::Result<Answer> {
    let mut headers = headers.to_vec();
    headers.push("Connection: close".to_owned());
    ask(&mut *open(address, tls)?, request, &headers)
}

/// The header that a password makes.
pub fn password(name: &str, password: &str) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(format!("{name}:{password}"));
    format!("Authorization: Basic {text}")
}

/// Tries again until it is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        std::thread::yield_now();
    }
}
