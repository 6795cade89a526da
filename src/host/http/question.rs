//! What is asked of a server.

use bytes::Bytes;
use hyper::Method;

/// One request.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) json: Bytes,
    pub(super) key: Option<&'a str>,
}

impl<'a> Question<'a> {
    /// A GET of `path`.
    pub fn get(path: &'a str) -> Self {
        Question { method: Method::GET, path, json: Bytes::new(), key: None }
    }

    /// A POST of JSON to `path`. It may arrive twice: where a kept connection ends just then.
    pub fn post(path: &'a str, json: String) -> Self {
        Question { method: Method::POST, path, json: json.into(), key: None }
    }

    /// The same with an API key, where there is one. The key can be read on the way.
    pub fn with_key(self, key: Option<&'a str>) -> Self {
        Question { key, ..self }
    }
}
