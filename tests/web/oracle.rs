//! node_exporter with the same web.config.yml takes and refuses the same files, and answers the same
//! requests with the same status.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::authority::{Authority, Shows};
use super::client::{Answer, once, password};
use super::server;
use crate::support::needs;

const TLS: &str = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n";

/// A running node_exporter; it ends when dropped.
struct Oracle {
    child: Child,
    address: SocketAddr,
}

impl Drop for Oracle {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// The answers of the reference; `None`: it refused the file.
fn oracle(program: &Path, file: &Path) -> Option<Oracle> {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut child = Command::new(program)
        .args(["--collector.disable-defaults", &format!("--web.listen-address={address}")])
        .arg(format!("--web.config.file={}", file.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It listens before it has read the file, and says last whether TLS is on.
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let serves = log.any(|line| line.contains("TLS is "));
    let oracle = Oracle { child, address };
    // Its log is read on, or it would stop at a full pipe.
    std::thread::spawn(move || log.for_each(drop));
    serves.then_some(oracle)
}

/// Files that both take, or both refuse.
fn files(hash: &str) -> Vec<(String, bool)> {
    let tls = |lines: &str| format!("{TLS}  {lines}\n");
    let auth = |kind: &str| tls(&format!("client_auth_type: {kind}\n  client_ca_file: ca.pem"));
    let headers = |lines: &str| format!("http_server_config:\n  headers:\n    {lines}\n");
    let users = |lines: &str| format!("basic_auth_users:\n  {lines}\n");
    let good = [
        String::new(),
        "# nothing\n".to_owned(),
        "{}\n".to_owned(),
        "tls_server_config: {}\nhttp_server_config:\nbasic_auth_users: {}\n".to_owned(),
        TLS.to_owned(),
        auth("RequestClientCert"),
        auth("RequireAnyClientCert"),
        auth("RequireClientCert"),
        auth("VerifyClientCertIfGiven"),
        auth("RequireAndVerifyClientCert"),
        tls("client_auth_type: NoClientCert"),
        tls("client_auth_type: ''"),
        tls("client_auth_type: RequireAnyClientCert"),
        tls("min_version: TLS12\n  max_version: TLS12"),
        tls("min_version: TLS13"),
        tls("cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]"),
        tls("cipher_suites:\n  - TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256\n  - TLS_AES_128_GCM_SHA256"),
        tls("cipher_suites: []\n  curve_preferences: []"),
        tls("curve_preferences: [X25519, CurveP256, CurveP384]"),
        tls("prefer_server_cipher_suites: false"),
        "http_server_config:\n  http2: false\n".to_owned(),
        "http_server_config:\n  http2: true\n".to_owned(),
        headers("X-Frame-Options: deny\n    X-Content-Type-Options: nosniff\n    X-XSS-Protection: 1; mode=block"),
        headers("Strict-Transport-Security: max-age=31536000\n    Content-Security-Policy: default-src 'self'"),
        users(&format!("ann: {hash}\n  bob: \"{hash}\"\n  12: '{hash}'")),
    ];
    let bad = [
        "tls: {}\n".to_owned(),
        "tls_server_config: [a]\n".to_owned(),
        "not yaml: [\n".to_owned(),
        "text\n".to_owned(),
        format!("{TLS}{TLS}"),
        tls("cert_file: server.pem"),
        tls("certfile: x"),
        tls("client_auth_type: requireandverifyclientcert"),
        tls("client_ca_file: ca.pem"),
        tls("client_auth_type: NoClientCert\n  client_ca_file: ca.pem"),
        tls("client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: missing.pem"),
        tls("min_version: TLS99"),
        tls("max_version: 1.2"),
        tls("cipher_suites: [TLS_BEST]"),
        tls("cipher_suites: TLS_AES_128_GCM_SHA256\n  min_version: {}"),
        tls("curve_preferences: [CurveP999]"),
        tls("prefer_server_cipher_suites: maybe"),
        "tls_server_config:\n  cert_file: server.pem\n".to_owned(),
        "tls_server_config:\n  key_file: server.key\n".to_owned(),
        "tls_server_config:\n  cert_file: missing.pem\n  key_file: server.key\n".to_owned(),
        "tls_server_config:\n  cert_file: ca.pem\n  key_file: server.key\n".to_owned(),
        "tls_server_config:\n  cert_file: server.key\n  key_file: server.pem\n".to_owned(),
        "tls_server_config:\n  client_auth_type: RequireAndVerifyClientCert\n".to_owned(),
        "http_server_config:\n  http3: true\n".to_owned(),
        headers("X-Powered-By: x"),
        headers("x-frame-options: deny"),
        headers("X-Frame-Options: allow"),
        headers("X-Frame-Options: ''"),
        users("ann: secret"),
        users("ann: ''"),
        users(&format!("ann: [{hash}]")),
        users("ann: $2y$99$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG"),
    ];
    good.into_iter().map(|yaml| (yaml, true)).chain(bad.into_iter().map(|yaml| (yaml, false))).collect()
}

#[test]
fn the_same_files_are_taken_and_refused() {
    let Some(program) = needs::program("prometheus-node-exporter", "prometheus-node-exporter") else { return };
    let authority = Authority::new();
    let mut differ = Vec::new();
    for (yaml, is_good) in files(&bcrypt::hash("secret", 4).unwrap()) {
        let file = authority.configure(&yaml);
        let ours = server::start(Some(&file));
        let theirs = oracle(&program, &file).is_some();
        if (ours.is_ok(), theirs) != (is_good, is_good) {
            differ.push(format!("ours {:?}, theirs {theirs}, expected {is_good}:\n{yaml}", ours.err()));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

#[test]
fn what_only_the_toolkit_takes_is_refused_with_a_sentence() {
    let Some(program) = needs::program("prometheus-node-exporter", "prometheus-node-exporter") else { return };
    let authority = Authority::new();
    for lines in [
        "min_version: TLS10",
        "max_version: TLS11",
        "min_version: TLS13\n  max_version: TLS12",
        "cipher_suites: [TLS_RSA_WITH_AES_128_GCM_SHA256]",
        "cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA]",
        "curve_preferences: [CurveP521]",
        "client_auth_type: RequireAndVerifyClientCert",
        "client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: server.key",
    ] {
        let file = authority.configure(&format!("{TLS}  {lines}\n"));
        assert!(oracle(&program, &file).is_some(), "{lines}");
        assert!(server::start(Some(&file)).is_err(), "{lines}");
    }
}

/// What a client does.
struct Try {
    shows: Option<Shows>,
    request: &'static str,
    headers: Vec<String>,
}

fn tries(tls: bool) -> Vec<Try> {
    let shown: &[Option<Shows>] = match tls {
        true => &[Some(Shows::Nothing), Some(Shows::Ours), Some(Shows::Strange)],
        false => &[None],
    };
    let headers = [
        vec![],
        vec![password("ann", "secret")],
        vec![password("ann", "wrong")],
        vec![password("ann", "")],
        vec![password("nobody", "secret")],
        vec!["Authorization: Basic %%%".to_owned()],
        vec!["Authorization: Bearer abc".to_owned()],
        vec![password("ann", "secret").replace("Basic", "bASIC")],
    ];
    let of_one = |shows: Option<Shows>| {
        let with = move |headers: &Vec<String>| Try { shows, request: "GET /metrics", headers: headers.clone() };
        let mut tries: Vec<Try> = headers.iter().map(with).collect();
        tries.push(Try { shows, request: "GET /-/healthy", headers: vec![] });
        tries
    };
    shown.iter().copied().flat_map(of_one).collect()
}

/// What both must say alike. /-/healthy is there in one of them only: whether a password was asked for is compared.
fn said(answer: std::io::Result<Answer>, request: &str) -> Vec<String> {
    let Ok(answer) = answer else { return vec!["no answer".to_owned()] };
    let status = match answer.status {
        200 | 404 if request.ends_with("healthy") => "let in".to_owned(),
        status => status.to_string(),
    };
    let names = ["x-frame-options", "x-xss-protection", "strict-transport-security", "www-authenticate"];
    let headers = names.map(|name| format!("{name}: {:?}", answer.header(name)));
    [vec![status], headers.to_vec()].concat()
}

#[test]
fn the_same_requests_get_the_same_status() {
    let Some(program) = needs::program("prometheus-node-exporter", "prometheus-node-exporter") else { return };
    let authority = Authority::new();
    let users = format!("basic_auth_users:\n  ann: {}\n", bcrypt::hash("secret", 4).unwrap());
    let headers = "http_server_config:\n  headers:\n    X-Frame-Options: deny\n    X-XSS-Protection: 0\n    Strict-Transport-Security: max-age=9\n";
    let mut files = vec![users.clone(), format!("{users}{headers}"), format!("{TLS}{users}{headers}")];
    for kind in ["RequestClientCert", "RequireAnyClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert"] {
        files.push(format!("{TLS}  client_auth_type: {kind}\n  client_ca_file: ca.pem\n{users}"));
    }
    let clients = [Shows::Nothing, Shows::Ours, Shows::Strange].map(|shows| (shows, authority.client(shows)));
    let mut differ = Vec::new();
    for yaml in files {
        let file = authority.configure(&yaml);
        let ours = server::start(Some(&file)).unwrap();
        let theirs = oracle(&program, &file).unwrap();
        for Try { shows, request, headers } in tries(yaml.starts_with(TLS)) {
            let tls = clients.iter().find(|(shown, _)| Some(*shown) == shows).map(|(_, client)| client);
            let from = |address| said(once(address, tls, request, &headers), request);
            let (ours, theirs) = (from(ours.address()), from(theirs.address));
            if ours != theirs {
                differ.push(format!("{request} {headers:?} {shows:?}: ours {ours:?}, theirs {theirs:?}:\n{yaml}"));
            }
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}
