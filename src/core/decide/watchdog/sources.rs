//! How every source stands: those that are asked by looks, and logs, which come by themselves. What is known to be down,
//! or is down on purpose, is no source: nobody wants to know what it would show.

use std::collections::BTreeMap;

use crate::decide::domain::state::Domain;
use crate::decide::facts::GpuFacts;
use crate::decide::facts::gpu_health;
use crate::decide::watchdog::schedule::{Kind, LookKey, LookState, Schedule};
use crate::model::{Blindness, GpuUuid, Moment, Source, SourceScope, SourceState, SourceStatus};

/// Logs of which nothing can be known, and why. All others are followed and understood.
#[derive(Clone, Debug, Default)]
pub(crate) struct Logs(BTreeMap<SourceScope, Blindness>);

impl Logs {
    /// One can't be followed or understood. Whether that is news.
    pub(crate) fn lost(&mut self, scope: SourceScope, blindness: Blindness) -> bool {
        let state = blindness.state;
        self.0.insert(scope, blindness).is_none_or(|known| known.state != state)
    }

    /// One says something that is understood. Whether that is news.
    pub(crate) fn heard(&mut self, scope: &SourceScope) -> bool {
        self.0.remove(scope).is_some()
    }
}

/// Each source once for what it is read for: of several looks at one, the worst.
pub(crate) fn sources(
    domains: &[&Domain],
    gpus: &BTreeMap<GpuUuid, GpuFacts>,
    looks: &Schedule,
    logs: &Logs,
    now: Moment,
) -> Vec<SourceStatus> {
    let mut sources: BTreeMap<SourceScope, SourceStatus> = BTreeMap::new();
    let mut add = |one: SourceStatus| match sources.get_mut(&one.scope) {
        Some(known) => merge(known, one),
        None => drop(sources.insert(one.scope.clone(), one)),
    };
    looks.all().filter(|(key, state)| counts(key, state)).for_each(|(key, state)| add(by_look(key, state, now)));
    add(by_log(SourceScope::whole(Source::Kmsg), logs));
    domains.iter().for_each(|domain| add(by_log(SourceScope::of_domain(Source::Log, &domain.scene.id), logs)));
    for scope in expected(domains) {
        sources.entry(scope.clone()).or_insert_with(|| not_asked(scope));
    }
    for scope in down(domains, gpus) {
        sources.insert(scope.clone(), not_asked(scope));
    }
    sources.into_values().collect()
}

/// What there is to be asked, whether or not anybody asks now.
fn expected(domains: &[&Domain]) -> impl Iterator<Item = SourceScope> {
    domains.iter().flat_map(|domain| {
        let id = &domain.scene.id;
        let engines = domain.scene.engines.iter().map(|engine| domain.scene.member(engine.name()).key());
        let engines = engines.map(|key| SourceScope::of_engine(Source::Engine, key));
        let own = [Source::Mps, Source::Procfs].map(|source| SourceScope::of_domain(source, id));
        let gpus = domain.scene.policy.gpus.iter().map(|gpu| SourceScope::of_gpu(Source::Nvml, gpu.clone()));
        own.into_iter().chain(gpus).chain(engines).collect::<Vec<_>>()
    })
}

/// What shows nothing because it is known to be down: a control daemon that is not there, its log, and the driver of a
/// GPU that is lost or needs a reset, which says that and nothing else.
fn down<'a>(
    domains: &'a [&'a Domain],
    gpus: &'a BTreeMap<GpuUuid, GpuFacts>,
) -> impl Iterator<Item = SourceScope> + 'a {
    let daemons = domains
        .iter()
        .filter(|domain| domain.scene.control.is_down())
        .flat_map(|domain| [Source::Mps, Source::Log].map(|source| SourceScope::of_domain(source, &domain.scene.id)));
    let sick = |gpu: &&GpuFacts| {
        gpu.unread.is_some() && gpu.health.ailment().is_some_and(|ailment| ailment.kind != gpu_health::Kind::Draining)
    };
    let drivers = gpus.values().filter(sick).map(|gpu| SourceScope::of_gpu(Source::Nvml, gpu.identity.uuid.clone()));
    daemons.chain(drivers)
}

/// The server's word alone says how the control daemon answers, the trees how /proc does; without an engine that
/// has a kernel probe there is no such source.
fn counts(key: &LookKey, state: &LookState) -> bool {
    match key.kind {
        Kind::Main | Kind::Load => true,
        Kind::Overlap => state.is_wanted() && !state.is_new(),
        Kind::Clients | Kind::CommandLines | Kind::Pipe | Kind::Environment | Kind::Traffic | Kind::Token => false,
    }
}

fn by_look(key: &LookKey, look: &LookState, now: Moment) -> SourceStatus {
    let (state, why) = match look.shows(now) {
        Ok(true) => (SourceState::Answers, None),
        Ok(false) => (SourceState::NotAsked, None),
        Err(blindness) => (blindness.state, Some(blindness.why)),
    };
    let (last_success, took) = (look.worked.at(), look.worked.last().copied());
    SourceStatus { scope: key.scope(), state, why, last_success, took }
}

fn by_log(scope: SourceScope, logs: &Logs) -> SourceStatus {
    let lost = logs.0.get(&scope);
    let state = lost.map_or(SourceState::Answers, |blindness| blindness.state);
    SourceStatus { scope, state, why: lost.map(|blindness| blindness.why.clone()), last_success: None, took: None }
}

fn not_asked(scope: SourceScope) -> SourceStatus {
    SourceStatus { scope, state: SourceState::NotAsked, why: None, last_success: None, took: None }
}

/// The worse of two; what is not wanted says nothing beside what is asked.
fn merge(known: &mut SourceStatus, one: SourceStatus) {
    let asked = |source: &SourceStatus| source.up().is_some();
    let both = asked(known) && asked(&one);
    let last_success = if both { known.last_success.min(one.last_success) } else { None };
    let took = known.took.max(one.took);
    let better = |source: &SourceStatus| (asked(source), source.is_blind());
    if better(known) < better(&one) {
        *known = one;
    }
    known.took = took;
    if both {
        known.last_success = last_success;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::ZERO.after(Duration::from_secs(seconds))
    }

    fn kmsg(state: SourceState, why: Option<&str>, last_success: Option<Moment>) -> SourceStatus {
        let scope = SourceScope::whole(Source::Kmsg);
        SourceStatus { scope, state, why: why.map(str::to_owned), last_success, took: None }
    }

    fn merged(mut one: SourceStatus, other: SourceStatus) -> SourceStatus {
        merge(&mut one, other);
        one
    }

    #[test]
    fn of_two_looks_at_one_source_the_worse_counts_and_one_that_nobody_asks_says_nothing() {
        let well = kmsg(SourceState::Answers, None, Some(at(9)));
        let ill = kmsg(SourceState::Silent, Some("it hangs"), Some(at(3)));
        let unasked = kmsg(SourceState::NotAsked, None, Some(at(1)));
        assert_eq!(merged(well.clone(), ill.clone()), ill);
        assert_eq!(merged(ill.clone(), well.clone()), ill);
        assert_eq!(merged(unasked.clone(), well.clone()), well);
        assert_eq!(merged(well.clone(), unasked.clone()), well);
        assert_eq!(merged(unasked, ill.clone()), ill);
    }

    #[test]
    fn who_could_not_ask_is_blind_and_who_does_not_want_to_know_is_not() {
        assert_eq!(kmsg(SourceState::NotAsked, None, None).up(), None);
        assert_eq!(kmsg(SourceState::NotAsked, Some("too many open files"), None).up(), Some(false));
        assert_eq!(kmsg(SourceState::NotUnderstood, Some("what?"), None).up(), Some(false));
        assert_eq!(kmsg(SourceState::Answers, None, None).up(), Some(true));
    }

    #[test]
    fn a_log_that_is_lost_is_told_once_for_each_way_to_lose_it() {
        let (mut logs, scope) = (Logs::default(), SourceScope::whole(Source::Kmsg));
        assert!(logs.lost(scope.clone(), Blindness::silent("gone")));
        assert!(!logs.lost(scope.clone(), Blindness::silent("still gone")));
        assert!(logs.lost(scope.clone(), Blindness::not_understood("a poem")));
        assert!(logs.heard(&scope) && !logs.heard(&scope));
    }
}
