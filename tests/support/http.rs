//! Speaks as much of HTTP as the tests need with programs on this machine: one request a connection, bounded in time.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Upper bound for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The status and the body of an answer.
pub fn get(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    ask(address, &format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n"))
}

/// The body of an answer with status 200; `None`: there is no such answer.
pub fn body(address: SocketAddr, path: &str) -> Option<String> {
    get(address, path).ok().filter(|(status, _)| *status == 200).map(|(_, body)| body)
}

/// The same, for JSON that is sent there.
pub fn post(address: SocketAddr, path: &str, json: &str) -> Option<String> {
    let head = format!("POST {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\n");
    let answer = ask(address, &format!("{head}Content-Length: {}\r\n\r\n{json}", json.len()));
    answer.ok().filter(|(status, _)| *status == 200).map(|(_, body)| body)
}

fn ask(address: SocketAddr, request: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or(io::ErrorKind::InvalidData)?, body.to_owned()))
}
