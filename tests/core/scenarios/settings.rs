//! What may stand after `policy` in a scenario file. `tests/scenarios/README.md` explains each form.

use std::fmt::Debug;
use std::str::FromStr;
use std::time::Duration;

use core_world::language::{matched, number};
use core_world::policies;
use mpswarden_core::decide::Policy;
use mpswarden_core::decide::policy::{
    CleanEnd, EnginePolicy, GroupPolicy, IsolationMode, Origin, Quarantine, Spread, StartOrder, UnknownClients,
    WhenSpent,
};
use mpswarden_core::model::gpu::ComputeMode;
use mpswarden_core::model::{Custody, Fault, GpuIdentity, GpuSet, Mode, Powers};

/// A form, and the change that it is.
type Form = (&'static str, fn(&mut Policy, &Blanks));

/// Every setting; all but `groups` are of the first group.
const FORMS: &[Form] = &[
    ("groups ...", |policy, it| {
        policy.groups = it.rest.iter().map(|name| policies::group(name, &["one", "two"])).collect();
    }),
    ("engines ...", |policy, it| group(policy).engines = it.rest.iter().map(|name| policies::engine(name)).collect()),
    ("mode observe", |policy, _| group(policy).mode = Mode::Observe),
    ("observe FAULT", |policy, it| {
        group(policy).faults.insert(it.fault(0), Mode::Observe);
    }),
    ("enforce FAULT", |policy, it| {
        group(policy).faults.insert(it.fault(0), Mode::Enforce);
    }),
    ("unknown_clients kill_on_fault", |policy, _| group(policy).unknown_clients = UnknownClients::KillOnFault),
    ("isolation enforce", |policy, _| group(policy).isolation.mode = IsolationMode::Enforce),
    ("isolation observe", |policy, _| group(policy).isolation.mode = IsolationMode::Observe),
    ("isolation_window SECONDS", |policy, it| group(policy).isolation.window = it.seconds(0)),
    ("quarantine apart", |policy, _| group(policy).isolation.quarantine = Quarantine::Apart),
    ("quarantine outside", |policy, _| group(policy).isolation.quarantine = Quarantine::Outside),
    ("quarantine stopped", |policy, _| group(policy).isolation.quarantine = Quarantine::Stopped),
    ("gpus COUNT", |policy, it| {
        let first = policy.gpus[0].clone();
        let others = (1..it.number::<u32>(0)).map(|index| GpuIdentity {
            uuid: format!("GPU-number-{index}").as_str().into(),
            index: Some(index),
            ..first.clone()
        });
        policy.gpus.extend(others);
        let all = GpuSet::of(policy.gpus.iter().map(|gpu| gpu.uuid.clone()));
        group(policy).gpus = all.unwrap();
    }),
    ("spread restart_all", |policy, _| group(policy).spread = Spread::RestartAll),
    ("gpu absent", |policy, _| policy.gpus[0] = GpuIdentity::absent(policy.gpus[0].uuid.clone(), None)),
    ("gpu exclusive_process", |policy, _| policy.gpus[0].compute_mode = ComputeMode::ExclusiveProcess),
    ("budget COUNT", |policy, it| group(policy).recovery.budget = it.number(0)),
    ("engine_budget COUNT", |policy, it| group(policy).recovery.engine_budget = it.number(0)),
    ("when_spent hold", |policy, _| group(policy).recovery.when_spent = WhenSpent::Hold),
    ("when_spent slow", |policy, _| group(policy).recovery.when_spent = WhenSpent::Slow),
    ("longest_backoff SECONDS", |policy, it| group(policy).recovery.backoff.most = it.seconds(0)),
    ("stable_after SECONDS", |policy, it| group(policy).recovery.stable_after = it.seconds(0)),
    ("memory_timeout SECONDS", |policy, it| group(policy).recovery.memory_timeout = it.seconds(0)),
    ("start staggered", |policy, _| group(policy).recovery.start = StartOrder::Staggered),
    ("start parallel", |policy, _| group(policy).recovery.start = StartOrder::Parallel),
    ("custody of_the_daemon look", |policy, _| group(policy).custody = Custody::Others(Powers::Look)),
    ("custody of_all look", |policy, _| {
        group(policy).custody = Custody::Others(Powers::Look);
        all(policy, |engine| {
            engine.custody = Custody::Others(Powers::Look);
            engine.origin = Origin::Found;
        });
    }),
    ("custody of_the_daemon supervisor", |policy, _| group(policy).custody = Custody::Others(Powers::Supervisor)),
    ("custody of_the_engines POWER", |policy, it| {
        let custody = it.power(0);
        all(policy, |engine| engine.custody = custody);
    }),
    ("custody ENGINE POWER", |policy, it| engine(policy, it.words[0]).custody = it.power(1)),
    ("address unknown", |policy, _| all(policy, |engine| engine.address = "".into())),
    ("on_clean_end stop ...", |policy, it| {
        let of_it = |engine: &EnginePolicy| it.rest.contains(&engine.name.as_str());
        group(policy).engines.iter_mut().filter(|it| of_it(it)).for_each(|it| it.on_clean_end = CleanEnd::Stop);
    }),
    ("hang_after SECONDS", |policy, it| all(policy, |engine| engine.hang_after = it.seconds(0))),
    ("device_memory_limit GIB", |policy, it| {
        all(policy, |engine| engine.device_memory_limit = Some(it.number::<u64>(0) << 30));
    }),
    ("sm_limited ...", |policy, it| all(policy, |engine| engine.sm_limited = it.rest.contains(&engine.name.as_str()))),
    ("probe ...", |policy, it| all(policy, |engine| engine.probe = it.rest.contains(&engine.name.as_str()))),
    ("baseline ENGINE RUNNING PROMPT GENERATED RATE", |policy, it| {
        group(policy).overlap.baselines.push(policies::baseline(&it.words));
    }),
    ("advice_after SECONDS", |policy, it| group(policy).overlap.advice_after = it.seconds(0)),
    ("most_slowdown FACTOR", |policy, it| group(policy).overlap.most_slowdown = Some(it.number(0))),
];

/// Every form of a setting.
pub(super) fn forms() -> impl Iterator<Item = &'static str> {
    FORMS.iter().map(|(form, _)| *form)
}

/// Changes the policy as the setting says.
pub(super) fn set(mut policy: Policy, setting: &str) -> Policy {
    let words: Vec<&str> = setting.split_whitespace().collect();
    let fits = |(form, change): &Form| {
        let (words, rest) = matched(form, &words)?;
        Some((*change, Blanks { words, rest }))
    };
    let (change, blanks) = FORMS.iter().find_map(fits).unwrap_or_else(|| panic!("`policy {setting}` is no setting"));
    change(&mut policy, &blanks);
    policy
}

/// What stands in a setting.
struct Blanks<'a> {
    words: Vec<&'a str>,
    rest: &'a [&'a str],
}

impl Blanks<'_> {
    fn number<T: FromStr<Err: Debug>>(&self, index: usize) -> T {
        number(self.words[index])
    }

    fn seconds(&self, index: usize) -> Duration {
        Duration::from_secs(self.number(index))
    }

    fn power(&self, index: usize) -> Custody {
        Custody::Others(match self.words[index] {
            "look" => Powers::Look,
            "signal" => Powers::Signal,
            "supervisor" => Powers::Supervisor,
            word => panic!("`{word}` is no power"),
        })
    }

    fn fault(&self, index: usize) -> Fault {
        let word = self.words[index];
        *Fault::ALL.iter().find(|fault| fault.as_str() == word).unwrap_or_else(|| panic!("`{word}` is no fault"))
    }
}

fn group(policy: &mut Policy) -> &mut GroupPolicy {
    &mut policy.groups[0]
}

fn engine<'a>(policy: &'a mut Policy, name: &str) -> &'a mut EnginePolicy {
    let known = group(policy).engines.iter_mut().find(|engine| engine.name.as_str() == name);
    known.unwrap_or_else(|| panic!("there is no engine {name}"))
}

fn all(policy: &mut Policy, change: impl Fn(&mut EnginePolicy)) {
    group(policy).engines.iter_mut().for_each(change);
}
