//! Changes of the web configuration under a running server.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;

use super::authority::{Authority, Shows, replace};
use super::client::{ask, connect, once, open, password, secured, until};
use super::server::{keep_log, logged, start};

const TLS: &str = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n";

/// The certificate that the server shows.
fn shown(address: SocketAddr, client: &Arc<ClientConfig>) -> CertificateDer<'static> {
    let stream = secured(connect(address).unwrap(), client).unwrap();
    stream.conn.peer_certificates().unwrap()[0].clone().into_owned()
}

#[test]
fn a_changed_certificate_is_taken_up_and_a_broken_one_is_not() {
    keep_log();
    let authority = Authority::new();
    let first = authority.renew_server();
    let file = authority.configure(TLS);
    let server = start(Some(&file)).unwrap();
    let client = authority.client(Shows::Nothing);
    assert_eq!(shown(server.address(), &client), first);

    fs::write(authority.path("server.pem"), "-----BEGIN CERTIFICATE-----\nbroken").unwrap();
    until("the broken one is seen", || {
        assert_eq!(shown(server.address(), &client), first);
        logged(&file, "not applied, the old one holds") == 1
    });

    let second = authority.renew_server();
    until("the new one is shown", || shown(server.address(), &client) == second);
    assert!(logged(&file, "not applied") <= 2, "a problem is logged once, not with each look");
}

#[test]
fn a_file_that_is_cut_short_does_not_open_the_door() {
    keep_log();
    let authority = Authority::new();
    let hash = bcrypt::hash("secret", 4).unwrap();
    let file = authority.configure(&format!("basic_auth_users:\n  ann: {hash}\n"));
    let server = start(Some(&file)).unwrap();
    fs::write(&file, "").unwrap();
    until("the empty file is seen", || {
        assert_eq!(once(server.address(), None, "GET /metrics", &[]).unwrap().status, 401);
        logged(&file, "would give up all passwords") == 1
    });
    let headers = [password("ann", "secret")];
    assert_eq!(once(server.address(), None, "GET /metrics", &headers).unwrap().status, 200);
}

#[test]
fn a_changed_password_holds_on_connections_that_are_open() {
    let authority = Authority::new();
    let users = |word| format!("basic_auth_users:\n  ann: {}\n", bcrypt::hash(word, 4).unwrap());
    let file = authority.configure(&users("old"));
    let server = start(Some(&file)).unwrap();
    let mut stream = open(server.address(), None).unwrap();
    let mut status = |word| ask(&mut *stream, "GET /metrics", &[password("ann", word)]).unwrap().status;
    assert_eq!(status("old"), 200);
    replace(&file, &users("new"));
    until("the old password is refused", || status("old") == 401);
    assert_eq!(status("new"), 200);
}
