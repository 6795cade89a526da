//! What a healthy machine shows of itself: four engines at work, strangers on the GPU, readings that are late or
//! fail, and an engine's GPU process that is a child of the one that was started. Faults are planted here.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use core_world::{GIB, Nature, World};
use mpswarden_core::model::ServerLine::{Connected, Disconnected, Pending};
use mpswarden_core::model::gpu::{GpuActivity, RecoveryAction};
use mpswarden_core::model::{
    CommandLine, CommandResult, DomainId, GpuProcess, GpuReading, Health, Look, Member, Moment, MpsEnvironment,
    Observation, Outcome, ProcessId, ProcessUsage, Source, SourceState,
};
use mpswarden_sim::Chance;

use super::engine::Engine;
use super::extent::Extent;
use super::kind::Dialect;

/// Time after which an engine's main process forks its GPU process, and how much higher its pid is.
const FORKS: Duration = Duration::from_secs(1);
const CHILD: u32 = 100_000;

/// A time in which something is so.
pub type Spell = (Moment, Moment);

/// What goes on around the watchdog.
pub struct Surroundings {
    dialect: Dialect,
    pub engines: BTreeMap<Member, Engine>,
    /// Processes outside every group, with their bytes.
    pub strangers: BTreeMap<u32, u64>,
    /// When one was last shown.
    pub stranger_seen: Option<Moment>,
    pub chance: Chance,
    /// NVML can't be read.
    pub nvml_fails: Spell,
    /// One engine's metrics can't be read.
    pub metrics_fail: BTreeMap<Member, Spell>,
    /// The environments of engines' processes can't be read.
    pub environment_fails: Spell,
    /// Results of the next control commands, which get no answer.
    pub commands_fail: Vec<CommandResult>,
    /// What there was of traffic.
    pub extent: Extent,
    /// Nothing fails by itself any more.
    pub exact: bool,
    /// Planted: this engine's processes are no clients of any server.
    pub outside: Option<Member>,
    /// Planted: the share of the SMs that is busy.
    pub sm_active: Option<f64>,
    /// Planted: what the driver wants.
    pub recovery_action: RecoveryAction,
    children: BTreeMap<u32, ProcessId>,
}

/// Shared with the world that it surrounds.
pub struct Shared(pub Rc<RefCell<Surroundings>>);

impl Surroundings {
    pub fn new(dialect: Dialect, engines: BTreeMap<Member, Engine>, seed: u64) -> Surroundings {
        Surroundings {
            dialect,
            engines,
            strangers: BTreeMap::new(),
            stranger_seen: None,
            chance: Chance::new(seed),
            nvml_fails: (Moment::ZERO, Moment::ZERO),
            metrics_fail: BTreeMap::new(),
            environment_fails: (Moment::ZERO, Moment::ZERO),
            commands_fail: Vec::new(),
            extent: Extent::default(),
            exact: false,
            outside: None,
            sm_active: None,
            recovery_action: RecoveryAction::None,
            children: BTreeMap::new(),
        }
    }

    /// The machine slept.
    pub fn slept(&mut self, gap: Duration) {
        self.engines.values_mut().for_each(|engine| engine.slept(gap));
        self.extent.slept();
    }

    /// A pid that an engine's process once had, if there is one.
    pub fn old_pid(&mut self, world: &World) -> Option<u32> {
        let living: Vec<u32> = world.running().map(|(_, running)| running.process.pid).collect();
        let gone = self.children.iter().filter(|(main, _)| !living.contains(main));
        let pids: Vec<u32> = gone.flat_map(|(main, child)| [*main, child.pid]).collect();
        (!pids.is_empty()).then(|| pids[self.chance.below(pids.len())])
    }

    fn go_on(&mut self, world: &World) {
        for (key, running) in world.running() {
            let (process, engine) = (running.process, self.engines.get_mut(&key).unwrap());
            engine.is(process, world.now);
            engine.go_on(world.now);
            let started_at = process.started_at + FORKS.as_millis() as u64 / 10;
            self.children.insert(process.pid, ProcessId { pid: process.pid + CHILD, started_at });
        }
    }

    fn child(&self, main: u32) -> u32 {
        self.children.get(&main).map_or(main, |child| child.pid)
    }

    /// What NVML shows, of what the world says.
    fn gpu(&mut self, world: &World, reading: &mut GpuReading) {
        let held: BTreeMap<u32, (&Member, u64)> = self.held(world);
        let is_no_client = |key: &Member| self.outside.as_ref() == Some(key) || self.engines[key].is_new(world.now);
        let real = |list: &mut Vec<GpuProcess>, of_mps: bool| {
            list.retain_mut(|process| {
                let engine = held.get(&process.pid);
                process.pid = self.child(process.pid);
                process.memory = engine.map(|(_, bytes)| *bytes).or(process.memory);
                !engine.is_some_and(|(key, _)| of_mps && is_no_client(key))
            });
        };
        let (compute, mps) = (reading.compute.get_or_insert_default(), reading.mps.get_or_insert_default());
        real(compute, false);
        real(mps, true);
        let strangers = self.strangers.iter().map(|(pid, bytes)| GpuProcess { pid: *pid, memory: Some(*bytes) });
        compute.extend(strangers);
        let held = compute.iter().filter_map(|process| process.memory).sum::<u64>();
        reading.memory_used = Some((600 << 20) + held);
        let working = self.engines.values().filter(|engine| engine.works()).count() as f64 / self.engines.len() as f64;
        let noise = 0.1 * self.chance.share();
        // One that works hard fills the GPU; one that reads a long prompt beside it leaves room.
        let full = self.engines.values().any(Engine::works_hard) && !self.engines.values().any(Engine::reads_long);
        let sm_active = if full { 1.0 - noise / 4.0 } else { 0.6 * working + noise };
        self.extent.full_readings += u32::from(full);
        reading.busy = Some((working + noise).min(1.0));
        reading.activity = Some(GpuActivity {
            sm_active: self.sm_active.or(Some(sm_active)),
            sm_occupancy: Some(0.2 * working),
            dram_active: Some(0.5 * working),
            tensor_active: None,
        });
        reading.recovery_action = Some(self.recovery_action);
        if !self.strangers.is_empty() {
            self.stranger_seen = Some(world.now);
        }
    }

    fn held(&self, world: &World) -> BTreeMap<u32, (&Member, u64)> {
        let engines = world.running().filter_map(|(key, running)| {
            let (key, engine) = self.engines.get_key_value(&key)?;
            Some((running.process.pid, (key, engine.device_memory())))
        });
        engines.collect()
    }

    /// The tree has its child, and with it comes what both use.
    fn trees(&mut self, world: &World, domain: &DomainId, seen: &mut Vec<Observation>) {
        let mut used = vec![Observation::HostMemory { domain: domain.clone(), available: self.host_memory() }];
        for observation in seen.iter_mut() {
            let Observation::Tree { engine: key, processes } = observation else { continue };
            let engine = &self.engines[key];
            let forked = |process: &ProcessId| {
                let born = Moment::from_nanos(process.started_at * 10_000_000);
                self.children.get(&process.pid).filter(|_| world.now.since(born) >= FORKS)
            };
            processes.extend(processes.clone().iter().filter_map(forked).copied().collect::<Vec<_>>());
            let (count, cpu) = (processes.len().max(1) as u32, engine.cpu());
            let resident = engine.host_memory() / u64::from(count);
            let of = |process: &ProcessId| ProcessUsage { process: *process, resident, cpu: cpu / count, state: 'S' };
            used.push(Observation::Usage { engine: key.clone(), processes: processes.iter().map(of).collect() });
            used.push(Observation::MemoryEvents { engine: key.clone(), oom_kills: 0 });
        }
        seen.extend(used);
    }

    /// Others on the host take what they like and give it back.
    fn host_memory(&mut self) -> u64 {
        if self.exact { 64 * GIB } else { (20 + self.chance.below(380) as u64) * GIB }
    }

    /// A stranger's command line can be read.
    fn look_at_commands(&self, seen: &mut [Observation]) {
        for observation in seen {
            let Observation::CommandLines { asked, found, .. } = observation else { continue };
            let strange = asked.iter().filter(|pid| self.strangers.contains_key(pid));
            found.extend(strange.map(|pid| CommandLine {
                process: ProcessId { pid: *pid, started_at: 1 },
                text: "python3 train.py".to_owned(),
            }));
        }
    }

    /// A child has the settings of its main process. All have overwritten it but those of the second engine, and of the
    /// last its main process has too.
    fn look_at_environment(&mut self, now: Moment, seen: &mut Vec<Observation>, outcome: &mut Outcome) {
        if self.fails(now, self.environment_fails, 4) {
            *outcome = Outcome::Failed { why: "/proc/N/environ: permission denied".to_owned() };
            return seen.clear();
        }
        let nothing = self.fails(now, Spell::default(), 4);
        for observation in seen {
            let Observation::Environment { engine, processes, overwritten } = observation else { continue };
            let place = self.engines.keys().position(|key| key == engine).unwrap();
            let told = processes
                .iter()
                .filter_map(|told| Some(MpsEnvironment { process: *self.children.get(&told.process.pid)?, ..*told }));
            let children: Vec<MpsEnvironment> = told.collect();
            match place {
                1 => processes.extend(children),
                _ => overwritten.extend(children.iter().map(|told| told.process)),
            }
            if place == 3 {
                overwritten.extend(processes.drain(..).map(|told| told.process));
            }
            if nothing {
                processes.clear();
                overwritten.clear();
            }
        }
    }

    /// One in so many readings goes wrong, and now and then all of a spell.
    fn fails(&mut self, now: Moment, spell: Spell, one_in: usize) -> bool {
        let fails = !self.exact && ((spell.0 <= now && now < spell.1) || self.chance.below(one_in) == 0);
        self.extent.failed_readings += u32::from(fails);
        fails
    }

    fn look_at_gpu(&mut self, world: &World, seen: &mut Vec<Observation>, outcome: &mut Outcome) -> Duration {
        if self.fails(world.now, self.nvml_fails, 5000) {
            blind(Source::Nvml, None, "NVML: unknown error", seen, outcome);
        }
        let late = !self.exact && self.chance.below(2000) == 0;
        if late { self.chance.millis(100, 3500) } else { Duration::from_micros(300) }
    }

    fn look_at_load(&mut self, key: &Member, now: Moment, seen: &mut Vec<Observation>, outcome: &mut Outcome) {
        let spell = self.metrics_fail.get(key).copied().unwrap_or_default();
        if self.fails(now, spell, 100) {
            return blind(Source::Engine, Some(key), "its metrics can't be read", seen, outcome);
        }
        let engine = &self.engines[key];
        self.extent.saw(key, &engine.truth(), now);
        let load = engine.load();
        seen.push(Observation::Load { engine: key.clone(), load });
    }

    fn look_at_traffic(&mut self, key: &Member, now: Moment, seen: &mut Vec<Observation>) {
        let fails = self.fails(now, Spell::default(), 1000);
        let traffic =
            if fails { Err("the kernel did not answer".to_owned()) } else { Ok(self.engines[key].traffic(now)) };
        *seen = vec![Observation::Traffic { engine: key.clone(), traffic }];
    }

    /// An answer is late where there is much to do, and in a dialect always.
    fn look_at_health(&mut self, key: &Member, now: Moment, seen: &mut [Observation]) -> Duration {
        let no_answer = self.fails(now, Spell::default(), 3000);
        let (hard, stuck) = (self.engines[key].works_hard(), self.engines[key].stuck.is_some());
        let mut takes = Duration::from_millis(1);
        for observation in seen {
            let Observation::Health { health, .. } = observation else { continue };
            if *health == Health::Ok {
                *health = if no_answer { Health::NoAnswer } else { Health::Ok };
                takes = self.dialect.health_takes(hard, stuck, &mut self.chance);
            }
        }
        takes
    }

    fn command(&mut self, seen: &mut Vec<Observation>, outcome: &mut Outcome) -> Duration {
        let Some(result) = self.commands_fail.pop() else { return Duration::from_millis(3) };
        for observation in seen.iter_mut() {
            if let Observation::ControlReply { result: said, .. } = observation {
                *said = result;
            }
        }
        seen.retain(|observation| matches!(observation, Observation::ControlReply { .. }));
        *outcome = Outcome::Failed { why: format!("the control daemon: {result}") };
        if result == CommandResult::Timeout { Duration::from_secs(3) } else { Duration::from_millis(3) }
    }
}

fn blind(source: Source, key: Option<&Member>, why: &str, seen: &mut Vec<Observation>, outcome: &mut Outcome) {
    let (group, engine) = (key.map(|key| key.domain.group.clone()), key.map(Member::key));
    *seen =
        vec![Observation::Blind { source, group, engine, gpu: None, state: SourceState::Silent, why: why.to_owned() }];
    *outcome = Outcome::Failed { why: why.to_owned() };
}

impl Nature for Shared {
    fn looked(&mut self, world: &World, look: &Look, seen: &mut Vec<Observation>, outcome: &mut Outcome) -> Duration {
        let mut here = self.0.borrow_mut();
        here.go_on(world);
        match look {
            Look::Gpu(_) => return here.look_at_gpu(world, seen, outcome),
            Look::Load(key) => here.look_at_load(key, world.now, seen, outcome),
            Look::Health(key) => return here.look_at_health(key, world.now, seen),
            Look::Traffic(key) => here.look_at_traffic(key, world.now, seen),
            Look::Trees(domain) => here.trees(world, domain, seen),
            Look::CommandLines { .. } => here.look_at_commands(seen),
            Look::Pipe(_) | Look::Overlap(_) | Look::Token(_) => {}
            Look::Environment(_) => here.look_at_environment(world.now, seen, outcome),
            Look::Server { .. } | Look::Clients { .. } => return here.command(seen, outcome),
        }
        Duration::from_millis(1)
    }

    /// The GPU's clients are the children.
    fn sees(&mut self, world: &World, observation: &mut Observation) {
        let mut here = self.0.borrow_mut();
        match observation {
            Observation::Gpu { reading, .. } => here.gpu(world, reading),
            Observation::Clients { clients, .. } => {
                let outside =
                    |pid: u32| world.running().any(|(key, at)| at.process.pid == pid && here.outside == Some(key));
                clients.retain(|client| !outside(*client));
                clients.iter_mut().for_each(|client| *client = here.child(*client));
            }
            Observation::Log { line: Connected { client, .. }, .. }
            | Observation::Log { line: Disconnected { client, .. }, .. }
            | Observation::Log { line: Pending { client, .. }, .. } => *client = here.child(*client),
            _ => {}
        }
    }
}
