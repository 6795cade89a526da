//! Clients that the MPS server did not let in: of another user than it serves, or one too many. From its log's
//! lines; who they are is looked up elsewhere.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::Moment;

/// Most clients that are remembered, the latest: a program that tries again and again is a new pid each time.
const MOST: usize = 64;
/// CUDA errors of a server that takes no more clients, or no more connections.
const OVER_LIMIT: [u32; 2] = [808, 809];
/// What a client gets that a full server refuses. Others get it too: alone it says nothing of the server.
pub(crate) const UNAVAILABLE: u32 = 46;
/// The server's word and the client's error are of one refusal within this.
const TOGETHER: Duration = Duration::from_secs(5);
/// Time for which a refusal is reported, for a person to see it: its client is off the list at once.
const FULL_FOR: Duration = Duration::from_secs(60);

/// Why a client is not in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// It waits, and this is its user.
    User(u32),
    /// It was refused with this CUDA error.
    Limit(u32),
}

/// Time for which a client of pid 0 is reported after its last line. It lives in a pid namespace that the daemon does
/// not see: whether it still waits is not known.
const UNSEEN_FOR: Duration = Duration::from_secs(600);

/// All that are not in, by pid, and since when. Clients without a pid of ours are one for each user.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeptOut(BTreeMap<(u32, Option<u32>), Entry>);

#[derive(Clone, Copy, Debug)]
struct Entry {
    since: Moment,
    last: Moment,
    why: Why,
}

/// Whether a client's pid says who it is. 0 is what the daemon writes of a process that its namespace does not show.
pub(crate) fn is_seen(pid: u32) -> bool {
    pid != 0
}

/// A server said that it is full, once or in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full {
    pub since: Moment,
    last: Moment,
    /// Clients that it takes, as it said.
    pub limit: u32,
}

impl Full {
    /// Another such line, or the first one.
    pub(crate) fn said(was: Option<Full>, limit: u32, at: Moment) -> Full {
        let since = was.filter(|was| at <= was.until()).map_or(at, |was| was.since);
        Full { since, last: at, limit }
    }

    /// Time until which at least it is reported.
    pub(crate) fn until(&self) -> Moment {
        self.last.after(FULL_FOR)
    }

    /// Whether an error that a client got then can be of such a refusal.
    pub(crate) fn explains(&self, at: Moment) -> bool {
        at.after(TOGETHER) >= self.since && at <= self.last.after(TOGETHER)
    }
}

/// Whether this CUDA error says that the server takes no more.
pub(crate) fn is_over_limit(code: u32) -> bool {
    OVER_LIMIT.contains(&code)
}

impl KeptOut {
    /// A client was put on the pending list. That of the server's own user only waits for its start.
    pub(crate) fn pending(&mut self, client: u32, uid: u32, at: Moment) {
        self.add(client, Why::User(uid), at);
    }

    /// A client was refused; with another error than those of the limit that says nothing of it.
    pub(crate) fn refused(&mut self, client: u32, status: u32, at: Moment) {
        if is_over_limit(status) {
            self.add(client, Why::Limit(status), at);
        }
    }

    /// A client is in. Of one without a pid of ours it is not known whose it is.
    pub(crate) fn let_in(&mut self, client: u32) {
        self.0.remove(&(client, None));
    }

    /// A server for this user is there: its clients wait for another user's no more.
    pub(crate) fn served(&mut self, uid: u32) {
        self.0.retain(|(pid, _), entry| is_seen(*pid) || entry.why != Why::User(uid));
    }

    /// Forgets who can't be asked after and was not heard of for long.
    pub(crate) fn forget_old(&mut self, now: Moment) {
        self.0.retain(|(pid, _), entry| is_seen(*pid) || now.since(entry.last) < UNSEEN_FOR);
    }

    /// When time alone ends one.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        self.0.iter().filter(|((pid, _), _)| !is_seen(*pid)).map(|(_, entry)| entry.last.after(UNSEEN_FOR)).min()
    }

    /// Nobody waits at a new control daemon.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Keeps those of whom `keep` says so, by pid and since when.
    pub(crate) fn retain(&mut self, keep: impl Fn(u32, Moment) -> bool) {
        self.0.retain(|(pid, _), entry| !is_seen(*pid) || keep(*pid, entry.since));
    }

    /// Nobody is kept out.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Their pids, of those that have one of ours.
    pub(crate) fn pids(&self) -> impl Iterator<Item = u32> {
        self.0.keys().map(|(pid, _)| *pid).filter(|pid| is_seen(*pid))
    }

    /// The same, and since when they are not in.
    pub(crate) fn pids_since(&self) -> impl Iterator<Item = (u32, Moment)> {
        self.0.iter().map(|((pid, _), entry)| (*pid, entry.since)).filter(|(pid, _)| is_seen(*pid))
    }

    /// All of them, by pid.
    pub(crate) fn all(&self) -> impl Iterator<Item = (u32, Moment, Why)> {
        self.0.iter().map(|((pid, _), entry)| (*pid, entry.since, entry.why))
    }

    fn add(&mut self, client: u32, why: Why, at: Moment) {
        let user = match why {
            Why::User(uid) if !is_seen(client) => Some(uid),
            Why::User(_) | Why::Limit(_) => None,
        };
        let key = (client, user);
        let since = self.0.get(&key).filter(|known| known.why == why).map_or(at, |known| known.since);
        self.0.insert(key, Entry { since, last: at, why });
        if self.0.len() > MOST {
            let oldest = self.0.iter().min_by_key(|(_, entry)| entry.since).map(|(key, _)| *key);
            oldest.and_then(|key| self.0.remove(&key));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::ZERO.after(std::time::Duration::from_secs(seconds))
    }

    #[test]
    fn a_client_that_asks_again_waits_since_it_first_did() {
        let mut kept_out = KeptOut::default();
        kept_out.pending(7, 1001, at(1));
        kept_out.pending(7, 1001, at(5));
        assert_eq!(kept_out.all().collect::<Vec<_>>(), [(7, at(1), Why::User(1001))]);
        kept_out.let_in(7);
        assert!(kept_out.is_empty());
    }

    #[test]
    fn clients_without_a_pid_of_ours_wait_for_each_user_and_for_their_time() {
        let mut kept_out = KeptOut::default();
        kept_out.pending(0, 1000, at(1));
        kept_out.pending(0, 1001, at(2));
        kept_out.pending(0, 1000, at(3));
        kept_out.let_in(0);
        kept_out.retain(|_, _| false);
        let all: Vec<_> = kept_out.all().collect();
        assert_eq!(all, [(0, at(1), Why::User(1000)), (0, at(2), Why::User(1001))]);
        assert_eq!(kept_out.pids().count(), 0);
        kept_out.served(1000);
        kept_out.forget_old(at(601));
        assert_eq!(kept_out.all().count(), 1);
        kept_out.forget_old(at(602));
        assert!(kept_out.is_empty());
    }

    #[test]
    fn only_the_errors_of_the_limit_keep_a_client_out() {
        let mut kept_out = KeptOut::default();
        kept_out.refused(7, 807, at(1));
        assert!(kept_out.is_empty());
        kept_out.refused(7, 808, at(1));
        kept_out.refused(8, 809, at(1));
        assert_eq!(kept_out.pids().collect::<Vec<_>>(), [7, 8]);
    }

    #[test]
    fn refusals_in_a_row_are_one_and_explain_the_errors_around_them() {
        let full = Full::said(None, 48, at(100));
        let full = Full::said(Some(full), 48, at(150));
        assert_eq!((full.since, full.until()), (at(100), at(210)));
        assert_eq!([94, 95, 120, 155, 156].map(|second| full.explains(at(second))), [false, true, true, true, false]);
        assert_eq!(Full::said(Some(full), 48, at(211)).since, at(211));
    }

    #[test]
    fn a_flood_of_clients_is_bounded_and_the_latest_stay() {
        let mut kept_out = KeptOut::default();
        (0..1000).for_each(|pid| kept_out.pending(5000 - pid, 1001, at(u64::from(pid))));
        assert_eq!(kept_out.pids().count(), MOST);
        assert_eq!(kept_out.pids().next(), Some(4001));
    }
}
