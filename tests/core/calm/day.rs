//! A day of a group of four engines: time, the script, and the judge after each step.

use std::cell::{RefCell, RefMut};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use core_world::{Break, GIB, UID, World, policies};
use mpswarden_core::decide::{Input, Policy, PolicyChange};
use mpswarden_core::model::gpu::RecoveryAction;
use mpswarden_core::model::{
    DomainId, GpuUuid, LinePlace, Member, Moment, Observation, Request, Saying, ServerLine, XidVia,
};
use mpswarden_sim::Chance;

use super::engine::{Engine, STARTUP};
use super::judge::Judge;
use super::kind::Dialect;
use super::script::{Happens, script};
use super::surroundings::{Shared, Surroundings};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
/// Longest time between two looks of the judge.
const STEP: Duration = Duration::from_secs(60);
/// Time from its Xid to the end of a stranger that faults.
const DEATH: Duration = Duration::from_millis(90);

/// Hours of a day in which there is traffic; the night after them is idle.
pub const DAYTIME: f64 = 16.0;

/// Hours since the morning.
pub fn time_of_day(at: Moment) -> f64 {
    (at.as_secs_f64() / 3600.0) % 24.0
}

/// Nobody asks for anything.
pub fn is_night(at: Moment) -> bool {
    time_of_day(at) >= DAYTIME
}

/// A world with its surroundings, and who judges it.
pub struct Day {
    pub world: World,
    pub judge: Judge,
    pub engines: Vec<Member>,
    shared: Rc<RefCell<Surroundings>>,
    script: BTreeMap<Moment, Happens>,
    /// Strangers that end, with the Xid that they leave; orders that follow; what is quoted a moment later.
    later: BTreeMap<Moment, Later>,
    chance: Chance,
    pub inputs: usize,
}

enum Later {
    Leaves(u32, Option<u32>),
    Order(Request),
    Quotes(Member, u32),
}

/// The policy of a group whose engines have the defaults' patience.
fn policy() -> Policy {
    let mut policy = policies::one_group(&NAMES);
    for (place, engine) in policy.groups[0].engines.iter_mut().enumerate() {
        engine.start_timeout = Duration::from_secs(600);
        engine.hang_after = Duration::from_secs(120);
        engine.drain_timeout = Duration::from_secs(60);
        engine.stop_timeout = Duration::from_secs(30);
        // One without a limit, one close to its own, two with room.
        engine.device_memory_limit = [None, Some(31 * GIB), Some(34 * GIB), Some(40 * GIB)][place];
        engine.sm_limited = place > 1;
    }
    policy
}

impl Day {
    /// A day that begins with everything to be started.
    pub fn new(dialect: Dialect, seed: u64) -> Day {
        let mut chance = Chance::new(seed);
        let policy = policy();
        let engines: Vec<Member> = policy.groups[0]
            .engines
            .iter()
            .map(|engine| DomainId::main(&policy.groups[0].name).member(&engine.name))
            .collect();
        let made =
            engines.iter().zip(dialect.engines()).map(|(key, kind)| (key.clone(), Engine::new(kind, chance.draw())));
        let shared = Rc::new(RefCell::new(Surroundings::new(dialect, made.collect(), chance.draw())));
        let mut world = World::new(policy);
        world.start_takes = STARTUP;
        world.nature = Some(Box::new(Shared(shared.clone())));
        let judge = Judge::first_start(&world);
        Day { world, judge, engines, shared, script: BTreeMap::new(), later: BTreeMap::new(), chance, inputs: 0 }
    }

    /// What goes on around the watchdog, to be changed.
    pub fn around(&mut self) -> RefMut<'_, Surroundings> {
        self.shared.borrow_mut()
    }

    /// Lets a time pass with all that happens on such a day.
    pub fn live(&mut self, length: Duration) {
        self.script = script(&self.engines, &mut self.chance, length);
        self.pass(length);
    }

    /// Lets a time pass in which people and strangers stay away, but for what is on its way.
    pub fn pass(&mut self, length: Duration) {
        let end = self.world.now.after(length);
        while self.world.now < end {
            let next = [self.script.keys().next(), self.later.keys().next()].into_iter().flatten().min().copied();
            let step = if self.judge.waits() { Duration::from_secs(1) } else { STEP };
            self.world.run_until(end.min(self.world.now.after(step)).min(next.unwrap_or(end)).max(self.world.now));
            self.happen();
            self.inputs += self.world.looks.len();
            let stranger_seen = self.around().stranger_seen;
            self.judge.look(&mut self.world, stranger_seen);
        }
    }

    fn happen(&mut self) {
        while let Some(due) = self.later.first_entry().filter(|due| *due.key() <= self.world.now) {
            match due.remove() {
                Later::Leaves(pid, xid) => self.leaves(pid, xid),
                Later::Order(request) => self.order(request),
                Later::Quotes(key, code) => self.quotes(&key, code),
            }
        }
        while let Some(due) = self.script.first_entry().filter(|due| *due.key() <= self.world.now) {
            let happens = due.remove();
            self.play(happens);
        }
    }

    fn play(&mut self, happens: Happens) {
        let now = self.world.now;
        match happens {
            Happens::Order(request) => self.order(request),
            Happens::StopAndStart(stop, start, between) => {
                self.order(stop);
                self.after(between, Later::Order(start));
            }
            Happens::Burst(key, requests) => self.engine(&key, |engine| engine.burst(requests)),
            Happens::LongPrompt(key, takes) => self.engine(&key, |engine| engine.long_prompt(now, takes)),
            Happens::AbortAll(key) => self.engine(&key, Engine::abort_all),
            Happens::Echo { first, second, code } => {
                self.quotes(&first, code);
                let wait = self.chance.millis(0, 1000);
                second.into_iter().for_each(|second| self.after(wait, Later::Quotes(second, code)));
            }
            Happens::Stranger { stays, xid } => self.stranger(stays, xid),
            Happens::Xid(xid) => self.xid(xid, Some(4242)),
            Happens::OomKill => self.oom_kill(),
            Happens::KernelNoise => self.kernel_noise(),
            Happens::EnvironmentFails(time) => self.around().environment_fails = (now, now.after(time)),
            Happens::LogNoise => self.log_noise(),
            Happens::NvmlFails(time) => self.around().nvml_fails = (now, now.after(time)),
            Happens::MetricsFail(key, time) => {
                self.around().metrics_fail.insert(key, (now, now.after(time)));
            }
            Happens::CommandsFail(results) => self.around().commands_fail = results,
            Happens::Reload { changed } => self.reload(changed),
            Happens::Suspend(gap) => {
                self.around().slept(gap);
                self.judge.slept(gap);
                self.world.suspend(gap);
            }
        }
    }

    /// Orders follow each other: none is given while another is on its way.
    pub fn order(&mut self, request: Request) {
        if self.judge.waits() {
            return self.after(Duration::from_secs(30), Later::Order(request));
        }
        let Ok(plan) = self.world.dog.plan(&request, self.world.now) else { return };
        let engine = match &request {
            Request::StopEngine(key) | Request::StartEngine(key) | Request::Evict(key) => Some(key.clone()),
            Request::Quarantine(key) | Request::Release(key) => Some(key.clone()),
            _ => None,
        };
        self.judge.ordered(engine, plan, self.world.now);
        self.world.break_it(Break::Ask(request));
    }

    fn after(&mut self, wait: Duration, what: Later) {
        let free = |at: &Moment| !self.later.contains_key(at);
        let first = self.world.now.after(wait);
        let at = (0..).map(|nanos| first.after(Duration::from_nanos(nanos))).find(free).unwrap_or(first);
        self.later.insert(at, what);
    }

    /// A user's prompt with a CUDA error in it stands in an engine's log.
    fn quotes(&mut self, key: &Member, code: u32) {
        let now = self.world.now;
        if !self.around().engines[key].serves(now) || is_night(now) {
            return;
        }
        let place = LinePlace { file: format!("{}.log", key.engine), byte: self.chance.below(1 << 20) as u64 };
        let (engine, saying) = (key.clone(), Saying::Error(code));
        self.world.tell(Input::Observed(Observation::Said { engine, saying, place }));
    }

    fn engine(&mut self, key: &Member, change: impl FnOnce(&mut Engine)) {
        let now = self.world.now;
        let mut around = self.around();
        let engine = around.engines.get_mut(key).unwrap();
        if engine.serves(now) && !is_night(now) {
            change(engine);
        }
    }

    /// It has a pid of its own, or that of a process which an engine once was.
    fn stranger(&mut self, stays: Duration, xid: Option<u32>) {
        let old = self.shared.borrow_mut().old_pid(&self.world);
        let reused = old.filter(|_| self.chance.of(0.5));
        let pid = reused.unwrap_or_else(|| 700_000 + self.chance.below(1000) as u32);
        let bytes = GIB * (1 + self.chance.below(4) as u64);
        self.around().strangers.insert(pid, bytes);
        self.after(stays, Later::Leaves(pid, xid));
    }

    fn leaves(&mut self, pid: u32, xid: Option<u32>) {
        match xid {
            // First the line, then the end.
            Some(xid) => {
                self.xid(xid, Some(pid));
                self.after(DEATH, Later::Leaves(pid, None));
            }
            None => {
                self.around().strangers.remove(&pid);
            }
        }
    }

    /// An Xid in the kernel log and from NVML, which knows no pid.
    fn xid(&mut self, xid: u32, pid: Option<u32>) {
        let gpu = Some(policies::gpu().uuid);
        for (pid, via) in [(pid, XidVia::Kmsg), (None, XidVia::Nvml)] {
            self.world.tell(Input::Observed(Observation::Xid { gpu: gpu.clone(), xid, pid, via }));
        }
    }

    /// An OOM kill of a stranger, of a process that was never seen, or of a pid that an engine's process never had.
    fn oom_kill(&mut self) {
        let stranger = self.around().strangers.keys().next().copied();
        let pid = stranger.unwrap_or_else(|| 800_000 + self.chance.below(1000) as u32);
        let line = format!("Out of memory: Killed process {pid} (python3) total-vm:412340kB, anon-rss:398012kB");
        self.world.tell(Input::Observed(Observation::OomKill { pid, line }));
    }

    /// Another GPU is lost, wants a reset, and has Xids of all kinds; so has one that the line does not name.
    fn kernel_noise(&mut self) {
        let other = GpuUuid::from("GPU-2");
        let via = XidVia::Kmsg;
        for xid in [79, 48, 94, 31] {
            let pid = Some(4242);
            self.world.tell(Input::Observed(Observation::Xid { gpu: Some(other.clone()), xid, pid, via }));
        }
        self.world.tell(Input::Observed(Observation::Xid { gpu: None, xid: 43, pid: None, via }));
        let action = RecoveryAction::GpuReset;
        self.world.tell(Input::Observed(Observation::RecoveryAction { gpu: other, action }));
    }

    /// A client that had to wait while its server started, and its second context.
    fn log_noise(&mut self) {
        let domain = self.engines[0].domain.clone();
        let (clients, stamped) = (self.world.running().filter(|(_, at)| at.on_gpu), self.world.now);
        let clients: Vec<u32> = clients.map(|(_, at)| at.process.pid).collect();
        let Some(server) = self.world.server(0) else { return };
        for client in clients {
            for line in [ServerLine::Pending { client, uid: UID }, ServerLine::Connected { server, client }] {
                self.world.tell(Input::Observed(Observation::Log { domain: domain.clone(), line, stamped }));
            }
        }
    }

    fn reload(&mut self, changed: bool) {
        let mut policy = self.world.policy.clone();
        if changed {
            let engine = &mut policy.groups[0].engines[0];
            engine.stop_timeout += Duration::from_secs(1);
        }
        self.world.policy = policy.clone();
        self.world.tell(Input::PolicyChanged(Box::new(PolicyChange { policy, rolls: BTreeSet::new() })));
    }

    /// It had all that healthy hours have, and a day its night: else it proves nothing.
    pub fn assert_it_was_a_day(&self) {
        let extent = &self.shared.borrow().extent;
        let whole = self.world.now >= Moment::ZERO.after(Duration::from_secs(86_400));
        assert!(extent.most_waiting >= 120.0, "no burst: {extent:?}");
        assert!(extent.longest_silence >= Duration::from_secs(80), "no long prefill: {extent:?}");
        assert!(extent.longest_silence < Duration::from_secs(118), "that is no healthy prefill: {extent:?}");
        assert!(extent.full_readings > 10, "the GPU was never full: {extent:?}");
        assert!(!whole || extent.longest_idle >= Duration::from_secs(3 * 3600), "no idle night: {extent:?}");
        assert!(extent.resets > 0 && extent.failed_readings > 300, "nothing was started again or failed: {extent:?}");
    }

    /// A line for a person.
    pub fn summary(&self, seed: u64) -> String {
        let judge = &self.judge;
        let extent = &self.shared.borrow().extent;
        let faults: BTreeSet<&str> = judge.faults.iter().map(|(_, _, fault)| fault.as_str()).collect();
        format!(
            "seed {seed}: {:.1} h, {} looks ({} failed, {} of a full GPU), {} requests waiting at most, {:.0} s without a token at most, \
             {:.1} h idle at most, {} events, {} orders with {} deeds, faults told: {faults:?}, false alarms: {}",
            self.world.now.as_secs_f64() / 3600.0,
            self.inputs,
            extent.failed_readings,
            extent.full_readings,
            extent.most_waiting,
            extent.longest_silence.as_secs_f64(),
            extent.longest_idle.as_secs_f64() / 3600.0,
            judge.events,
            judge.orders_taken,
            judge.interventions,
            judge.alarms.len()
        )
    }
}
