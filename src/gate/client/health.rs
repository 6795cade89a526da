//! Whether an engine answers with 200.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Upper bound for each step of it.
const BOUND: Duration = Duration::from_secs(5);
/// Bytes of an answer that are read: its first line.
const FIRST_LINE: u64 = 256;

/// Asks it. The error: why it is not well. Its host is an address, or `localhost`: a name would need a resolver, which a
/// static program has not.
pub(super) fn ask(url: &str) -> Result<(), String> {
    let (address, path) = parts(url)?;
    let failed = |error: std::io::Error| format!("{url} does not answer: {error}");
    let mut stream = TcpStream::connect_timeout(&address, BOUND).map_err(failed)?;
    stream.set_read_timeout(Some(BOUND)).and_then(|()| stream.set_write_timeout(Some(BOUND))).map_err(failed)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").map_err(failed)?;
    // Its end may never come.
    let mut answer = Vec::new();
    BufReader::new(stream).take(FIRST_LINE).read_until(b'\n', &mut answer).map_err(failed)?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split_whitespace().nth(1).unwrap_or_default();
    if status == "200" { Ok(()) } else { Err(format!("{url} answers {:?}", answer.lines().next().unwrap_or_default())) }
}

fn parts(url: &str) -> Result<(SocketAddr, String), String> {
    let wrong = || format!("{url} is no address: http://127.0.0.1:8000/health");
    let rest = url.strip_prefix("http://").ok_or_else(wrong)?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = host.replace("localhost", "127.0.0.1");
    Ok((host.parse().map_err(|_| wrong())?, format!("/{path}")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn answering(status: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://localhost:{}/health", listener.local_addr().unwrap().port());
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 512]).unwrap();
            write!(stream, "HTTP/1.1 {status}\r\n\r\nwell").unwrap();
        });
        url
    }

    #[test]
    fn only_200_is_well() {
        assert_eq!(ask(&answering("200 OK")), Ok(()));
        assert!(ask(&answering("503 Service Unavailable")).unwrap_err().contains("503"));
        assert!(ask("http://127.0.0.1:1/health").unwrap_err().contains("does not answer"));
        assert!(ask("https://example.com").unwrap_err().contains("is no address"));
    }
}
