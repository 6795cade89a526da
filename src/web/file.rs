//! The shape of web.config.yml, as read; what its values mean is for others to say. Unknown keys,
//! duplicates and wrong types are refused here.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_saphyr::Spanned;

use super::problem::Problem;
use crate::files::{self, Links};

/// Most bytes of a file: more than any certificate chain or list of users; a larger one is a mistake.
const LARGEST: u64 = 4 * 1024 * 1024;

/// A string and its line.
pub(super) type Text = Spanned<String>;

/// The whole file. What is absent, null or empty is not set, as in the toolkit.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Document {
    pub tls_server_config: Option<TlsSection>,
    pub http_server_config: Option<HttpSection>,
    pub basic_auth_users: Option<BTreeMap<String, Text>>,
    pub rate_limit: Option<Spanned<IgnoredAny>>,
}

/// The section `tls_server_config`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TlsSection {
    pub cert: Option<Text>,
    pub key: Option<Text>,
    pub client_ca: Option<Text>,
    pub cert_file: Option<Text>,
    pub key_file: Option<Text>,
    pub client_ca_file: Option<Text>,
    pub client_auth_type: Option<Text>,
    pub client_allowed_sans: Option<Vec<Text>>,
    pub cipher_suites: Option<Vec<Text>>,
    pub curve_preferences: Option<Vec<Text>>,
    pub min_version: Option<Text>,
    pub max_version: Option<Text>,
    pub prefer_server_cipher_suites: Option<bool>,
}

/// `http_server_config`. `http2` allows what is never used: mpswarden speaks HTTP/1.1.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HttpSection {
    #[serde(rename = "http2")]
    pub _http2: Option<bool>,
    pub headers: Option<BTreeMap<String, Text>>,
}

/// The file and its directory: names the place of a problem, and finds files that are named relative to it.
pub(super) struct Origin<'a> {
    pub path: &'a Path,
}

impl Origin<'_> {
    /// Reads the file; an empty one sets nothing.
    pub(super) fn read(&self) -> Result<Document, Problem> {
        let bytes = read_bounded(self.path)
            .map_err(|error| self.refuse_whole(format!("can't be read: {error}; see --web.config.file")))?;
        let text = String::from_utf8(bytes).map_err(|_| self.refuse_whole("is no UTF-8: save it as such"))?;
        // No snippets: they would show keys and hashes in the log.
        let options = serde_saphyr::options! { with_snippet: false };
        let document: Option<Document> = serde_saphyr::from_str_with_options(&text, options).map_err(|error| {
            let line = error.location().map_or(0, |location| location.line());
            let what = format!("{error}; docs/web.md lists every key");
            Problem::at(self.path, line, what)
        })?;
        let document = document.unwrap_or_default();
        match &document.rate_limit {
            Some(limit) => Err(self.refuse(
                limit,
                "rate_limit is not supported: at most 40 requests are answered at once in any case; leave it out",
            )),
            None => Ok(document),
        }
    }

    /// The path of a file that the configuration names.
    pub(super) fn beside(&self, name: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(name)
    }

    /// The bytes of a file that the configuration names in `key`.
    pub(super) fn read_named(&self, key: &str, name: &Text) -> Result<Vec<u8>, Problem> {
        let path = self.beside(&name.value);
        read_bounded(&path).map_err(|error| {
            self.refuse(
                name,
                format!("{key} {} can't be read: {error}; it must be a file that this user may read", path.display()),
            )
        })
    }

    pub(super) fn refuse<T>(&self, at: &Spanned<T>, what: impl Into<String>) -> Problem {
        Problem::at(self.path, at.referenced.line(), what)
    }

    pub(super) fn refuse_whole(&self, what: impl Into<String>) -> Problem {
        Problem::at(self.path, 0, what)
    }
}

impl TlsSection {
    /// Whether any key is given.
    pub(super) fn is_set(&self) -> bool {
        let texts = [
            &self.cert,
            &self.key,
            &self.client_ca,
            &self.cert_file,
            &self.key_file,
            &self.client_ca_file,
            &self.client_auth_type,
            &self.min_version,
            &self.max_version,
        ];
        let lists = [&self.client_allowed_sans, &self.cipher_suites, &self.curve_preferences];
        texts.iter().any(|text| given(text).is_some())
            || lists.iter().any(|list| list.is_some())
            || self.prefer_server_cipher_suites.is_some()
    }

    /// The files it names.
    pub(super) fn files(&self) -> impl Iterator<Item = &Text> {
        [&self.cert_file, &self.key_file, &self.client_ca_file].into_iter().filter_map(|file| given(file))
    }
}

/// A value that is there and not empty.
pub(super) fn given(text: &Option<Text>) -> Option<&Text> {
    text.as_ref().filter(|text| !text.value.is_empty())
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    files::read(path, Links::Followed, LARGEST)
}
