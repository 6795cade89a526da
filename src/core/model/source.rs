//! What is read, and how it goes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::words::words;
use super::{DomainId, EngineKey, GpuUuid, GroupName, Look, Member, Moment};

words!(
    /// Where readings come from.
    Source {
        /// The driver's library.
        Nvml = "nvml",
        /// The MPS control daemon's answers.
        Mps = "mps",
        /// The file system /proc.
        Procfs = "procfs",
        /// The cgroup file system.
        Cgroup = "cgroup",
        /// The kernel log.
        Kmsg = "kmsg",
        /// The log of an MPS control daemon and its servers.
        Log = "log",
        /// An engine's HTTP.
        Engine = "engine",
        /// The kernel probe.
        Probe = "probe",
    }
);

words!(
    /// How a source stands. Only silence is ever evidence about the other side.
    SourceState {
        /// Its last reading worked, or the first one since it was asked for is on its way.
        Answers = "answers",
        /// It was asked and did not answer.
        Silent = "silent",
        /// It answered, and nothing that is known here.
        NotUnderstood = "not_understood",
        /// Nobody wants to know, or the watchdog itself could not ask.
        NotAsked = "not_asked",
    }
);

/// Why a reading shows nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Blindness {
    /// How the source stands; never [`SourceState::Answers`].
    pub state: SourceState,
    /// Reason for people, with the cure where one is known.
    pub why: String,
}

impl Blindness {
    /// The other side did not answer.
    pub fn silent(why: impl Into<String>) -> Self {
        Blindness { state: SourceState::Silent, why: why.into() }
    }

    /// An answer that is not understood.
    pub fn not_understood(why: impl Into<String>) -> Self {
        Blindness { state: SourceState::NotUnderstood, why: why.into() }
    }

    /// The watchdog could not ask.
    pub fn not_asked(why: impl Into<String>) -> Self {
        Blindness { state: SourceState::NotAsked, why: why.into() }
    }
}

/// A reading that failed without more words: the other side did not answer.
impl From<String> for Blindness {
    fn from(why: String) -> Self {
        Blindness::silent(why)
    }
}

/// One source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// Scope of the source.
    pub scope: SourceScope,
    /// State of the source.
    pub state: SourceState,
    /// Why it does not answer; `None`: it does, or it is not asked for.
    pub why: Option<String>,
    /// When it last worked.
    pub last_success: Option<Moment>,
    /// How long its last reading took.
    pub took: Option<Duration>,
}

impl SourceStatus {
    /// Whether what it would show is known; `None`: it is not asked for.
    pub fn up(&self) -> Option<bool> {
        (self.state != SourceState::NotAsked || self.why.is_some()).then_some(self.state == SourceState::Answers)
    }

    /// It should show something and does not.
    pub fn is_blind(&self) -> bool {
        self.up() == Some(false)
    }
}

/// A source and what it is read for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SourceScope {
    /// The source.
    pub source: Source,
    /// Group of the source, where it has one.
    pub group: Option<GroupName>,
    /// Engine of the source, where it has one.
    pub engine: Option<EngineKey>,
    /// GPU of the source, where it has one.
    pub gpu: Option<GpuUuid>,
}

impl SourceScope {
    /// A source of the whole machine.
    pub fn whole(source: Source) -> Self {
        SourceScope { source, group: None, engine: None, gpu: None }
    }

    /// A source of one group.
    pub fn of_group(source: Source, group: GroupName) -> Self {
        SourceScope { group: Some(group), ..SourceScope::whole(source) }
    }

    /// A source of one engine.
    pub fn of_engine(source: Source, engine: EngineKey) -> Self {
        SourceScope { engine: Some(engine.clone()), ..SourceScope::of_group(source, engine.group) }
    }

    /// A source and what it is read for, as the outside knows it: all domains of a group have one name.
    pub fn of(source: Source, subject: &Subject) -> Self {
        match subject {
            Subject::Gpu(gpu) => SourceScope::of_gpu(source, gpu.clone()),
            Subject::Group(group) => SourceScope::of_group(source, group.clone()),
            Subject::Domain(domain) => SourceScope::of_group(source, domain.group.clone()),
            Subject::Member(member) => SourceScope::of_engine(source, member.key()),
        }
    }

    /// A source of one GPU.
    pub fn of_gpu(source: Source, gpu: GpuUuid) -> Self {
        SourceScope { gpu: Some(gpu), ..SourceScope::whole(source) }
    }
}

/// What a look reads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A GPU.
    Gpu(GpuUuid),
    /// A group, whatever domains it has.
    Group(GroupName),
    /// One domain.
    Domain(DomainId),
    /// One engine of a domain.
    Member(Member),
}

impl Subject {
    /// The domain that it is, or is in.
    pub fn domain(&self) -> Option<&DomainId> {
        match self {
            Subject::Gpu(_) | Subject::Group(_) => None,
            Subject::Domain(domain) => Some(domain),
            Subject::Member(member) => Some(&member.domain),
        }
    }

    /// Whether it is of no use without that domain. What concerns a whole group is its main domain's.
    pub fn goes_with(&self, domain: &DomainId) -> bool {
        match self {
            Subject::Group(group) => *domain == DomainId::main(group),
            subject @ (Subject::Gpu(_) | Subject::Domain(_) | Subject::Member(_)) => subject.domain() == Some(domain),
        }
    }
}

impl Look {
    /// Which source it reads.
    pub fn source(&self) -> Source {
        match self {
            Look::Gpu(_) => Source::Nvml,
            Look::Server { .. } | Look::Clients { .. } => Source::Mps,
            Look::Trees(_) | Look::CommandLines { .. } | Look::Pipe(_) | Look::Environment(_) => Source::Procfs,
            Look::Overlap(_) => Source::Probe,
            Look::Health(_) | Look::Load(_) | Look::Traffic(_) | Look::Token(_) => Source::Engine,
        }
    }

    /// What it reads there.
    pub fn subject(&self) -> Subject {
        match self {
            Look::Gpu(gpu) => Subject::Gpu(gpu.clone()),
            Look::Server { domain, .. } | Look::Clients { domain, .. } | Look::CommandLines { domain, .. } => {
                Subject::Domain(domain.clone())
            }
            Look::Trees(domain) | Look::Pipe(domain) => Subject::Domain(domain.clone()),
            Look::Overlap(group) => Subject::Group(group.clone()),
            Look::Environment(engine)
            | Look::Health(engine)
            | Look::Load(engine)
            | Look::Traffic(engine)
            | Look::Token(engine) => Subject::Member(engine.clone()),
        }
    }

    /// Its source as the outside knows it: all domains of a group have one name.
    pub fn scope(&self) -> SourceScope {
        SourceScope::of(self.source(), &self.subject())
    }
}
