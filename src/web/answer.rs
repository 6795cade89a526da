//! How an answer looks: its status, headers and body. What is in it is `site`'s.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, RETRY_AFTER, VARY,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};
use tokio::sync::OwnedSemaphorePermit;

/// How much of a page is handed to a connection at once, so that a slow reader keeps its place.
const CHUNK: usize = 64 * 1024;
/// The page carries its own style and script, and fetches from here alone.
const ONLY_FROM_HERE: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                              connect-src 'self'; img-src data:";

/// An answer's body. It keeps its place among the requests until the connection has taken it all.
pub struct Page {
    left: Bytes,
    _place: Option<OwnedSemaphorePermit>,
}

/// An answer without headers of its own.
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The content's type.
    pub content: &'static str,
    /// The body.
    pub body: Bytes,
    /// Whether the body is compressed.
    pub zipped: bool,
}

/// The type of Prometheus' text format.
pub const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
/// The type of a page for people.
pub const HTML: &str = "text/html; charset=utf-8";
/// The type of a document for programs.
pub const JSON: &str = "application/json";

/// The answer to a wrong password or none.
pub(super) fn unauthorized() -> Response<Page> {
    let mut response = Answer::text(StatusCode::UNAUTHORIZED, "Unauthorized").page(None);
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
    response
}

/// The answer where passwords come faster than they can be checked.
pub(super) fn too_many_passwords() -> Response<Page> {
    let mut response = Answer::unavailable("too many passwords wait to be checked: try again".to_owned()).page(None);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// What was asked for, or why it can't be given.
pub fn json(what: &str, made: Result<Bytes, serde_json::Error>) -> Answer {
    match made {
        Ok(body) => Answer::found(JSON, body),
        Err(error) => Answer::text(StatusCode::INTERNAL_SERVER_ERROR, format!("the {what} can't be written: {error}")),
    }
}

impl Answer {
    /// A sentence.
    pub fn text(status: StatusCode, sentence: impl Into<String>) -> Answer {
        let mut sentence = sentence.into();
        sentence.push('\n');
        Answer { status, content: TEXT, body: sentence.into(), zipped: false }
    }

    /// What was asked for.
    pub fn found(content: &'static str, body: impl Into<Bytes>) -> Answer {
        Answer { status: StatusCode::OK, content, body: body.into(), zipped: false }
    }

    /// It can't be answered now.
    pub fn unavailable(sentence: impl Into<String>) -> Answer {
        Answer::text(StatusCode::SERVICE_UNAVAILABLE, sentence)
    }

    /// The response with its headers; `place` is given back once the connection has taken it all.
    pub fn page(self, place: Option<OwnedSemaphorePermit>) -> Response<Page> {
        let mut response = Response::new(Page { left: self.body, _place: place });
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if self.zipped {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if self.content == HTML {
            headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(ONLY_FROM_HERE));
        }
        response
    }
}

impl Body for Page {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let most = CHUNK.min(self.left.len());
        let next = self.left.split_to(most);
        Poll::Ready((!next.is_empty()).then(|| Ok(Frame::data(next))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_large_page_is_handed_over_in_pieces_that_add_up() {
        let mut page = Page { left: Bytes::from(vec![b'x'; CHUNK * 2 + 1]), _place: None };
        let mut sizes = Vec::new();
        let mut context = Context::from_waker(std::task::Waker::noop());
        while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut page).poll_frame(&mut context) {
            sizes.push(frame.into_data().unwrap().len());
        }
        assert_eq!(sizes, [CHUNK, CHUNK, 1]);
        assert!(page.is_end_stream());
    }
}
