//! Single requests: compression, headers, odd paths, names in client certificates.

use std::io::{Read, Write};
use std::net::Shutdown;

use super::authority::{Authority, Shows};
use super::client::{ask, connect, once, open, read};
use super::server::{Running, start};

const TLS: &str = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n";

fn plain(server: &Running, request: &str, headers: &[&str]) -> super::client::Answer {
    let headers: Vec<String> = headers.iter().map(|header| (*header).to_owned()).collect();
    once(server.address(), None, request, &headers).unwrap()
}

#[test]
fn metrics_are_compressed_for_who_asks_and_the_same_inside() {
    let server = start(None).unwrap();
    let zipped = plain(&server, "GET /metrics", &["Accept-Encoding: gzip"]);
    assert_eq!((zipped.status, zipped.header("content-encoding")), (200, Some("gzip")));
    let mut text = String::new();
    flate2::read::GzDecoder::new(&zipped.body[..]).read_to_string(&mut text).unwrap();
    assert!(text.contains("mpswarden_build_info") && text.ends_with('\n'));
    let whole = plain(&server, "GET /metrics", &["Accept-Encoding: gzip;q=0, br"]);
    assert_eq!((whole.header("content-encoding"), whole.header("vary")), (None, Some("accept-encoding")));
    assert_eq!(whole.text(), text);
}

#[test]
fn one_connection_serves_many_scrapes() {
    let server = start(None).unwrap();
    let mut stream = open(server.address(), None).unwrap();
    for _ in 0..5 {
        assert_eq!(ask(&mut *stream, "GET /metrics", &[]).unwrap().status, 200);
    }
}

#[test]
fn the_page_may_fetch_from_here_alone() {
    let server = start(None).unwrap();
    let page = plain(&server, "GET /", &[]);
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(plain(&server, "GET /metrics", &[]).header("content-security-policy"), None);
}

#[test]
fn the_configured_headers_come_before_our_own() {
    let authority = Authority::new();
    let file = authority.configure(
        "http_server_config:\n  headers:\n    Content-Security-Policy: default-src 'self'\n    X-XSS-Protection: 0\n    Strict-Transport-Security: ''\n",
    );
    let server = start(Some(&file)).unwrap();
    let page = plain(&server, "GET /", &[]);
    assert_eq!(page.header("content-security-policy"), Some("default-src 'self'"));
    assert_eq!(page.header("x-xss-protection"), Some("0"));
    assert_eq!(page.header("strict-transport-security"), None, "unset if blank");
}

#[test]
fn odd_paths_are_not_found() {
    let server = start(None).unwrap();
    for path in ["/%", "/%zz", "/%00", "/..%2f..%2fetc/passwd", "//metrics", "/metrics/", "/METRICS", "*", "/a?b#c"] {
        let status = plain(&server, &format!("GET {path}"), &[]).status;
        assert!(status == 404 || status == 400, "{path}: {status}");
    }
    assert_eq!(plain(&server, "GET /-/ready?group=%ff%00%&engine=", &[]).status, 404);
    assert_eq!(plain(&server, "GET http://elsewhere/-/healthy", &[]).status, 200, "as through a proxy");
    assert_eq!(plain(&server, "GET /metrics", &["Host: a, b", "Host: \"\""]).status, 200);
}

#[test]
fn a_head_is_answered_like_its_get_compressed_or_not() {
    let server = start(None).unwrap();
    for encoding in ["Accept-Encoding: gzip", "Accept-Encoding: identity"] {
        let head = plain(&server, "HEAD /api/v1/status", &[encoding]);
        let get = plain(&server, "GET /api/v1/status", &[encoding]);
        assert_eq!((head.status, head.header("content-length")), (get.status, get.header("content-length")));
        assert!(head.body.is_empty());
    }
}

#[test]
fn incidents_are_json() {
    let server = start(None).unwrap();
    let answer = plain(&server, "GET /api/v1/incidents", &[]);
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    serde_json::from_slice::<serde_json::Value>(&answer.body).unwrap();
}

#[test]
fn http_on_a_tls_port_is_told_so() {
    let authority = Authority::new();
    let server = start(Some(&authority.configure(TLS))).unwrap();
    let answer = once(server.address(), None, "GET /metrics", &[]).unwrap();
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("HTTP request to an HTTPS server"));
    let mut garbage = connect(server.address()).unwrap();
    garbage.write_all(&[0x16, 0xff, 0xff, 0xff, 0xff, 0xff]).unwrap();
    garbage.shutdown(Shutdown::Write).unwrap();
    assert!(read(&mut garbage, false).is_err());
    assert_eq!(
        once(server.address(), Some(&authority.client(Shows::Nothing)), "GET /metrics", &[]).unwrap().status,
        200
    );
}

#[test]
fn a_client_certificate_needs_one_of_the_allowed_names() {
    let authority = Authority::new();
    let ours = authority.client(Shows::Ours);
    for (names, is_let_in) in [
        ("[prometheus.example]", true),
        ("[other.example, spiffe://example/prometheus]", true),
        ("[10.0.0.7]", true),
        ("[10.0.0.8, example, PROMETHEUS.EXAMPLE, '*.example']", false),
        ("[]", false),
    ] {
        let auth = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n";
        let file = authority.configure(&format!("{TLS}{auth}  client_allowed_sans: {names}\n"));
        let server = start(Some(&file)).unwrap();
        let answer = once(server.address(), Some(&ours), "GET /metrics", &[]);
        assert_eq!(answer.is_ok_and(|answer| answer.status == 200), is_let_in, "{names}");
    }
}

#[test]
fn certificate_and_key_may_stand_in_the_file_itself() {
    let authority = Authority::new();
    let inside = |name: &str| {
        let text = std::fs::read_to_string(authority.path(name)).unwrap();
        text.lines().map(|line| format!("    {line}\n")).collect::<String>()
    };
    let yaml = format!(
        "tls_server_config:\n  cert: |\n{}  key: |\n{}  client_ca: |\n{}  client_auth_type: RequireAndVerifyClientCert\n",
        inside("server.pem"),
        inside("server.key"),
        inside("ca.pem")
    );
    let server = start(Some(&authority.configure(&yaml))).unwrap();
    let get = |shows| once(server.address(), Some(&authority.client(shows)), "GET /metrics", &[]);
    assert_eq!(get(Shows::Ours).unwrap().status, 200);
    assert!(get(Shows::Nothing).is_err());
}

#[test]
fn a_certificate_that_is_itself_an_authority_is_no_clients() {
    let authority = Authority::new();
    let auth = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n";
    let server = start(Some(&authority.configure(&format!("{TLS}{auth}")))).unwrap();
    let get = |shows| once(server.address(), Some(&authority.client(shows)), "GET /metrics", &[]);
    assert!(get(Shows::Authority).is_err());
    assert_eq!(get(Shows::Ours).unwrap().status, 200);
}
