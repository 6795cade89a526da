//! What a web.config.yml asks for, checked and ready to use. It reads the files that it names.

use std::path::Path;
use std::sync::Arc;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use rustls::ServerConfig;

use super::file::{Document, HttpSection, Origin, Text};
use super::passwords::Users;
use super::problem::Problem;
use super::stamp::Stamp;
use super::tls;

/// The headers that may be set, and the values that they may have; none: any.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
    ("Content-Security-Policy", &[]),
];

/// How connections and requests are treated. The default: plain HTTP for everyone.
#[derive(Clone, Default)]
pub struct Policy {
    /// TLS settings; where they are set, TLS only.
    pub tls: Option<Arc<ServerConfig>>,
    /// Put on every answer.
    pub headers: HeaderMap,
    pub(super) users: Users,
    pub(super) locks: Locks,
}

/// What keeps strangers out. A running server never gives one of them up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Locks {
    pub tls: bool,
    pub client_certificates: bool,
    pub passwords: bool,
}

/// One reading of the file: what it gave, and by which files a change is seen.
pub(super) struct Loaded {
    pub stamps: Vec<Stamp>,
    pub policy: Result<Policy, Problem>,
}

impl Loaded {
    /// Reads the file and all that it names. Stamps are taken first, so that a change meanwhile is seen later.
    pub(super) fn from(path: &Path) -> Loaded {
        let origin = Origin { path };
        let mut stamps = vec![Stamp::of(path)];
        let policy = origin.read().and_then(|document| {
            let named = document.tls_server_config.iter().flat_map(|section| section.files());
            stamps.extend(named.map(|file| Stamp::of(&origin.beside(&file.value))));
            Policy::new(&document, &origin)
        });
        Loaded { stamps, policy }
    }
}

impl Policy {
    fn new(document: &Document, origin: &Origin<'_>) -> Result<Policy, Problem> {
        let section = document.tls_server_config.as_ref().filter(|section| section.is_set());
        let tls = section.map(|section| tls::server(section, origin)).transpose()?;
        let headers = headers(document.http_server_config.as_ref(), origin)?;
        let users = match &document.basic_auth_users {
            Some(users) => Users::new(users, origin)?,
            None => Users::default(),
        };
        let locks = Locks {
            tls: tls.is_some(),
            client_certificates: tls.as_ref().is_some_and(|tls| tls.demands_certificate),
            passwords: !users.is_empty(),
        };
        Ok(Policy { tls: tls.map(|tls| tls.config), headers, users, locks })
    }
}

impl Locks {
    /// What the newer ones would give up, in words.
    pub(super) fn given_up_by(self, newer: Locks) -> Option<&'static str> {
        match (self, newer) {
            (Locks { tls: true, .. }, Locks { tls: false, .. }) => Some("TLS"),
            (Locks { client_certificates: true, .. }, Locks { client_certificates: false, .. }) => {
                Some("the demand for client certificates")
            }
            (Locks { passwords: true, .. }, Locks { passwords: false, .. }) => Some("all passwords"),
            _ => None,
        }
    }
}

fn headers(section: Option<&HttpSection>, origin: &Origin<'_>) -> Result<HeaderMap, Problem> {
    let mut map = HeaderMap::new();
    for (name, value) in section.iter().filter_map(|section| section.headers.as_ref()).flatten() {
        let (name, value) = header(name, value, origin)?;
        if !value.is_empty() {
            map.insert(name, value);
        }
    }
    Ok(map)
}

fn header(name: &str, value: &Text, origin: &Origin<'_>) -> Result<(HeaderName, HeaderValue), Problem> {
    let Some((known, values)) = HEADERS.iter().find(|(known, _)| *known == name) else {
        let names = HEADERS.map(|(name, _)| name).join(", ");
        return Err(origin.refuse(value, format!("the header {name:?} can't be set; there are {names}")));
    };
    if !values.is_empty() && !values.contains(&value.value.as_str()) {
        return Err(origin.refuse(value, format!("{name} can't be {:?}, only {}", value.value, values.join(" or "))));
    }
    let name = HeaderName::from_bytes(known.as_bytes());
    match (name, HeaderValue::from_str(&value.value)) {
        (Ok(name), Ok(value)) => Ok((name, value)),
        _ => Err(origin.refuse(value, format!("{known} has characters that no header may have: use visible ASCII"))),
    }
}
