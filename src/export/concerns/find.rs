//! Finds everything that is wrong, worst first.

use super::concern::{Concern, Rank, Todo};
use super::situation::Situation;
use super::{gpus, groups};
use crate::export::history::Subject;
use crate::export::sentence::{blind_words, source_words};
use crate::model::{GroupState, Source, SourceStatus};
use crate::text::figures::plural;
use crate::text::span::age;

/// Age in seconds from which on a status is not that of now: the core loop makes one each second.
const OLD: u64 = 5;

/// Everything that is wrong, worst first; where nothing is, that all is well. Never empty.
pub fn concerns(of: &Situation<'_>) -> Vec<Concern> {
    let mut found: Vec<Concern> = stuck(of).into_iter().collect();
    found.extend(of.status.gpus.iter().filter_map(|gpu| gpus::concern(of, gpu)));
    found.extend(not_ready(of));
    for group in &of.status.groups {
        found.extend(groups::concerns(of, group));
    }
    found.extend(of.status.sources.iter().filter(|source| source.is_blind()).map(|source| blind(of, source)));
    found.sort_by_key(|concern| concern.rank);
    if found.is_empty() {
        found.push(well(of));
    }
    found
}

fn stuck(of: &Situation<'_>) -> Option<Concern> {
    (of.age.as_secs() >= OLD).then(|| Concern {
        rank: Rank::Stuck,
        what: "mpswarden itself is stuck".to_owned(),
        since: Some(of.status.at),
        why: Some(format!("its core loop last published a status {} ago, so what follows may be over", age(of.age))),
        todo: Todo::of(
            "see its log; a restart of mpswarden ends every engine, so look first whether they answer",
            Some("journalctl -u mpswarden -n 50".to_owned()),
            "MpswardenDown",
        ),
    })
}

fn not_ready(of: &Situation<'_>) -> Option<Concern> {
    (!of.status.ready).then(|| Concern {
        rank: Rank::Starting,
        what: "mpswarden is starting".to_owned(),
        since: None,
        why: Some("not every source has reported yet".to_owned()),
        todo: Todo::nothing("it acts once every source has reported once"),
    })
}

/// A source that shows nothing though it should.
fn blind(of: &Situation<'_>, source: &SourceStatus) -> Concern {
    let scope = &source.scope;
    let gpu = of.status.gpus.iter().find(|gpu| Some(&gpu.identity.uuid) == scope.gpu.as_ref());
    let name = match gpu {
        Some(gpu) => format!("{} of GPU {}", scope.source, gpu.identity.label()),
        None => source_words(scope),
    };
    let needed = matches!(scope.source, Source::Nvml | Source::Mps | Source::Procfs | Source::Log);
    let (rank, runbook) = if needed { (Rank::Blind, "MpswardenBlind") } else { (Rank::Unread, "MpswardenSourceDown") };
    let last = source.last_success.map_or_else(|| "it never answered".to_owned(), |_| String::new());
    let why = [last, source.why.clone().unwrap_or_default()].into_iter().filter(|part| !part.is_empty());
    let why = why.collect::<Vec<_>>().join("; ");
    Concern {
        rank,
        what: format!("mpswarden is blind: {name} {}", blind_words(source.state)),
        since: source.last_success,
        why: Some(why).filter(|why| !why.is_empty()),
        todo: Todo::of("look whether the engines answer; as far as is known they are healthy", None, runbook),
    }
}

fn well(of: &Situation<'_>) -> Concern {
    let groups = &of.status.groups;
    let engines: usize = groups.iter().map(|group| group.engines.len()).sum();
    let since = groups.iter().filter_map(|group| of.since(&Subject::Group(group.name.clone()))).max();
    let serving = groups.iter().all(|group| group.state == GroupState::Serving);
    let what = match (groups.len(), engines) {
        (0, _) => "No group is configured".to_owned(),
        (_, 1) if serving => "The one engine serves".to_owned(),
        (1, _) => format!("All {} serve", plural(engines, "engine")),
        (count, _) => format!("All {} of {count} groups serve", plural(engines, "engine")),
    };
    Concern { rank: Rank::Well, what, since, why: None, todo: Todo::nothing("") }
}
