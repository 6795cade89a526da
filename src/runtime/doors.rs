//! Where the watchdog is asked: the addresses of HTTP and the control socket. Had before anything is ended or started.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;

use crate::control::Listening;
use crate::export::Exporter;
use crate::host::notify;
use crate::model::What;
use crate::web::Listeners;

use super::build::Wishes;
use super::control;
use super::news::News;
use super::refusal::Refusal;

/// Those that were had, and those that are waited for.
pub(super) struct Doors {
    pub http: Listeners,
    pub control: Option<Listening>,
}

impl Doors {
    /// Opens them; no client is answered yet. Sockets that systemd passed are served in place of the configured
    /// addresses.
    pub(super) fn open(wishes: &Wishes) -> Result<Doors, Refusal> {
        let passed = notify::passed_sockets().map_err(|error| Refusal::io("take systemd's sockets", &error))?;
        let http = match passed.is_empty() {
            true => Listeners::bind(&wishes.listen),
            false => Listeners::passed(passed),
        };
        Ok(Doors { http, control: control::bind(&wishes.control_socket)? })
    }
}

/// Logs each address that can't be had; what is returned logs one that was had at last.
pub(super) fn tell(
    http: &Listeners,
    exporter: &Arc<Exporter>,
    news: &UnboundedSender<News>,
) -> Arc<dyn Fn(SocketAddr) + Send + Sync> {
    for waiting in http.waiting() {
        let (address, why) = (waiting.address.to_string(), waiting.why.clone());
        exporter.set_http(&address, Some(why.clone()));
        // Nobody listens any more only when the watchdog ends.
        let _ = news.send(News::Event(What::HttpDown { address, why }));
    }
    let (exporter, news) = (exporter.clone(), news.clone());
    Arc::new(move |address| {
        let address = address.to_string();
        exporter.set_http(&address, None);
        let _ = news.send(News::Event(What::HttpUp { address }));
    })
}
