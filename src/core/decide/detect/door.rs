//! Clients that the server keeps out, with whose they are: an engine's, or of a process that no engine owns and
//! that is still there. Of one that may yet turn out to be an engine's nothing is said.

use std::collections::BTreeMap;

use crate::decide::domain::Domain;
use crate::decide::facts::kept_out::{Why, is_seen};
use crate::model::{EngineName, Moment};

/// Whose clients wait, since when the first does, and who they are, for people.
pub(super) type Waiting<'a> = BTreeMap<Option<&'a EngineName>, (Moment, Vec<String>)>;

/// Those that are kept out for a reason that `word` has a word for.
pub(super) fn kept_out<'a>(group: &'a Domain, now: Moment, word: impl Fn(Why) -> Option<String>) -> Waiting<'a> {
    let mut waiting = Waiting::new();
    for (pid, since, why) in group.server.kept_out.all() {
        let (Some(word), Some((whose, who))) = (word(why), owner(group, pid, since, now)) else { continue };
        let (first, all) = waiting.entry(whose).or_insert_with(|| (since, Vec::new()));
        *first = since.min(*first);
        all.push(format!("{who} {word}"));
    }
    waiting
}

fn owner(group: &Domain, pid: u32, since: Moment, now: Moment) -> Option<(Option<&EngineName>, String)> {
    if !is_seen(pid) {
        return Some((None, "a client in a pid namespace that the daemon does not see (pid 0)".to_owned()));
    }
    let owns = |engine: &&crate::decide::facts::engine::Engine| {
        engine.alive() && engine.instance.processes().iter().any(|process| process.pid == pid)
    };
    if let Some(engine) = group.engines.iter().find(owns) {
        return Some((Some(engine.name()), format!("its process {pid}")));
    }
    let looked = group.trees_at(now).is_some_and(|at| at > since);
    group.around.strangers.there_since(pid, since).filter(|_| looked)?;
    Some((None, format!("process {} of no engine", group.around.strangers.name(pid))))
}
