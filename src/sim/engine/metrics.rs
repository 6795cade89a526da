//! The engine's `/metrics`, word for word in the names, labels and helps that its dialect has.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::TcpStream;

use super::batch::Batch;
use super::dialect::Row;

/// The text format's content type.
const TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How the page is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Manner {
    /// Whole, and the connection goes on.
    #[default]
    Well,
    /// The page never comes.
    Hang,
    /// The page comes with series after series, indefinitely.
    Flood,
}

/// Answers one request for the page, on a connection that goes on if it returns.
pub(super) fn answer(batch: &Batch, stream: &mut TcpStream) -> io::Result<()> {
    let manner = batch.state().manner;
    match manner {
        Manner::Well => {
            let page = render(batch);
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: {TYPE}\r\nContent-Length: {}\r\n\r\n{page}", page.len())
        }
        // Until the caller hangs up, or was silent for too long.
        Manner::Hang => io::copy(stream, &mut io::sink()).and(Err(io::ErrorKind::BrokenPipe.into())),
        Manner::Flood => {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: {TYPE}\r\n\r\n")?;
            (0_u64..).try_for_each(|number| writeln!(stream, "vllm:num_requests_running{{request=\"{number}\"}} 1.0"))
        }
    }
}

/// All of it.
fn render(batch: &Batch) -> String {
    let figures = batch.state().figures();
    let mut page = String::new();
    for Row { name, kind, help, series } in batch.dialect.rows(&batch.model, &figures) {
        let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (suffix, labels, value) in series {
            // As Python writes them: with a point.
            let _ = writeln!(page, "{name}{suffix}{{{labels}}} {value:?}");
        }
    }
    page
}
