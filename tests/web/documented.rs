//! The examples of docs/web.md are what they say.

use std::fs;
use std::process::Command;

use super::authority::{Authority, Shows};
use super::client::once;
use super::server::start;
use crate::support::needs;

/// The block after a comment that names it.
fn example(name: &str) -> &'static str {
    let page = include_str!("../../docs/web.md");
    let (_, rest) = page.split_once(&format!("<!-- {name} -->\n```yaml\n")).unwrap();
    rest.split_once("```").unwrap().0
}

#[test]
fn the_example_serves_who_has_a_certificate_and_asks_for_a_password() {
    let authority = Authority::new();
    let server = start(Some(&authority.configure(example("web.config.yml")))).unwrap();
    let get = |shows| once(server.address(), Some(&authority.client(shows)), "GET /metrics", &[]);
    assert_eq!(get(Shows::Ours).unwrap().status, 401);
    assert!(get(Shows::Nothing).is_err());
}

#[test]
fn prometheus_takes_its_example() {
    let Some(promtool) = needs::program("promtool", "prometheus") else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("prometheus.yml");
    fs::write(&file, example("prometheus.yml")).unwrap();
    for name in ["ca.pem", "client.pem", "client.key", "password"] {
        fs::write(folder.path().join(name), "").unwrap();
    }
    let checked = Command::new(promtool).args(["check", "config", "--syntax-only"]).arg(&file).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}
