//! One thing that is wrong, or that all is well.

use crate::model::Moment;

/// How bad something is, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// The watchdog itself does not go on.
    Stuck,
    /// A GPU is lost or needs a reset, and its groups are down.
    GpuGone,
    /// A group waits for facts or a person.
    Held,
    /// A group's contexts are dead, and nobody works on it.
    LeftAlone,
    /// All of a group is restarted.
    Recovering,
    /// An engine is down or hangs until a person comes.
    EngineOut,
    /// An engine is down, and is being brought back.
    EngineDown,
    /// The cause of repeated faults is being searched for.
    Searching,
    /// An engine is kept from the others.
    Guilty,
    /// The watchdog does not see what it must.
    Blind,
    /// The first start is on its way.
    Starting,
    /// A group has no restart left.
    NoBudget,
    /// The driver wants something for which nothing is stopped.
    GpuWants,
    /// A fault that is reported, and harms nobody yet.
    Reported,
    /// An operator told the watchdog to keep out.
    OnHold,
    /// An engine's own answers are not known.
    Unread,
    /// Stopped, as somebody wanted.
    Stopped,
    /// Nothing is wrong.
    Well,
}

/// How it is shown, beside its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// All is as it should be.
    Good,
    /// Being worked on, or worth a look.
    Wait,
    /// Somebody is needed.
    Bad,
    /// A thing of no weight.
    Dim,
}

/// What to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Todo {
    /// The thing to do, for people; it begins with `nothing` where nobody need do anything.
    pub words: String,
    /// A command that does it, or shows what to do.
    pub command: Option<String>,
    /// Name of the runbook with more.
    pub runbook: Option<&'static str>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concern {
    /// How bad it is.
    pub rank: Rank,
    /// What is how, as a sentence without its end.
    pub what: String,
    /// Time since which it is so; `None`: not known.
    pub since: Option<Moment>,
    /// The reason for it, where there is one.
    pub why: Option<String>,
    /// What to do about it.
    pub todo: Todo,
}

impl Rank {
    /// How it is shown.
    pub fn tone(self) -> Tone {
        match self {
            Rank::Stuck | Rank::GpuGone | Rank::Held | Rank::LeftAlone | Rank::EngineOut => Tone::Bad,
            Rank::Recovering | Rank::EngineDown | Rank::Searching | Rank::Guilty | Rank::Blind => Tone::Wait,
            Rank::Starting | Rank::NoBudget | Rank::GpuWants | Rank::Reported | Rank::OnHold => Tone::Wait,
            Rank::Unread | Rank::Stopped => Tone::Dim,
            Rank::Well => Tone::Good,
        }
    }
}

impl Tone {
    /// The class of its colour on the page.
    pub fn class(self) -> &'static str {
        match self {
            Tone::Good => "good",
            Tone::Wait => "wait",
            Tone::Bad => "bad",
            Tone::Dim => "dim",
        }
    }
}

impl Todo {
    /// Nobody need do anything; `why` follows.
    pub(super) fn nothing(why: &str) -> Todo {
        let words = if why.is_empty() { "nothing".to_owned() } else { format!("nothing: {why}") };
        Todo { words, command: None, runbook: None }
    }

    /// Somebody must do this.
    pub(super) fn of(words: impl Into<String>, command: Option<String>, runbook: &'static str) -> Todo {
        Todo { words: words.into(), command, runbook: Some(runbook) }
    }

    /// The same, with the page that says more.
    pub(super) fn see(self, runbook: &'static str) -> Todo {
        Todo { runbook: Some(runbook), ..self }
    }
}
