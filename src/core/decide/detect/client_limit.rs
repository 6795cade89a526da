//! client_limit: the server refused a client because it has all that it takes: its own line (the client gets CUDA error
//! 46), or its list. What an engine prints of it (46, 808, 809) is a word, and reported where one of these agrees. No
//! client lost a context for it.

use super::Finding;
use super::door::{Waiting, kept_out};
use crate::decide::facts::engine::Engine;
use crate::decide::facts::kept_out::{UNAVAILABLE, Why};
use crate::decide::facts::scene::Scene;
use crate::model::{Fault, Moment};

pub(super) fn find(scene: &Scene, now: Moment) -> Vec<Finding> {
    let word = |why: Why| match why {
        Why::Limit(status) => Some(format!("was refused with CUDA error {status}")),
        Why::User(_) => None,
    };
    let mut refused = kept_out(scene, now, word);
    scene.engines.iter().for_each(|engine| said(engine, scene, &mut refused));
    if let Some((at, sentence)) = full(scene, now) {
        refused.entry(None).or_insert_with(|| (at, Vec::new())).1.push(sentence);
    }
    let finding = |(whose, (since, who)): (Option<&crate::model::EngineName>, (Moment, Vec<String>))| Finding {
        engine: whose.cloned(),
        ..Finding::of_group(Fault::ClientLimit, since, who.join("; "))
    };
    refused.into_iter().map(finding).collect()
}

/// What an engine's own output says of it.
fn said<'a>(engine: &'a Engine, scene: &Scene, refused: &mut Waiting<'a>) {
    let Some((at, code)) = engine.instance.output.over_limit.filter(|_| engine.alive()) else { return };
    let refused_itself = refused.contains_key(&Some(engine.name()));
    let listed = code != UNAVAILABLE && scene.is_full();
    if !(refused_itself || listed || scene.server.full.is_some_and(|full| full.explains(at))) {
        return;
    }
    let (first, all) = refused.entry(Some(engine.name())).or_insert_with(|| (at, Vec::new()));
    *first = at.min(*first);
    all.push(format!("its output names CUDA error {code}: a server that takes no more clients"));
}

/// The server's own word. A full list that no client waits to be on is no fault.
fn full(scene: &Scene, now: Moment) -> Option<(Moment, String)> {
    let full = scene.server.full.filter(|full| now < full.until() || scene.is_full())?;
    let sentence = format!(
        "server {} refused a client: it takes {} and no more; who is refused gets CUDA error {UNAVAILABLE}",
        scene.server.pid?, full.limit
    );
    Some((full.since, sentence))
}
