//! One connection: TLS where the policy says so, then its requests one after the other, all of it
//! bounded in time and size.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{AUTHORIZATION, HeaderMap};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::answer::{self, Page};
use super::gate::Gate;
use super::pace::{Answering, HEAD_TIMEOUT, Pace};
use super::passwords::Admission;

/// The longest life of a connection, so that a trickle of bytes does not keep one open indefinitely.
const CONNECTION_LIFE: Duration = Duration::from_secs(600);
/// Most bytes of a request's head; a larger one is answered with 431.
const LARGEST_HEAD: usize = 16 * 1024;
/// Most bytes that are written and not yet taken.
const LARGEST_BUFFER: usize = 64 * 1024;
/// The first byte of a TLS handshake.
const TLS_HANDSHAKE: u8 = 0x16;
/// The toolkit's answer to a client that forgot the `s` of https.
const NOT_TLS: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\nConnection: close\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

/// What is answered at which path.
pub trait Site: Send + Sync + 'static {
    /// Answers one request; a HEAD like its GET, the server leaves the body out.
    fn answer(
        self: Arc<Self>,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> impl Future<Output = Response<Page>> + Send;
}

/// What stands behind every connection.
pub(super) struct Front<S> {
    pub site: Arc<S>,
    pub gate: Arc<Gate>,
}

/// Answers one connection until it ends, by itself or by a bound. What clients do wrong is their own affair.
pub(super) async fn converse(stream: TcpStream, front: &Front<impl Site>, pace: &Arc<Pace>) {
    // A page of many segments would else wait 40 ms for a delayed acknowledgement; without it it is only slower.
    let _ = stream.set_nodelay(true);
    tokio::select! {
        () = open(stream, front, pace) => {}
        () = pace.overdue() => {}
    }
}

async fn open(stream: TcpStream, front: &Front<impl Site>, pace: &Arc<Pace>) {
    let Some(config) = front.gate.policy().await.tls.clone() else { return serve(stream, front, pace).await };
    match begins_tls(&stream).await {
        Ok(true) => match TlsAcceptor::from(config).accept(stream).await {
            Ok(stream) => serve(stream, front, pace).await,
            Err(error) => tracing::debug!("a TLS handshake failed: {error}"),
        },
        Ok(false) => refuse_plain(stream).await,
        Err(_) => {}
    }
}

async fn begins_tls(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    Ok(stream.peek(&mut first).await? == 1 && first[0] == TLS_HANDSHAKE)
}

async fn refuse_plain(mut stream: TcpStream) {
    // Whether it arrives is the client's affair.
    let _ = stream.write_all(NOT_TLS).await;
    let _ = stream.shutdown().await;
    // A close with bytes unread is a reset, which overtakes the answer.
    let mut rest = stream.take(LARGEST_HEAD as u64);
    let _ = tokio::io::copy(&mut rest, &mut tokio::io::sink()).await;
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(stream: S, front: &Front<impl Site>, pace: &Arc<Pace>) {
    let service = service_fn(async |request| Ok::<_, Infallible>(answer(&request, front, pace).await));
    let stream = TokioIo::new(Heard { stream, pace: Arc::clone(pace) });
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_header_size(LARGEST_HEAD)
        .max_buf_size(LARGEST_BUFFER)
        .serve_connection(stream, service);
    tokio::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = sleep(CONNECTION_LIFE) => connection.as_mut().graceful_shutdown(),
    }
    // Past this the connection is dropped, whatever is left of its answer.
    let _ = timeout(HEAD_TIMEOUT, connection).await;
}

async fn answer(request: &Request<Incoming>, front: &Front<impl Site>, pace: &Arc<Pace>) -> Response<Answered> {
    let answering = pace.answering();
    let policy = front.gate.policy().await;
    let mut response = match front.gate.admit(&policy, request.headers().get(AUTHORIZATION)).await {
        Admission::Granted => Arc::clone(&front.site).answer(request.method(), request.uri(), request.headers()).await,
        Admission::Refused => answer::unauthorized(),
        Admission::Busy => answer::too_many_passwords(),
    };
    for (name, value) in &policy.headers {
        response.headers_mut().insert(name, value.clone());
    }
    response.map(|page| Answered { page, _answering: answering })
}

/// An answer's body; the connection counts as answering until it has taken it all.
struct Answered {
    page: Page,
    _answering: Answering,
}

impl Body for Answered {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.page).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.page.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.page.size_hint()
    }
}

/// A stream that tells its pace when bytes come.
struct Heard<S> {
    stream: S,
    pace: Arc<Pace>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.pace.heard();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heard<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
