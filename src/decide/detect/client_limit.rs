//! client_limit: the server has all the clients that it takes, or refused one for that (CUDA errors 808, 809). It
//! is told; nobody lost a context for it.

use crate::decide::engine::Engine;
use crate::decide::group::Group;
use crate::decide::kept_out::Why;
use crate::model::{Fault, Moment};

use super::Finding;
use super::door::{Waiting, kept_out};

pub(super) fn find(group: &Group, now: Moment) -> Vec<Finding> {
    let word = |why: Why| match why {
        Why::Limit(status) => Some(format!("was refused with CUDA error {status}")),
        Why::User(_) => None,
    };
    let mut refused = kept_out(group, now, word);
    group.engines.iter().for_each(|engine| said(engine, &mut refused));
    if let Some((at, sentence)) = listed(group) {
        refused.entry(None).or_insert_with(|| (at, Vec::new())).1.push(sentence);
    }
    let finding = |(whose, (since, who)): (Option<&crate::model::EngineName>, (Moment, Vec<String>))| Finding {
        engine: whose.cloned(),
        ..Finding::of_group(Fault::ClientLimit, since, who.join("; "))
    };
    refused.into_iter().map(finding).collect()
}

/// What an engine's own output says of it.
fn said<'a>(engine: &'a Engine, refused: &mut Waiting<'a>) {
    let Some((at, code)) = engine.over_limit.filter(|_| engine.alive()) else { return };
    let (first, all) = refused.entry(Some(engine.name())).or_insert_with(|| (at, Vec::new()));
    *first = at.min(*first);
    all.push(format!("its output names CUDA error {code}: a server that takes no more clients"));
}

fn listed(group: &Group) -> Option<(Moment, String)> {
    let clients = group.server.clients.last().map_or(0, |clients| clients.len());
    let limit = group.policy.clients_limit;
    let full = u32::try_from(clients).unwrap_or(u32::MAX) >= limit;
    let sentence =
        || format!("{clients} clients are listed and a server takes {limit}: more get no context, and no error");
    full.then(|| (group.server.clients.at().unwrap_or_default(), sentence()))
}
