//! A server, asked within bounds of time and size.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use tokio::net::UnixStream;

use super::answer::{GetError, Response};
use super::connection::{Answer, Connection};
use super::place::Place;
use super::port::OurPort;
use super::question::Question;
use super::tls;
use crate::host::own_limits;

/// A server that is asked again and again, over one connection as long as it keeps that.
#[derive(Debug)]
pub struct Peer {
    url: String,
    /// Where the peer is; `None`: the URL can't be asked.
    place: Option<Place>,
    ours: OurPort,
    kept: Option<Connection>,
}

impl Peer {
    /// The peer at `url`: `http://host:port`, `https://host:port` or `unix:/absolute/path`. Does not connect yet.
    pub fn new(url: &str) -> Peer {
        Peer { url: url.to_owned(), place: Place::parse(url), ours: OurPort::default(), kept: None }
    }

    /// The local port of the TCP connection that it holds or is opening, also while it is asking.
    pub fn ours(&self) -> OurPort {
        self.ours.clone()
    }

    /// GETs `path`: connection, head and body all within `timeout`, at most `limit` bytes of body.
    pub async fn get(&mut self, path: &str, timeout: Duration, limit: usize) -> Result<Response, GetError> {
        self.whole(Question::get(path), timeout, limit).await
    }

    /// POSTs JSON to `path`, with the bounds of [`Peer::get`].
    pub async fn post(
        &mut self,
        path: &str,
        json: String,
        timeout: Duration,
        limit: usize,
    ) -> Result<Response, GetError> {
        self.whole(Question::post(path, json), timeout, limit).await
    }

    /// Asks, with the bounds of [`Peer::get`].
    pub async fn whole(
        &mut self,
        question: Question<'_>,
        timeout: Duration,
        limit: usize,
    ) -> Result<Response, GetError> {
        let whole = async {
            let answer = self.ask(question).await?;
            self.rest(answer, limit).await
        };
        match tokio::time::timeout(timeout, whole).await {
            Ok(answered) => answered,
            Err(_) => Err(self.timed_out(timeout)),
        }
    }

    /// GETs `path`, all within `timeout`, and hands the body of a 200 to `take` in pieces, until it fails. Tells
    /// the status. The body of any other answer is not read.
    pub async fn read<E: From<GetError>>(
        &mut self,
        path: &str,
        timeout: Duration,
        take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<u16, E> {
        Ok(self.stream(Question::get(path), timeout, 0, take).await?.status)
    }

    /// Asks, all within `timeout`, and hands the body of a 200 to `take` in pieces as they come, until it fails; `take`
    /// bounds their sum. Any other answer comes back with at most `limit` bytes of its body; 0: none is read.
    pub async fn stream<E: From<GetError>>(
        &mut self,
        question: Question<'_>,
        timeout: Duration,
        limit: usize,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<Response, E> {
        let streamed = async {
            let mut answer = self.ask(question).await?;
            if answer.status != 200 {
                return Ok(self.rest(answer, limit).await?);
            }
            while let Some(data) = self.piece(&mut answer).await? {
                take(&data)?;
            }
            let status = answer.status;
            self.kept = Some(answer.connection());
            Ok(Response { status, body: Vec::new(), cut: false })
        };
        match tokio::time::timeout(timeout, streamed).await {
            Ok(streamed) => streamed,
            Err(_) => Err(self.timed_out(timeout).into()),
        }
    }

    /// The body up to `limit` bytes; the connection is kept where that was all.
    async fn rest(&mut self, mut answer: Answer, limit: usize) -> Result<Response, GetError> {
        let (status, mut body) = (answer.status, Vec::new());
        if limit == 0 {
            return Ok(Response { status, body, cut: true });
        }
        while let Some(data) = self.piece(&mut answer).await? {
            let room = limit - body.len();
            body.extend_from_slice(&data[..data.len().min(room)]);
            if data.len() > room {
                return Ok(Response { status, body, cut: true });
            }
        }
        self.kept = Some(answer.connection());
        Ok(Response { status, body, cut: false })
    }

    async fn piece(&self, answer: &mut Answer) -> Result<Option<Bytes>, GetError> {
        answer.piece().await.map_err(|source| self.malformed(source))
    }

    /// Asks, and waits for the head. A kept connection may have ended by now, which says nothing: then a new
    /// one is asked.
    async fn ask(&mut self, question: Question<'_>) -> Result<Answer, GetError> {
        let place = self.place.clone().ok_or_else(|| self.no_url())?;
        let request = self.request(&place, question)?;
        if let Some(kept) = self.kept.take()
            && let Ok(answer) = kept.ask_again(request.clone()).await
        {
            return Ok(answer);
        }
        let connection = self.connect(&place).await?;
        connection.ask(request).await.map_err(|source| self.malformed(source))
    }

    fn request(&self, place: &Place, question: Question<'_>) -> Result<Request<Full<Bytes>>, GetError> {
        let mut request = Request::builder()
            .method(question.method)
            .uri(question.path)
            .header(HOST, place.host_header())
            .header(USER_AGENT, concat!("mpswarden/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, "text/plain, */*;q=0.5");
        if !question.json.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(key) = question.key {
            request = request.header(AUTHORIZATION, format!("Bearer {key}"));
        }
        request.body(Full::new(question.json)).map_err(|_| self.no_url())
    }

    async fn connect(&self, place: &Place) -> Result<Connection, GetError> {
        let refused = |source| match place.to_string() {
            authority if own_limits::is_ours(&source) => GetError::NotAsked { authority, source },
            authority => GetError::Refused { authority, source },
        };
        let made = match place {
            Place::Unix(path) => Connection::over(UnixStream::connect(path).await.map_err(refused)?, None).await,
            Place::Tcp { host, port, tls } => {
                let (stream, held) = self.ours.connect(host, *port).await.map_err(refused)?;
                if !tls {
                    Connection::over(stream, Some(held)).await
                } else {
                    let no_tls = |source| GetError::Tls { url: self.url.clone(), source };
                    Connection::over(tls::over(stream, host).await.map_err(no_tls)?, Some(held)).await
                }
            }
        };
        made.map_err(|source| self.malformed(source))
    }

    fn no_url(&self) -> GetError {
        GetError::Url { url: self.url.clone() }
    }

    fn malformed(&self, source: hyper::Error) -> GetError {
        GetError::Malformed { url: self.url.clone(), source }
    }

    fn timed_out(&self, timeout: Duration) -> GetError {
        GetError::Timeout { url: self.url.clone(), timeout }
    }
}
