//! Where a server listens, as a URL says it. Pure.

use std::fmt;
use std::path::PathBuf;

use hyper::Uri;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Tcp {
        /// IPv6 in brackets.
        host: String,
        port: u16,
        tls: bool,
    },
    Unix(PathBuf),
}

impl Place {
    /// `http://host[:80]`, `https://host[:443]`, `unix:/absolute/path`; `None` for anything else.
    pub(super) fn parse(url: &str) -> Option<Place> {
        if let Some(path) = url.strip_prefix("unix:") {
            return path.starts_with('/').then(|| Place::Unix(path.into()));
        }
        let uri: Uri = url.parse().ok()?;
        let (tls, usual) = match uri.scheme_str()? {
            "http" => (false, 80),
            "https" => (true, 443),
            _ => return None,
        };
        Some(Place::Tcp { host: uri.host()?.to_owned(), port: uri.port_u16().unwrap_or(usual), tls })
    }

    /// What a request calls it.
    pub(super) fn host_header(&self) -> String {
        match self {
            Place::Tcp { .. } => self.to_string(),
            Place::Unix(_) => "localhost".to_owned(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Tcp { host, port, .. } => write!(f, "{host}:{port}"),
            Place::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_host_and_a_port_or_a_socket() {
        let tcp = |host: &str, port, tls| Some(Place::Tcp { host: host.into(), port, tls });
        assert_eq!(Place::parse("http://127.0.0.1:8001"), tcp("127.0.0.1", 8001, false));
        assert_eq!(Place::parse("https://engine"), tcp("engine", 443, true));
        assert_eq!(Place::parse("http://[::1]:8001"), tcp("[::1]", 8001, false));
        assert_eq!(Place::parse("unix:/run/e.sock"), Some(Place::Unix("/run/e.sock".into())));
        for url in ["", "127.0.0.1:1", "http://", "ftp://h:1", "unix:", "unix:e.sock", "unix"] {
            assert_eq!(Place::parse(url), None, "{url}");
        }
    }

    #[test]
    fn a_request_names_its_host_and_one_over_a_socket_names_this_machine() {
        let named = |url| Place::parse(url).map(|place| place.host_header());
        assert_eq!(named("http://[::1]:8001").as_deref(), Some("[::1]:8001"));
        assert_eq!(named("unix:/run/e.sock").as_deref(), Some("localhost"));
    }
}
