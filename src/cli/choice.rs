//! Which of the known incidents a person means: by time and group, then by its ID, the beginning of it, its number in the
//! list, or `latest`. Pure.

use std::sync::Arc;
use std::time::Duration;

use crate::model::{GroupName, Incident};

/// The word for the newest.
pub(super) const LATEST: &str = "latest";
/// A number of the list has at most so many digits; IDs begin with the eight of their date.
const LONGEST_NUMBER: usize = 3;
/// IDs that are named at most where several are meant.
const MOST_NAMED: usize = 10;

/// An incident with its number in the list of all, from 1, the newest: the same whatever of it is shown.
pub type Numbered = (usize, Arc<Incident>);

/// All of these, newest first, with their numbers.
pub fn numbered(incidents: impl IntoIterator<Item = Arc<Incident>>) -> Vec<Numbered> {
    (1..).zip(incidents).collect()
}

/// Which incidents are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    /// Those that went on at some moment of this last span; `None`: all.
    pub since: Option<Duration>,
    /// Those of this group; `None`: of all.
    pub group: Option<GroupName>,
}

impl Listed {
    /// Whether an incident is listed. `now` is in seconds since 1970.
    pub(super) fn has(&self, incident: &Incident, now: f64) -> bool {
        let from = self.since.map(|since| now - since.as_secs_f64());
        let recent = from.is_none_or(|from| incident.ended_at.is_none_or(|ended| ended >= from));
        recent && self.group.as_ref().is_none_or(|group| incident.group == *group)
    }

    /// What is listed, in words that follow "incident": ` of group g in the last 2 h`.
    pub(super) fn words(&self) -> String {
        let group = self.group.as_ref().map(|group| format!(" of group {group}")).unwrap_or_default();
        let since = self.since.map(|since| format!(" in the last {}", crate::text::span::age(since)));
        format!("{group}{}", since.unwrap_or_default())
    }
}

/// The one that `word` means among these, newest first; else why none or several are meant, with the cure.
pub(super) fn choose<'a>(word: &str, listed: &'a [Numbered]) -> Result<&'a Numbered, String> {
    const LIST: &str = "`mpswarden incidents` lists those that are remembered";
    if let Some(exact) = listed.iter().find(|(_, incident)| incident.id == word) {
        return Ok(exact);
    }
    if word == LATEST {
        return listed.first().ok_or_else(|| format!("no such incident is remembered: {LIST}"));
    }
    if word.len() <= LONGEST_NUMBER
        && let Ok(number) = word.parse::<usize>()
    {
        let found = listed.iter().find(|(known, _)| *known == number);
        return found.ok_or_else(|| format!("no incident has the number {number}: {LIST}"));
    }
    let found: Vec<&Numbered> = listed.iter().filter(|(_, incident)| incident.id.starts_with(word)).collect();
    match found[..] {
        [one] => Ok(one),
        [] => Err(format!("no incident {word:?} is remembered: {LIST}")),
        _ => Err(several(word, found.iter().map(|(_, incident)| incident.id.as_str()))),
    }
}

fn several<'a>(word: &str, ids: impl ExactSizeIterator<Item = &'a str>) -> String {
    let count = ids.len();
    let named: Vec<&str> = ids.take(MOST_NAMED).collect();
    let more = if count > named.len() { format!(" and {} more", count - named.len()) } else { String::new() };
    format!("{word:?} is the beginning of {count} incidents: {}{more}; write more of it", named.join(", "))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn incident(id: &str, group: &str, began: f64, ended: Option<f64>) -> Arc<Incident> {
        let fields = json!({
            "id": id, "group": group, "engine": null, "fault": "gpu_fault", "because": "", "evidence_at": began,
            "decided_at": began, "ended_at": ended, "result": null,
        });
        Arc::new(serde_json::from_value(fields).unwrap())
    }

    fn known() -> Vec<Numbered> {
        numbered([
            incident("20261123T003133.191-g-gpu_fault", "g", 9_000.0, None),
            incident("20261123T001010.000-h-gpu_fault", "h", 8_000.0, Some(8_010.0)),
            incident("20261122T230502.000-g-engine_died", "g", 1_000.0, Some(1_001.0)),
        ])
    }

    #[test]
    fn an_id_its_beginning_its_number_and_latest_name_one() {
        let known = known();
        for (word, number) in [
            ("20261123T001010.000-h-gpu_fault", 2),
            ("20261122", 3),
            ("20261123T0031", 1),
            ("1", 1),
            ("3", 3),
            ("latest", 1),
        ] {
            assert_eq!(choose(word, &known).map(|(number, _)| *number), Ok(number), "{word}");
        }
        assert_eq!(choose("latest", &known[1..]).unwrap().0, 2, "the latest of those that are listed");
        assert!(choose("1", &known[1..]).is_err(), "a number is that of the whole list");
    }

    #[test]
    fn what_names_none_or_several_is_refused_with_the_cure() {
        let known = known();
        let why = |word: &str| choose(word, &known).unwrap_err();
        let several = why("20261123");
        assert!(several.contains("2 incidents: 20261123T003133.191-g-gpu_fault, 20261123T001010"), "{several}");
        assert!(why("4").contains("the number 4") && why("0").contains("the number 0"));
        assert!(why("2025").contains("no incident \"2025\""));
        assert!(choose("latest", &[]).unwrap_err().contains("no such incident is remembered"));
        let many = numbered((0..12).map(|at| incident(&format!("2026-{at}"), "g", 0.0, None)));
        assert!(choose("2026", &many).unwrap_err().contains("2026-9 and 2 more"));
    }

    #[test]
    fn an_exact_id_is_meant_though_others_begin_with_it() {
        let twins = numbered([incident("20261123T0-g", "g", 0.0, None), incident("20261123T0-g-2", "g", 0.0, None)]);
        assert_eq!(choose("20261123T0-g", &twins).unwrap().0, 1);
    }

    #[test]
    fn those_are_listed_that_went_on_lately_in_the_group() {
        let numbers = |since: Option<u64>, group: Option<&str>| {
            let listed = Listed { since: since.map(Duration::from_secs), group: group.map(Into::into) };
            let shown = known().into_iter().filter(|(_, incident)| listed.has(incident, 9_100.0));
            (shown.map(|(number, _)| number).collect::<Vec<_>>(), listed.words())
        };
        assert_eq!(numbers(None, None), (vec![1, 2, 3], String::new()));
        assert_eq!(numbers(Some(3600), None), (vec![1, 2], " in the last 1 h".to_owned()));
        assert_eq!(numbers(Some(3600), Some("g")), (vec![1], " of group g in the last 1 h".to_owned()));
        assert_eq!(numbers(None, Some("x")).0, [0; 0]);
    }
}
