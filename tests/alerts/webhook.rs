//! A receiver of Alertmanager's notifications that remembers them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

/// What came for one receiver: its path, and Alertmanager's message.
type Notification = (String, Value);

/// It listens until the test's process ends.
pub struct Webhook {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Notification>>>,
}

impl Webhook {
    /// Listens on a port of its own.
    pub fn listen() -> Webhook {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = seen.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if let Some(notification) = take(stream) {
                    kept.lock().unwrap().push(notification);
                }
            }
        });
        Webhook { address, seen }
    }

    /// The receivers that got the alert with this status, with its labels and annotations.
    pub fn told_of(&self, alert: &str, status: &str) -> Vec<Notification> {
        let is_it = |told: &Value| told["labels"]["alertname"] == alert && told["status"] == status;
        let seen = self.seen.lock().unwrap();
        let alerts = seen.iter().flat_map(|(path, message)| {
            let alerts = message["alerts"].as_array().cloned().unwrap_or_default();
            alerts.into_iter().map(|told| (path.clone(), told))
        });
        alerts.filter(|(_, told)| is_it(told)).collect()
    }

    /// How many messages came for one receiver.
    pub fn messages_at(&self, path: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|(at, _)| at == path).count()
    }
}

fn take(stream: TcpStream) -> Option<Notification> {
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let mut reader = BufReader::new(stream);
    let path = line(&mut reader)?.split(' ').nth(1)?.to_owned();
    let mut length = 0;
    loop {
        let header = line(&mut reader)?.to_ascii_lowercase();
        match header.split_once(':') {
            Some(("content-length", value)) => length = value.trim().parse().ok()?,
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    reader.into_inner().write_all(answer).ok()?;
    Some((path, serde_json::from_slice(&body).ok()?))
}

fn line(reader: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    Some(line)
}
