//! What a wrong web.config.yml is answered with: the line and the cure.

use std::fs;
use std::process::Command;

use super::authority::Authority;
use super::server;

const TLS: &str = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n";

/// Why the file is refused, without its folder.
fn refused(authority: &Authority, yaml: &str) -> String {
    let path = authority.configure(yaml);
    let problem = server::start(Some(&path)).err().unwrap_or_else(|| panic!("taken: {yaml}"));
    problem.to_string().replace(&format!("{}/", authority.folder.path().display()), "")
}

#[test]
fn a_wrong_file_is_refused_with_its_line_and_a_hint() {
    let authority = Authority::new();
    for (yaml, place, hint) in [
        ("tls_server_confg:\n  cert_file: x\n", "web.config.yml:1", "tls_server_config"),
        ("\ntls_server_config:\n  cert_fil: x\n", "web.config.yml:3", "cert_file"),
        ("basic_auth_users:\n  ann: secret\n", "web.config.yml:2", "htpasswd"),
        (
            "basic_auth_users:\n  ann: $2y$19$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG\n",
            "web.config.yml:2",
            "cost 19",
        ),
        ("http_server_config:\n  headers:\n    X-Powered-By: x\n", "web.config.yml:3", "X-Frame-Options"),
        ("http_server_config:\n  headers:\n    X-Frame-Options: allow\n", "web.config.yml:3", "deny or sameorigin"),
        ("http_server_config:\n  headers:\n    X-XSS-Protection: \"a\\nb\"\n", "web.config.yml:3", "visible ASCII"),
        ("rate_limit:\n  interval: 1s\n  burst: 5\n", "web.config.yml", "leave it out"),
        ("tls_server_config:\n  cert_file: server.pem\n", "web.config.yml", "key_file"),
        ("tls_server_config:\n  min_version: TLS12\n", "web.config.yml", "cert_file"),
        ("a: [", "web.config.yml", "docs/web.md"),
        ("- a\n", "web.config.yml", "docs/web.md"),
        ("basic_auth_users: 5\n", "web.config.yml", "docs/web.md"),
    ] {
        let told = refused(&authority, yaml);
        assert!(told.starts_with(place) && told.contains(hint), "{yaml:?}: {told}");
    }
}

#[test]
fn what_tls_cannot_do_is_refused_and_not_ignored() {
    let authority = Authority::new();
    for (lines, hint) in [
        ("min_version: TLS10", "TLS12 or TLS13"),
        ("max_version: SSL3", "TLS12 or TLS13"),
        ("min_version: TLS13\n  max_version: TLS12", "no TLS version is left"),
        ("cipher_suites: [TLS_RSA_WITH_AES_128_GCM_SHA256]", "neither RSA key exchange nor CBC"),
        ("cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA]", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
        ("cipher_suites: [TLS_AES_128_GCM_SHA256]\n  max_version: TLS12", "no TLS version is left"),
        ("curve_preferences: [CurveP521]", "X25519"),
        ("client_auth_type: Always", "RequireAndVerifyClientCert"),
        ("client_auth_type: RequireAndVerifyClientCert", "client_ca_file"),
        ("client_ca_file: ca.pem", "client_auth_type"),
        ("client_auth_type: RequestClientCert\n  client_allowed_sans: [a]", "RequireAnyClientCert"),
        ("client_allowed_sans: [a]", "client_auth_type"),
        ("client_auth_type: RequireAnyClientCert\n  client_allowed_sans: [ann@example.com]", "e-mail"),
        ("client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: server.key", "no certificate"),
        ("client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: missing.pem", "can't be read"),
        ("client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: .", "not a regular file"),
    ] {
        let told = refused(&authority, &format!("{TLS}  {lines}\n"));
        assert!(told.contains(hint), "{lines:?}: {told}");
    }
}

#[test]
fn a_key_that_belongs_to_another_certificate_is_refused() {
    let authority = Authority::new();
    let before = fs::read(authority.path("server.key")).unwrap();
    authority.renew_server();
    fs::write(authority.path("server.key"), before).unwrap();
    let told = refused(&authority, TLS);
    assert!(told.starts_with("web.config.yml:3") && told.contains("don't serve together"), "{told}");
}

#[test]
fn no_secret_is_told_with_a_problem() {
    let authority = Authority::new();
    let told = refused(&authority, "basic_auth_users:\n  ann: hunter2hunter2\n  bob: [hunter2hunter2]\n");
    assert!(!told.contains("hunter2"), "{told}");
    let told = refused(&authority, "basic_auth_users:\n  ann: hunter2hunter2\n");
    assert!(!told.contains("hunter2"), "{told}");
}

#[test]
fn the_program_ends_with_78_before_anything_is_started() {
    let authority = Authority::new();
    let file = authority.configure("tls_server_config:\n  cert: x\n  hurry: true\n");
    let mut demo = Command::new(env!("CARGO_BIN_EXE_mpswarden"));
    demo.args(["demo", "--engines", "1", "--web.listen-address", "127.0.0.1:0", "--web.config.file"]).arg(&file);
    let ended = demo.output().unwrap();
    let told = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(78), "{told}");
    assert!(told.contains("web.config.yml:3: ") && told.contains("hurry"), "{told}");
}

#[test]
fn a_missing_or_huge_file_is_refused() {
    let authority = Authority::new();
    let missing = authority.path("missing.yml");
    assert!(server::start(Some(&missing)).err().unwrap().to_string().contains("can't be read"));
    let told = refused(&authority, &"# comment\n".repeat(500_000));
    assert!(told.contains("over 4 MiB"), "{told}");
}
