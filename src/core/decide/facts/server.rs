//! What is known of an MPS server: its state, its clients, its fatal line and its end.

use std::collections::BTreeSet;
use std::time::Duration;

use super::kept_out::{Full, KeptOut};
use super::server_start::Starts;
use super::spread::Torn;
use crate::model::{Known, Moment, ProcessId, ServerLine, ServerState};

/// Greatest age of an answer to a command when it comes: then the command's own time is over.
const OLDEST_ANSWER: Duration = Duration::from_secs(3);
/// Distance of a stamp from the arrival of its line beyond which it is of another clock.
const STAMP_TRUST: Duration = Duration::from_secs(5);
/// Longest time between a server's end and the sight of its daemon's, where it ended with it.
const WITH_ITS_DAEMON: Duration = Duration::from_secs(2);
/// Time for which an answer of the server is believed: three of its intervals.
pub(crate) const SERVER_FRESH: Duration = Duration::from_secs(31);

/// Longest time from the end of a client that is killed with work in flight to the faults of its siblings: 130 to 160
/// ms.
pub(crate) const AFTERSHOCK: Duration = Duration::from_millis(500);

/// The server's fatal line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fatal {
    pub server: u32,
    pub at: Moment,
    /// The client that the line before it names: nearly worthless, kept as evidence.
    pub blamed: Option<u32>,
}

/// An MPS server.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServerFacts {
    pub pid: Option<u32>,
    pub process: Option<ProcessId>,
    /// The user that it serves; `None`: its first line was missed.
    pub uid: Option<u32>,
    /// The user that this daemon's first server served: the one that the watchdog asked for.
    pub ours: Option<u32>,
    pub since: Option<Moment>,
    pub state: Known<ServerState>,
    pub clients: Known<BTreeSet<u32>>,
    /// When the list above was last taken from an answer, not from lines.
    pub clients_asked: Option<Moment>,
    /// Clients that are not let in.
    pub kept_out: KeptOut,
    /// It said that it takes no more.
    pub full: Option<Full>,
    /// Clients that a server takes, as one said; the next one takes no more and no fewer.
    pub limit: Option<u32>,
    /// These two stay until the generation they hit is gone.
    pub fatal: Option<Fatal>,
    pub died: Option<Moment>,
    /// Clients that it says it tears down; so do they.
    pub torn: Torn,
    /// Its clients lost it while it says FAULT, without a fatal line: the driver tears it down. The first of their errors.
    pub dying: Option<(Moment, u32)>,
    /// The watchdog is ending it, or the control daemon while it has no client: that is no fault.
    pub stopping: bool,
    blamed: Option<u32>,
    /// It was ready, or more, once.
    was_ready: bool,
    /// Starts that came to nothing.
    pub starts: Starts,
    /// When its own line said that it is ready.
    ready: Option<Moment>,
    /// Lines from before this moment are about an older generation.
    generation_since: Moment,
}

/// What a change of the server asks of the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServerNews {
    Nothing,
    /// A server is being started: follow its end.
    New(u32),
    /// A server became ready: emit that.
    Ready(u32),
    /// It was ready when it was seen first.
    NewAndReady(u32),
}

/// What a line says of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClientLine {
    Connected,
    Disconnected,
}

impl ServerFacts {
    /// Time since which its state was last seen to be FAULT, if it is.
    pub(crate) fn says_fault(&self) -> Option<Moment> {
        self.state.at().filter(|_| self.state.last() == Some(&ServerState::Fault))
    }

    /// What it is called, for people.
    pub(crate) fn words(&self) -> String {
        self.pid.map_or_else(|| "server ?".to_owned(), |pid| format!("server {pid}"))
    }

    /// A line of the daemon's log; `stamped` is its own time.
    pub(crate) fn line(&mut self, line: ServerLine, stamped: Moment, now: Moment) -> ServerNews {
        let at = trusted(stamped, now);
        match line {
            ServerLine::Starting { server, uid } => self.starting_line(server, uid, now),
            ServerLine::Ready { server } => self.ready_line(server, now),
            ServerLine::Exited { server, status } => self.ended(server, format!("status {status}"), at, now),
            ServerLine::Signalled { server, signal } => self.ended(server, format!("signal {signal}"), at, now),
            ServerLine::Blamed { client, .. } => {
                self.blamed = Some(client);
                ServerNews::Nothing
            }
            ServerLine::Fatal { server } => self.fatal_line(server, at, now),
            ServerLine::Torn { server, client } => {
                if self.is_in_a_fault(server) {
                    self.torn.names(client);
                }
                ServerNews::Nothing
            }
            ServerLine::TornAll { server } => {
                if self.is_in_a_fault(server) {
                    self.torn.ends();
                }
                ServerNews::Nothing
            }
            ServerLine::Connected { server, client } => self.client(server, client, ClientLine::Connected, now),
            ServerLine::Disconnected { server, client } => self.client(server, client, ClientLine::Disconnected, now),
            ServerLine::Refused { server, client, status } => {
                if self.pid == Some(server) {
                    self.kept_out.refused(client, status, at);
                }
                ServerNews::Nothing
            }
            ServerLine::Full { server, limit } => {
                self.limit = Some(limit);
                if self.pid == Some(server) {
                    self.full = Some(Full::said(self.full, limit, at));
                }
                ServerNews::Nothing
            }
            ServerLine::Pending { client, uid } => {
                self.kept_out.pending(client, uid, at);
                ServerNews::Nothing
            }
            ServerLine::Leaving { server } => {
                // The daemon wants it gone for a client of another user: no client loses anything by it.
                let empty = self.clients.last().is_some_and(BTreeSet::is_empty);
                self.stopping |= self.pid == Some(server) && empty;
                ServerNews::Nothing
            }
            ServerLine::Exiting { .. } | ServerLine::SomeoneLeft { .. } | ServerLine::SomeoneGone { .. } => {
                ServerNews::Nothing
            }
        }
    }

    fn starting_line(&mut self, server: u32, uid: u32, now: Moment) -> ServerNews {
        let news = self.replaced(server, ServerState::Initializing, now);
        self.uid = Some(uid);
        self.kept_out.served(uid);
        self.ours = self.ours.or(self.uid);
        news
    }

    fn ready_line(&mut self, server: u32, now: Moment) -> ServerNews {
        let is_new = self.pid != Some(server);
        if is_new {
            self.replaced(server, ServerState::Active, now);
        }
        let news = match self.is_ready(server) {
            ServerNews::Ready(server) if is_new => ServerNews::NewAndReady(server),
            news @ (ServerNews::Nothing | ServerNews::New(_) | ServerNews::Ready(_) | ServerNews::NewAndReady(_)) => {
                news
            }
        };
        self.state.saw(ServerState::Active, now);
        self.ready = Some(now);
        news
    }

    /// `get_server_list` and `get_server_status` answered.
    pub(crate) fn asked(&mut self, server: Option<u32>, state: ServerState, now: Moment) -> ServerNews {
        match (self.pid, server) {
            // A server is listed only once it is ready: until then its own lines and its pidfd speak for it.
            (Some(_), None) if self.state.last() == Some(&ServerState::Initializing) => {}
            // So was this answer, perhaps, and its own line was faster.
            (Some(_), None) if self.ready.is_some_and(|ready| now.since(ready) < OLDEST_ANSWER) => {}
            (Some(old), None) => return self.gone(old, now, now),
            (None, None) => self.state.saw(ServerState::None, now),
            // Nor does a server that is ready initialize again: this answer was made before its line.
            (Some(known), Some(pid)) if known == pid && self.is_ready_and(state) => {}
            (known, Some(pid)) => {
                let mut news = ServerNews::Nothing;
                if known != Some(pid) {
                    news = self.replaced(pid, state, now);
                }
                if matches!(state, ServerState::Active | ServerState::Fault) {
                    let ready = self.is_ready(pid);
                    news = if known == Some(pid) { ready } else { ServerNews::NewAndReady(pid) };
                }
                self.state.saw(state, now);
                return news;
            }
        }
        ServerNews::Nothing
    }

    /// It is ready, perhaps for the first time: then that is reported.
    fn is_ready(&mut self, server: u32) -> ServerNews {
        if std::mem::replace(&mut self.was_ready, true) {
            return ServerNews::Nothing;
        }
        self.starts.ready();
        ServerNews::Ready(server)
    }

    /// Its control daemon ended: a server that is not ready yet ends with it, and not for a reason of its own.
    pub(crate) fn lost_its_daemon(&mut self, now: Moment) {
        self.stopping |= !self.was_ready;
        self.starts.forget_since(now.before(WITH_ITS_DAEMON));
    }

    /// The daemon says how a server ended.
    fn ended(&mut self, server: u32, how: String, at: Moment, now: Moment) -> ServerNews {
        let news = self.gone(server, at, now);
        self.starts.ended(server, how);
        news
    }

    fn is_ready_and(&self, asked: ServerState) -> bool {
        asked == ServerState::Initializing && self.state.last() == Some(&ServerState::Active)
    }

    /// It serves another user than the one that the watchdog asked for: no engine gets in.
    pub(crate) fn is_anothers(&self) -> bool {
        self.uid.is_some_and(|uid| self.ours.is_some_and(|ours| ours != uid))
    }

    /// A new control daemon is there: no client waits at it, and it had no server.
    pub(crate) fn new_control(&mut self) {
        self.kept_out.clear();
        self.ours = None;
        self.starts.again();
    }

    /// The server's process is gone.
    pub(crate) fn gone(&mut self, server: u32, at: Moment, now: Moment) -> ServerNews {
        if self.pid == Some(server) {
            self.pid = None;
            self.process = None;
            self.uid = None;
            self.since = None;
            self.full = None;
            self.clients.forget();
            match self.stopping {
                true => {}
                false if self.was_ready => self.died = self.died.or(Some(at)),
                false => self.starts.failed(server, at),
            }
            self.state.saw(ServerState::None, now);
        }
        ServerNews::Nothing
    }

    /// Whoever runs its daemon may let it go while it has no client: nobody loses anything by that.
    pub(crate) fn may_go_while_idle(&mut self) {
        if self.was_ready {
            self.stopping = self.clients.last().is_some_and(BTreeSet::is_empty);
        }
    }

    /// Everything seen so far is of an older generation.
    pub(crate) fn new_generation(&mut self, now: Moment) {
        self.fatal = None;
        self.died = None;
        self.torn = Torn::default();
        self.dying = None;
        self.stopping = false;
        self.blamed = None;
        self.generation_since = now;
    }

    /// `get_client_list` answered.
    pub(crate) fn clients_are(&mut self, server: u32, clients: BTreeSet<u32>, now: Moment) {
        if self.pid == Some(server) {
            self.clients.saw(clients, now);
            self.clients_asked = Some(now);
        }
    }

    fn replaced(&mut self, server: u32, state: ServerState, now: Moment) -> ServerNews {
        if let Some(old) = self.pid.filter(|old| *old != server) {
            self.gone(old, now, now);
        }
        self.pid = Some(server);
        self.process = None;
        self.uid = None;
        self.ready = None;
        self.was_ready = false;
        self.since = Some(now);
        self.stopping = false;
        self.state.saw(state, now);
        self.clients.saw(BTreeSet::new(), now);
        ServerNews::New(server)
    }

    fn fatal_line(&mut self, server: u32, at: Moment, now: Moment) -> ServerNews {
        let blamed = self.blamed.take();
        // A stamp has milliseconds only: give it the benefit of the last one.
        let old = at.after(Duration::from_millis(1)) < self.generation_since;
        if !old && self.pid.is_none_or(|pid| pid == server) {
            self.state.saw(ServerState::Fault, now);
            self.fatal = self.fatal.or(Some(Fatal { server, at, blamed }));
            self.torn.begins(now);
        }
        ServerNews::Nothing
    }

    fn is_in_a_fault(&self, server: u32) -> bool {
        self.fatal.is_some_and(|fatal| fatal.server == server)
    }

    fn client(&mut self, server: u32, client: u32, line: ClientLine, now: Moment) -> ServerNews {
        if self.pid != Some(server) {
            return ServerNews::Nothing;
        }
        let mut clients = match std::mem::take(&mut self.clients) {
            Known::Seen { value, .. } => value,
            Known::Unknown => BTreeSet::new(),
        };
        if line == ClientLine::Connected {
            self.kept_out.let_in(client);
            clients.insert(client)
        } else {
            clients.remove(&client)
        };
        self.clients.saw(clients, now);
        ServerNews::Nothing
    }
}

/// A line's own time, where it can be of this clock.
pub(crate) fn trusted(stamped: Moment, now: Moment) -> Moment {
    let apart = now.since(stamped).max(stamped.since(now));
    if apart > STAMP_TRUST { now } else { stamped.min(now) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::ZERO.after(Duration::from_millis(millis))
    }

    fn active() -> ServerFacts {
        let mut server = ServerFacts::default();
        server.line(ServerLine::Starting { server: 7, uid: 0 }, at(0), at(0));
        server.line(ServerLine::Ready { server: 7 }, at(270), at(270));
        server
    }

    #[test]
    fn an_answer_from_before_a_server_was_ready_may_come_after_its_line() {
        let mut server = active();
        server.asked(None, ServerState::None, at(272));
        assert_eq!((server.pid, server.died), (Some(7), None));
        server.asked(None, ServerState::None, at(3270));
        assert_eq!((server.pid, server.died), (None, Some(at(3270))));
    }

    #[test]
    fn a_server_that_is_not_listed_before_it_is_ready_has_not_died() {
        let mut server = ServerFacts::default();
        server.line(ServerLine::Starting { server: 7, uid: 0 }, at(0), at(0));
        server.asked(None, ServerState::None, at(5));
        assert_eq!((server.pid, server.died), (Some(7), None));
    }

    #[test]
    fn an_answer_from_before_a_server_was_ready_does_not_make_it_initialize_again() {
        let mut server = active();
        server.asked(Some(7), ServerState::Initializing, at(271));
        assert_eq!(server.state.last(), Some(&ServerState::Active));
        server.line(ServerLine::Fatal { server: 7 }, at(400), at(400));
        server.asked(Some(7), ServerState::Initializing, at(600));
        assert_eq!(server.state.last(), Some(&ServerState::Initializing));
    }

    #[test]
    fn a_server_that_is_listed_no_more_has_died() {
        let mut server = active();
        server.asked(None, ServerState::None, at(10_300));
        assert_eq!((server.pid, server.died), (None, Some(at(10_300))));
    }

    #[test]
    fn a_server_that_the_watchdog_ends_has_not_died_of_a_fault() {
        let mut server = active();
        server.stopping = true;
        server.gone(7, at(300), at(300));
        assert_eq!((server.pid, server.died), (None, None));
    }

    #[test]
    fn a_server_that_leaves_in_order_has_not_died_unless_it_has_clients() {
        let mut server = active();
        server.line(ServerLine::Leaving { server: 7 }, at(300), at(300));
        server.gone(7, at(340), at(340));
        assert_eq!((server.pid, server.died), (None, None));
        let mut server = active();
        server.line(ServerLine::Connected { server: 7, client: 9 }, at(300), at(300));
        server.line(ServerLine::Leaving { server: 7 }, at(301), at(301));
        server.gone(7, at(340), at(340));
        assert_eq!(server.died, Some(at(340)));
    }

    #[test]
    fn a_fatal_line_stays_true_though_the_server_is_active_again() {
        let mut server = active();
        server.line(ServerLine::Blamed { server: 7, client: 9 }, at(400), at(400));
        server.line(ServerLine::Fatal { server: 7 }, at(400), at(401));
        server.asked(Some(7), ServerState::Active, at(600));
        assert_eq!(server.fatal, Some(Fatal { server: 7, at: at(400), blamed: Some(9) }));
    }

    #[test]
    fn a_fatal_line_of_an_older_generation_that_comes_late_is_not_held_against_the_new_one() {
        let mut server = active();
        server.new_generation(at(500));
        server.line(ServerLine::Fatal { server: 7 }, at(400), at(501));
        assert_eq!(server.fatal, None);
    }

    #[test]
    fn a_fatal_line_of_another_server_says_nothing_about_this_one() {
        let mut server = active();
        server.line(ServerLine::Fatal { server: 6 }, at(400), at(400));
        assert_eq!(server.fatal, None);
    }

    #[test]
    fn a_stamp_of_another_clock_counts_as_now() {
        let mut server = active();
        server.line(ServerLine::Fatal { server: 7 }, at(900_000), at(400));
        assert_eq!(server.fatal.map(|fatal| fatal.at), Some(at(400)));
    }

    #[test]
    fn a_client_of_an_older_server_is_no_client_of_this_one() {
        let mut server = active();
        server.line(ServerLine::Connected { server: 6, client: 9 }, at(300), at(300));
        assert!(server.clients.last().unwrap().is_empty());
    }
}
