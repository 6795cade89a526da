//! What happens on a healthy day besides traffic, by a seed: people who stop, start and evict engines, strangers
//! that come, fault and go, noise in logs, sources that fail for a while, a machine that sleeps.

use std::collections::BTreeMap;
use std::time::Duration;

use mpswarden_core::model::{CommandResult, GroupName, Member, Moment, Request, Tier};
use mpswarden_sim::Chance;

/// One thing that happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Happens {
    /// A person orders something.
    Order(Request),
    /// A person stops an engine, or all of them, and starts it again later.
    StopAndStart(Request, Request, Duration),
    /// Number of requests that come at once.
    Burst(Member, u32),
    /// A prompt takes so long.
    LongPrompt(Member, Duration),
    /// All callers go away at once.
    AbortAll(Member),
    /// Users quote a CUDA error, of one engine or of two within a second.
    Echo { first: Member, second: Option<Member>, code: u32 },
    /// A process outside the group computes for so long, and may end by a fault of its own.
    Stranger { stays: Duration, xid: Option<u32> },
    /// An Xid of a process that was never seen.
    Xid(u32),
    /// The kernel's OOM killer takes a process that is no engine's.
    OomKill,
    /// The kernel log speaks of another GPU, or of one that it does not name.
    KernelNoise,
    /// The environments of engines' processes can't be read for so long.
    EnvironmentFails(Duration),
    /// Lines of the server's log that are no alarm.
    LogNoise,
    /// NVML can't be read for so long.
    NvmlFails(Duration),
    /// An engine's metrics can't be read for so long.
    MetricsFail(Member, Duration),
    /// The control daemon serves another client, or does not answer once or twice.
    CommandsFail(Vec<CommandResult>),
    /// The configuration is read again; with another timeout, or as it was.
    Reload { changed: bool },
    /// The machine sleeps.
    Suspend(Duration),
}

/// Makes one of a sort.
type Make<'a> = &'a dyn Fn(&mut Chance) -> Happens;

/// A day of these, by their times.
pub fn script(engines: &[Member], chance: &mut Chance, length: Duration) -> BTreeMap<Moment, Happens> {
    let group = engines[0].domain.group.clone();
    let mut script = BTreeMap::new();
    // On average so many a day.
    let rates: [(f64, Make<'_>); 17] = [
        (4.0, &|chance| order(&group, &engine(engines, chance), chance)),
        (2.0, &|chance| stop_and_start(&group, &engine(engines, chance), chance)),
        (30.0, &|chance| Happens::Burst(engine(engines, chance), 150 + chance.below(100) as u32)),
        (40.0, &|chance| Happens::LongPrompt(engine(engines, chance), chance.millis(30_000, 100_000))),
        (20.0, &|chance| Happens::AbortAll(engine(engines, chance))),
        (40.0, &|chance| echo(engines, chance)),
        (10.0, &stranger),
        (8.0, &|chance| Happens::Xid([13, 31, 43, 45][chance.below(4)])),
        (6.0, &|_| Happens::OomKill),
        (12.0, &|_| Happens::KernelNoise),
        (6.0, &|chance| Happens::EnvironmentFails(chance.millis(1000, 600_000))),
        (40.0, &|_| Happens::LogNoise),
        (12.0, &|chance| Happens::NvmlFails(chance.millis(1000, 20_000))),
        (12.0, &|chance| Happens::MetricsFail(engine(engines, chance), chance.millis(2000, 130_000))),
        (24.0, &commands_fail),
        (4.0, &|chance| Happens::Reload { changed: chance.of(0.5) }),
        (2.0, &|chance| Happens::Suspend(chance.millis(60_000, 1_800_000))),
    ];
    for (a_day, make) in rates {
        let count = (a_day * length.as_secs_f64() / 86_400.0).ceil() as u64;
        for _ in 0..count {
            // Not before the first start is over, and not when it is too late to see what comes of it.
            let at = Moment::ZERO.after(chance.millis(400_000, length.as_millis() as u64 - 900_000));
            script.insert(at, make(chance));
        }
    }
    script
}

fn engine(engines: &[Member], chance: &mut Chance) -> Member {
    engines[chance.below(engines.len())].clone()
}

fn order(group: &GroupName, engine: &Member, chance: &mut Chance) -> Happens {
    Happens::Order(match chance.below(5) {
        0 => Request::Restart { group: group.clone(), tier: Tier::Clients },
        1 => Request::Restart { group: group.clone(), tier: Tier::Daemon },
        _ => Request::Evict(engine.key()),
    })
}

fn stop_and_start(group: &GroupName, engine: &Member, chance: &mut Chance) -> Happens {
    let between = chance.millis(10_000, 600_000);
    let (stop, start) = match chance.below(4) {
        0 => (Request::StopGroup(group.clone()), Request::StartGroup(group.clone())),
        1 => (Request::Quarantine(engine.key()), Request::Release(engine.key())),
        _ => (Request::StopEngine(engine.key()), Request::StartEngine(engine.key())),
    };
    Happens::StopAndStart(stop, start, between)
}

/// Whatever people ask about: their own faults, memory, daemons.
fn echo(engines: &[Member], chance: &mut Chance) -> Happens {
    let code = [700, 719, 2, 46, 214, 710, 805, 806, 807, 810][chance.below(10)];
    let first = chance.below(engines.len());
    let second = chance.of(0.5).then(|| engines[(first + 1) % engines.len()].clone());
    Happens::Echo { first: engines[first].clone(), second, code }
}

fn stranger(chance: &mut Chance) -> Happens {
    let xid = chance.of(0.5).then(|| [13, 31, 43, 45][chance.below(4)]);
    Happens::Stranger { stays: chance.millis(300, 1_200_000), xid }
}

fn commands_fail(chance: &mut Chance) -> Happens {
    Happens::CommandsFail(match chance.below(4) {
        0 => vec![CommandResult::Timeout],
        1 => vec![CommandResult::Timeout, CommandResult::Timeout],
        2 => vec![CommandResult::Refused; 3],
        _ => vec![CommandResult::Refused, CommandResult::Timeout],
    })
}
