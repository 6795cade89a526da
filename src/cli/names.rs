//! Names that leave their group out: what a person means by one, among the groups and engines that are there. Pure.

use std::str::FromStr;

use super::client_arguments::{group, name};
use crate::config::nearest;
use crate::model::{EngineKey, GroupName, Status};

/// An engine, as a person names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineWord {
    /// `GROUP/ENGINE`.
    Whole(EngineKey),
    /// `ENGINE`: there is one of that name.
    Bare(String),
}

/// A group or an engine, as a person names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `GROUP/`: no engine of that name is meant.
    Group(GroupName),
    /// `GROUP/ENGINE`.
    Engine(EngineKey),
    /// A group or an engine: there is one of that name.
    Bare(String),
}

/// What a name turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meant {
    /// A group.
    Group(GroupName),
    /// An engine.
    Engine(EngineKey),
}

/// The names that are there.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    groups: Vec<GroupName>,
    engines: Vec<EngineKey>,
}

impl Names {
    /// Those in a status.
    pub(super) fn of(status: &Status) -> Names {
        let key = |group: &GroupName, engine| EngineKey { group: group.clone(), engine };
        let engines = status
            .groups
            .iter()
            .flat_map(|group| group.engines.iter().map(|engine| key(&group.name, engine.name.clone())));
        Names { groups: status.groups.iter().map(|group| group.name.clone()).collect(), engines: engines.collect() }
    }

    /// The one engine that is meant; else why there is none, with the cure.
    pub(super) fn engine(&self, word: EngineWord) -> Result<EngineKey, String> {
        let bare = match word {
            EngineWord::Whole(key) => return Ok(key),
            EngineWord::Bare(bare) => bare,
        };
        let engines = self.engines_named(&bare);
        match &engines[..] {
            [one] => Ok((*one).clone()),
            [] if self.groups.iter().any(|group| group.as_str() == bare) => {
                let within = self.engines.iter().filter(|key| key.group.as_str() == bare);
                let within: Vec<String> = within.map(ToString::to_string).collect();
                Err(format!("{bare} is a group: name one of its engines ({})", within.join(", ")))
            }
            [] => Err(self.unknown("engine", &bare)),
            several => Err(ambiguous(&bare, several.iter().map(ToString::to_string))),
        }
    }

    /// The one group or engine that is meant; else why there is none, with the cure.
    pub(super) fn target(&self, target: Target) -> Result<Meant, String> {
        let bare = match target {
            Target::Group(group) => return Ok(Meant::Group(group)),
            Target::Engine(key) => return Ok(Meant::Engine(key)),
            Target::Bare(bare) => bare,
        };
        let group = self.groups.iter().find(|group| group.as_str() == bare);
        let engines = self.engines_named(&bare);
        match (group, &engines[..]) {
            (Some(group), []) => Ok(Meant::Group(group.clone())),
            (None, [one]) => Ok(Meant::Engine((*one).clone())),
            (None, []) => Err(self.unknown("group or engine", &bare)),
            (group, several) => {
                let group = group.map(|group| format!("{group}/ (the whole group)"));
                Err(ambiguous(&bare, group.into_iter().chain(several.iter().map(ToString::to_string))))
            }
        }
    }

    fn engines_named(&self, name: &str) -> Vec<&EngineKey> {
        self.engines.iter().filter(|key| key.engine.as_str() == name).collect()
    }

    fn unknown(&self, what: &str, bare: &str) -> String {
        let engines = self.engines.iter().map(|key| key.engine.as_str());
        let known = engines.chain(self.groups.iter().map(GroupName::as_str));
        let hint = match nearest(bare, known) {
            Some(near) => format!("did you mean {near}?"),
            None => {
                let engines: Vec<String> = self.engines.iter().map(ToString::to_string).collect();
                format!("there are {}", engines.join(", "))
            }
        };
        format!("there is no {what} {bare}: {hint}")
    }
}

fn ambiguous(bare: &str, candidates: impl Iterator<Item = String>) -> String {
    let candidates: Vec<String> = candidates.collect();
    format!("{bare} may be {}: write the one that you mean", candidates.join(" or "))
}

fn key(text: &str) -> Result<EngineKey, String> {
    let (group, engine) = text.split_once('/').ok_or("GROUP/ENGINE, as in small-llms/qwen-a")?;
    Ok(EngineKey { group: name(group)?.into(), engine: name(engine)?.into() })
}

impl FromStr for EngineWord {
    type Err = String;

    fn from_str(text: &str) -> Result<EngineWord, String> {
        match text.contains('/') {
            true => key(text).map(EngineWord::Whole),
            false => name(text).map(|bare| EngineWord::Bare(bare.to_owned())),
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        match (text.strip_suffix('/'), text.contains('/')) {
            (Some(whole), _) => group(whole).map(Target::Group),
            (None, true) => key(text).map(Target::Engine),
            (None, false) => name(text).map(|bare| Target::Bare(bare.to_owned())),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn names() -> Names {
        let key = |(group, engine): (&str, &str)| EngineKey { group: group.into(), engine: engine.into() };
        let engines = [("small", "qwen-a"), ("small", "phi"), ("big", "phi"), ("llama", "llama")].map(key).to_vec();
        Names { groups: ["small", "big", "llama"].map(GroupName::from).to_vec(), engines }
    }

    fn engine(word: &str) -> Result<String, String> {
        names().engine(word.parse()?).map(|key| key.to_string())
    }

    fn target(word: &str) -> Result<String, String> {
        names().target(word.parse()?).map(|meant| match meant {
            Meant::Group(group) => format!("group {group}"),
            Meant::Engine(key) => key.to_string(),
        })
    }

    #[test]
    fn a_name_that_is_unique_needs_no_group() {
        assert_eq!(engine("qwen-a").unwrap(), "small/qwen-a");
        assert_eq!(engine("big/phi").unwrap(), "big/phi");
        assert_eq!(target("qwen-a").unwrap(), "small/qwen-a");
        assert_eq!(target("small").unwrap(), "group small");
        assert_eq!(target("llama/").unwrap(), "group llama");
        assert_eq!(target("llama/llama").unwrap(), "llama/llama");
        assert_eq!(engine("llama").unwrap(), "llama/llama", "an engine alone is meant");
    }

    #[test]
    fn an_ambiguous_name_is_refused_with_its_candidates() {
        assert_eq!(engine("phi").unwrap_err(), "phi may be small/phi or big/phi: write the one that you mean");
        assert_eq!(target("phi").unwrap_err(), engine("phi").unwrap_err());
        let both = "llama may be llama/ (the whole group) or llama/llama: write the one that you mean";
        assert_eq!(target("llama").unwrap_err(), both);
    }

    #[test]
    fn a_name_of_nothing_is_refused_with_what_there_is() {
        assert_eq!(engine("qwen-b").unwrap_err(), "there is no engine qwen-b: did you mean qwen-a?");
        let all = "there is no group or engine x: there are small/qwen-a, small/phi, big/phi, llama/llama";
        assert_eq!(target("x").unwrap_err(), all);
        assert_eq!(engine("small").unwrap_err(), "small is a group: name one of its engines (small/qwen-a, small/phi)");
    }
}
