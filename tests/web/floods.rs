//! Many at once: slow readers, silent clients, long heads, wrong passwords.

use std::io::Write;
use std::sync::OnceLock;
use std::thread;

use super::authority::{Authority, Shows};
use super::client::{ask, connect, once, open, password, read, until};
use super::server::{start, start_with};

/// Longer than what the kernel keeps for a connection.
fn long() -> &'static str {
    static LONG: OnceLock<String> = OnceLock::new();
    LONG.get_or_init(|| "x".repeat(24 * 1024 * 1024))
}

#[test]
fn the_41st_scrape_at_once_is_refused_while_probes_are_answered() {
    let server = start_with(None, long()).unwrap();
    let mut readers = Vec::new();
    for _ in 0..40 {
        let mut stream = connect(server.address()).unwrap();
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        // Once its first bytes are there it is being answered.
        stream.peek(&mut [0]).unwrap();
        readers.push(stream);
    }
    let status = |path: &str| once(server.address(), None, &format!("GET {path}"), &[]).unwrap().status;
    assert_eq!((status("/metrics"), status("/api/v1/status")), (503, 503));
    assert_eq!((status("/-/healthy"), status("/-/ready")), (200, 200));
    let whole = read(&mut readers.pop().unwrap(), false).unwrap();
    assert_eq!(whole.status, 200);
    assert!(whole.body.len() > long().len(), "a slow reader gets all of it");
    until("its place is free", || status("/api/v1/status") == 200);
}

#[test]
fn silent_clients_keep_nobody_out() {
    let authority = Authority::new();
    let file = authority.configure("tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n");
    let server = start(Some(&file)).unwrap();
    let mut silent = Vec::new();
    for number in 0..300 {
        let mut stream = connect(server.address()).unwrap();
        if number % 2 == 0 {
            stream.write_all(&[0x16, 3, 1]).unwrap();
        }
        silent.push(stream);
    }
    let client = authority.client(Shows::Nothing);
    for _ in 0..5 {
        assert_eq!(once(server.address(), Some(&client), "GET /metrics", &[]).unwrap().status, 200);
    }
}

#[test]
fn a_flood_of_headers_is_refused_and_the_next_client_served() {
    let server = start(None).unwrap();
    let many: Vec<String> = (0..500).map(|number| format!("X-{number}: y")).collect();
    let long = vec![format!("X-Long: {}", "y".repeat(100_000))];
    for headers in [many, long] {
        // A reset can overtake the answer while the rest of the head is on its way.
        if let Ok(answer) = once(server.address(), None, "GET /metrics", &headers) {
            assert_eq!(answer.status, 431);
        }
        assert_eq!(once(server.address(), None, "GET /metrics", &[]).unwrap().status, 200);
    }
}

#[test]
fn a_flood_of_wrong_passwords_stops_no_scrape_with_a_good_one() {
    let authority = Authority::new();
    let hash = bcrypt::hash("secret", 8).unwrap();
    let server = start(Some(&authority.configure(&format!("basic_auth_users:\n  ann: {hash}\n")))).unwrap();
    let address = server.address();
    let good = password("ann", "secret");
    let mut scraper = open(address, None).unwrap();
    assert_eq!(ask(&mut *scraper, "GET /metrics", std::slice::from_ref(&good)).unwrap().status, 200);
    let flood: Vec<_> = (0..40)
        .map(|number| {
            thread::spawn(move || {
                let name = if number % 2 == 0 { "ann" } else { "nobody" };
                once(address, None, "GET /metrics", &[password(name, &format!("wrong {number}"))]).unwrap().status
            })
        })
        .collect();
    for _ in 0..150 {
        assert_eq!(ask(&mut *scraper, "GET /metrics", std::slice::from_ref(&good)).unwrap().status, 200);
    }
    for refused in flood {
        assert!([401, 503].contains(&refused.join().unwrap()));
    }
}
