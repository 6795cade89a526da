//! What may be written into scenario files after `begin` and `at TIME`. `tests/scenarios/README.md` explains each form.
//!
//! A form is the words of an input in their order: one in capitals stands for any one word, `...` at the end for all
//! that follow.

use std::fmt::Debug;
use std::str::FromStr;
use std::time::Duration;

use mpswarden_core::model::gpu::RecoveryAction;
use mpswarden_core::model::{
    DomainId, EngineKey, EngineName, GroupName, Member, Mode, ProbeState, Request, Saying, Tier,
};

use super::sharing::{Windows, window};
use super::{Break, GIB, Knob, Lists, MIB, Supervises, World};

/// A form, and how what stands in it is read.
type Form = (&'static str, fn(&Reader) -> Break);

/// Every input.
const FORMS: &[Form] = &[
    ("fatal illegal-address", |it| Break::Fatal { group: it.group, memory_fault: true }),
    ("fatal trap", |it| Break::Fatal { group: it.group, memory_fault: false }),
    ("fatal of ENGINE", |it| Break::FatalOf(it.group, it.engine(0))),
    ("sits ENGINE ...", |it| Break::Sits(it.group, it.engine(0), it.rest().split(' ').map(number).collect())),
    ("log-names-nobody", |it| Break::NamesNobody(it.group)),
    ("kill-server", |it| Break::KillServer(it.group)),
    ("server-in-teardown", |it| Break::Teardown(it.group)),
    ("server-does-not-heal", |it| Break::DoesNotHeal(it.group)),
    ("server-cannot-start ...", |it| Break::ServerFails(it.group, Some(it.rest()))),
    ("next-server-hangs", |it| Break::NextServerHangs(it.group)),
    ("server-can-start", |it| Break::ServerFails(it.group, None)),
    ("server-evicts ENGINE", |it| Break::Evicts(it.group, it.engine(0))),
    ("newcomers-hang", |it| Break::NewcomersHang(it.group)),
    ("log-unreadable", |it| Break::LogUnreadable(it.group)),
    ("log-without-names", |it| Break::Nameless(it.group)),
    ("kill-control", |it| Break::KillControl(it.group)),
    ("wedge-control", |it| Break::WedgeControl(it.group, true)),
    ("unwedge-control", |it| Break::WedgeControl(it.group, false)),
    ("others-start-control", |it| Break::OthersStartControl(it.group)),
    ("others-start ENGINE", |it| Break::OthersStart(it.group, it.engine(0))),
    ("others-take-away ENGINE", |it| Break::OthersTakeAway(it.group, it.engine(0))),
    ("others-stop ENGINE", |it| Break::OthersStop(it.group, it.engine(0))),
    ("supervisor-waits ENGINE", |it| Break::Supervised(it.group, it.engine(0), Supervises::Waits)),
    ("supervisor-fails ENGINE", |it| Break::Supervised(it.group, it.engine(0), Supervises::Fails)),
    ("supervisor-starts ENGINE", |it| Break::Supervised(it.group, it.engine(0), Supervises::Starts)),
    ("another-watches", |it| Break::WatchedByAnother(it.group, true)),
    ("another-leaves", |it| Break::WatchedByAnother(it.group, false)),
    ("no-control-binary", |it| Break::NoControl(it.group, true)),
    ("control-binary", |it| Break::NoControl(it.group, false)),
    ("binary-missing", |it| Break::Unaskable(it.group, true)),
    ("binary-back", |it| Break::Unaskable(it.group, false)),
    ("slot-taken", |it| Break::SlotTaken(it.group, true)),
    ("slot-free", |it| Break::SlotTaken(it.group, false)),
    ("make ENGINE KNOB", |it| Break::Make(it.group, it.engine(0), it.one_of(1, KNOBS))),
    ("exit ENGINE STATUS", |it| Break::Exit(it.group, it.engine(0), it.number(1))),
    ("sigkill ENGINE", |it| Break::Sigkill(it.group, it.engine(0))),
    ("split ENGINE", |it| Break::Split(it.group, it.engine(0))),
    ("core-ends ENGINE", |it| Break::CoreEnds(it.group, it.engine(0))),
    ("load ENGINE ...", |it| Break::Says(it.group, it.engine(0), it.rest())),
    ("cuda-error ENGINE CODE", |it| Break::CudaError(it.group, it.engine(0), it.number(1))),
    ("says-allocated ENGINE", |it| Break::Said(it.group, it.engine(0), Saying::Allocated)),
    ("says-wants-index ENGINE", |it| Break::Said(it.group, it.engine(0), Saying::WantsGpuByIndex)),
    ("oom-kill ENGINE", |it| Break::OomKill(it.group, it.engine(0), Some(0))),
    ("oom-kill ENGINE late MILLISECONDS", |it| Break::OomKill(it.group, it.engine(0), Some(it.number(1)))),
    ("oom-kill ENGINE untold", |it| Break::OomKill(it.group, it.engine(0), None)),
    ("memory-events ENGINE COUNT", |it| Break::MemoryEvents(it.group, it.engine(0), it.number(1))),
    ("holds ENGINE GIB", |it| Break::Holds(it.group, it.engine(0), it.number::<u64>(1) * GIB, 0)),
    ("leaks ENGINE GIB MIB", |it| {
        Break::Holds(it.group, it.engine(0), it.number::<u64>(1) * GIB, it.number::<u64>(2) * MIB)
    }),
    ("memory-leaks", |_| Break::Leak(true)),
    ("memory-is-back", |_| Break::Leak(false)),
    ("nvml-blind", |_| Break::NvmlBlind(true)),
    ("nvml-sees", |_| Break::NvmlBlind(false)),
    ("nvml-hangs", |_| Break::NvmlHangs(true)),
    ("nvml-answers", |_| Break::NvmlHangs(false)),
    ("nvml-lists KIND", |it| Break::Lists(it.one_of(0, LISTS))),
    ("nvml-says-lost", |_| Break::Lost(true, false)),
    ("nvml-wants-reset", |_| Break::Refuses(true)),
    ("nvml-wants-nothing", |_| Break::Refuses(false)),
    ("gpu-lost", |_| Break::Lost(true, true)),
    ("gpu-back", |_| Break::Lost(false, false)),
    ("gpu-memory unknown", |_| Break::WithoutMemory(true)),
    ("gpu-memory known", |_| Break::WithoutMemory(false)),
    ("gpu-action absent", |_| Break::Action(None)),
    ("gpu-action ACTION", |it| Break::Action(Some(it.action(0)))),
    ("announce ACTION", |it| Break::Announced(it.action(0))),
    ("xid NUMBER", |it| Break::Xid(it.number(0))),
    ("sm-active PERCENT", |it| Break::SmActive(Some(it.number(0)))),
    ("windows fail", |_| Break::Windows(Windows::Fail)),
    ("windows ...", |it| Break::Windows(Windows::Show(window(it.rest)))),
    ("probe ENGINE STATE", |it| Break::Probe(it.group, it.engine(0), it.probe_state(1))),
    ("stray-connects", |it| Break::Stray(it.group)),
    ("crowd COUNT", |it| Break::Crowd(it.group, it.number(0))),
    ("foreign PID ...", |it| Break::Foreign(it.number(0), it.rest())),
    ("claims PID ENGINE", |it| Break::Claims(it.number(0), it.member(1))),
    ("gone PID", |it| Break::OutsiderGone(it.number(0))),
    ("pending CLIENT UID", |it| Break::Pending(it.group, it.client(0), it.number(1))),
    ("refused CLIENT ERROR", |it| Break::Refused(it.group, it.client(0), it.number(1))),
    ("full LIMIT", |it| Break::Full(it.group, it.number(0))),
    ("let-in CLIENT", |it| Break::LetIn(it.group, it.client(0))),
    ("crash", |_| Break::Crash),
    ("shut-down", |_| Break::Ask(Request::Stop)),
    ("shut-down now", |_| Break::Ask(Request::StopNow)),
    ("order restart GROUP", |it| it.restart(Tier::Clients)),
    ("order restart GROUP daemon", |it| it.restart(Tier::Daemon)),
    ("order restart GROUP engine", |it| it.restart(Tier::Engine)),
    ("order stop --all", |_| Break::Ask(Request::StopGroups)),
    ("order start --all", |_| Break::Ask(Request::StartGroups)),
    ("order stop NAME", |it| match it.named_group() {
        Some(group) => Break::Ask(Request::StopGroup(group)),
        None => Break::Ask(Request::StopEngine(it.named_engine())),
    }),
    ("order start NAME", |it| match it.named_group() {
        Some(group) => Break::Ask(Request::StartGroup(group)),
        None => Break::Ask(Request::StartEngine(it.named_engine())),
    }),
    ("order evict ENGINE", |it| Break::Ask(Request::Evict(it.named_engine()))),
    ("order quarantine ENGINE", |it| Break::Ask(Request::Quarantine(it.named_engine()))),
    ("order release ENGINE", |it| Break::Ask(Request::Release(it.named_engine()))),
    ("order hold GROUP SECONDS ...", |it| {
        let lasts = it.words[1].parse().ok().map(Duration::from_secs);
        Break::Ask(Request::Hold { group: it.group_or_all(), lasts, reason: it.rest() })
    }),
    ("order resume GROUP", |it| Break::Ask(Request::Resume { group: it.group_or_all() })),
    ("add-group GROUP", |it| Break::NewGroup(it.words[0].to_owned())),
    ("remove-group", |it| Break::HasGroup(it.group, false)),
    ("bring-back-group", |it| Break::HasGroup(it.group, true)),
    ("add ENGINE", |it| Break::NewEngine(it.group, it.words[0].to_owned())),
    ("remove ENGINE", |it| Break::Has(it.group, it.engine(0), false)),
    ("bring-back ENGINE", |it| Break::Has(it.group, it.engine(0), true)),
    ("roll ...", |it| Break::Rolls(it.group, it.rest.iter().map(|name| it.find_engine(name)).collect())),
    ("mode observe", |it| Break::SetMode(it.group, Mode::Observe)),
    ("mode enforce", |it| Break::SetMode(it.group, Mode::Enforce)),
];

/// How an engine can be: what `make ENGINE KNOB` takes.
pub const KNOBS: &[(&str, Knob)] = &[
    ("well", Knob::Well),
    ("exit-at-once", Knob::ExitsAtOnce),
    ("never-ready", Knob::NeverReady),
    ("cannot-start", Knob::CannotStart),
    ("outside-mps", Knob::OutsideMps),
    ("elsewhere", Knob::Elsewhere),
    ("off-gpu", Knob::OffGpu),
    ("undead", Knob::Undead),
    ("linger", Knob::Lingers),
    ("busy", Knob::Busy),
    ("ignore-term", Knob::IgnoresTerm),
    ("leaving", Knob::Leaving),
    ("hang-in-terminate", Knob::HangsInTerminate),
    ("wedge-in-terminate", Knob::WedgesInTerminate),
    ("silent", Knob::Silent),
    ("frozen", Knob::Frozen),
    ("drop-limits", Knob::DropsLimits),
];

/// How NVML's lists of processes can be: what `nvml-lists KIND` takes.
pub const LISTS: &[(&str, Lists)] = &[
    ("whole", Lists::Whole),
    ("no-clients", Lists::NoClients),
    ("without-clients", Lists::WithoutClients),
    ("empty", Lists::Empty),
    ("host-pids", Lists::HostPids),
];

/// Every form of an input.
pub fn forms() -> impl Iterator<Item = &'static str> {
    FORMS.iter().map(|(form, _)| *form)
}

/// What stands in a form: the words in place of those in capitals, and what `...` stands for. `None`: another form.
pub fn matched<'a>(form: &str, words: &'a [&'a str]) -> Option<(Vec<&'a str>, &'a [&'a str])> {
    let (form, rest) = form.strip_suffix(" ...").map_or((form, false), |form| (form, true));
    let form: Vec<&str> = form.split(' ').collect();
    if words.len() < form.len() || words.len() > form.len() && !rest {
        return None;
    }
    let (begin, rest) = words.split_at(form.len());
    let blank = |form: &str| form.chars().all(|c| c.is_ascii_uppercase());
    let fits = form.iter().zip(begin).all(|(form, word)| blank(form) || form == word);
    let found = form.iter().zip(begin).filter(|(form, _)| blank(form)).map(|(_, word)| *word).collect();
    fits.then_some((found, rest))
}

/// A word that has to be a number.
pub fn number<T: FromStr<Err: Debug>>(word: &str) -> T {
    word.parse().unwrap_or_else(|error| panic!("`{word}` is no number: {error:?}"))
}

/// What stands in an input, and the world that it is about.
struct Reader<'a> {
    world: &'a World,
    group: usize,
    words: Vec<&'a str>,
    rest: &'a [&'a str],
}

impl Reader<'_> {
    fn number<T: FromStr<Err: Debug>>(&self, index: usize) -> T {
        number(self.words[index])
    }

    fn rest(&self) -> String {
        self.rest.join(" ")
    }

    fn one_of<T: Copy>(&self, index: usize, known: &[(&str, T)]) -> T {
        let word = self.words[index];
        let found = known.iter().find(|(name, _)| *name == word);
        found.unwrap_or_else(|| panic!("`{word}` is none of them")).1
    }

    fn action(&self, index: usize) -> RecoveryAction {
        let word = self.words[index];
        let known = RecoveryAction::ALL.iter().find(|action| action.as_str() == word).copied();
        known.unwrap_or_else(|| panic!("`{word}` is no recovery action"))
    }

    fn probe_state(&self, index: usize) -> ProbeState {
        let word = self.words[index];
        let known = ProbeState::ALL.iter().find(|state| state.as_str() == word).copied();
        known.unwrap_or_else(|| panic!("`{word}` is no state of a probe"))
    }

    fn engine(&self, index: usize) -> usize {
        self.find_engine(self.words[index])
    }

    fn find_engine(&self, name: &str) -> usize {
        let found = self.engines().position(|engine| engine.as_str() == name);
        found.unwrap_or_else(|| panic!("the group has no engine {name}"))
    }

    fn engines(&self) -> impl Iterator<Item = &EngineName> {
        self.world.groups[self.group].engines.iter().map(|engine| &engine.name)
    }

    fn member(&self, index: usize) -> Member {
        self.world.groups[self.group].domain.member(&self.words[index].into())
    }

    /// An engine's process, or a pid.
    fn client(&self, index: usize) -> u32 {
        let found = self.engines().position(|engine| engine.as_str() == self.words[index]);
        found.map_or_else(|| self.number(index), |engine| self.world.groups[self.group].engines[engine].pid.unwrap())
    }

    fn restart(&self, tier: Tier) -> Break {
        Break::Ask(Request::Restart { group: self.words[0].into(), tier })
    }

    fn group_or_all(&self) -> Option<GroupName> {
        (self.words[0] != "all").then(|| self.words[0].into())
    }

    fn named_group(&self) -> Option<GroupName> {
        self.world.groups.iter().map(|group| &group.domain.group).find(|name| name.as_str() == self.words[0]).cloned()
    }

    /// `GROUP/ENGINE`, or an engine of the first group.
    fn named_engine(&self) -> EngineKey {
        match self.words[0].split_once('/') {
            Some((group, engine)) => EngineKey { group: group.into(), engine: engine.into() },
            None => EngineKey { group: self.world.groups[0].domain.group.clone(), engine: self.words[0].into() },
        }
    }
}

impl World {
    /// Reads an input as scenario files spell it. One that begins with `GROUP: ` is about that group, with `GROUP:isolation: ` about its second domain, others about the
    /// first.
    pub fn parse(&self, text: &str) -> Break {
        let (group, input) = match text.split_once(": ") {
            Some((name, input)) => (self.find_group(&domain(name)), input),
            None => (0, text),
        };
        let words: Vec<&str> = input.split_whitespace().collect();
        let read = |(form, read): &Form| {
            let (words, rest) = matched(form, &words)?;
            Some(read(&Reader { world: self, group, words, rest }))
        };
        FORMS.iter().find_map(read).unwrap_or_else(|| panic!("`{text}` is no input"))
    }
}

/// Reads a domain as scenario files spell it: `small-llms`, `small-llms:isolation`.
fn domain(text: &str) -> DomainId {
    match text.split_once(":isolation") {
        Some((group, "")) => DomainId::isolation(&group.into()),
        _ => DomainId::main(&text.into()),
    }
}
