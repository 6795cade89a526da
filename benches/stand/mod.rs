//! What the benchmarks of the core stand on: a world that answers every order at once, so that groups
//! serve without a process. It measures nothing.
#![allow(dead_code, reason = "each benchmark uses a part")]

use std::collections::VecDeque;
use std::time::Duration;

use mpswarden::decide::policy::{
    EnginePolicy, GroupPolicy, IsolationPolicy, OverlapPolicy, RecoveryPolicy, StartOrder, UnknownClients,
};
use mpswarden::decide::{Decision, Input, Memory, Policy, Watchdog};
use mpswarden::model::gpu::ComputeMode;
use mpswarden::model::{
    Action, DomainId, EngineLoad, EngineName, EngineState, GpuIdentity, GpuProcess, GpuReading, GpuUuid, GroupName,
    Health, Look, Member, Mode, Moment, Observation, Outcome, ProcessId, ServerLine, ServerState,
};

/// Bytes that each engine holds.
const HELD: u64 = 2 << 30;
/// A world that does not serve by then never will.
const STEPS: usize = 1_000_000;

/// Groups of engines, each group on a GPU of its own, that the watchdog brought to serving.
pub struct Stand {
    /// The core, in its steady state.
    pub watchdog: Watchdog,
    /// The core's time.
    pub now: Moment,
    engines: Vec<EngineName>,
    running: Vec<Member>,
    answers: VecDeque<Input>,
}

impl Stand {
    /// `groups` groups of `engines` engines, all serving, with no order open. Its time begins at `start`.
    pub fn serving(groups: usize, engines: usize, start: Moment) -> Stand {
        let engines: Vec<EngineName> = (0..engines).map(|place| format!("engine-{place:02}").into()).collect();
        let mut stand = Stand {
            watchdog: Watchdog::new(policy(groups, &engines), Memory::default()),
            now: start,
            engines,
            running: Vec::new(),
            answers: VecDeque::from([Input::Woke]),
        };
        for _ in 0..STEPS {
            if stand.answers.is_empty() && stand.serves() {
                return stand;
            }
            stand.step();
        }
        panic!("the groups do not serve: {:?}", stand.watchdog.status(stand.now));
    }

    /// The same after a while in which all was well: every load and tree is known, and so is how memory goes.
    pub fn settled(groups: usize, engines: usize, time: Duration) -> Stand {
        let mut stand = Stand::serving(groups, engines, Moment::ZERO);
        let until = stand.now.after(time);
        while stand.now < until || !stand.answers.is_empty() {
            stand.step();
        }
        stand
    }

    /// One input: an answer, or else the core's next deadline.
    fn step(&mut self) {
        let input = self.answers.pop_front().unwrap_or_else(|| {
            self.now = self.watchdog.next_deadline().unwrap_or(self.now.after(Duration::from_secs(1)));
            Input::Woke
        });
        let decision = self.watchdog.handle(input, self.now);
        for ordered in decision.actions {
            let outcome = self.carry_out(ordered.action);
            self.answers.push_back(Input::Finished(ordered.id, outcome));
        }
    }

    fn serves(&self) -> bool {
        let status = self.watchdog.status(self.now);
        status.groups.iter().flat_map(|group| &group.engines).all(|engine| engine.state == EngineState::Serving)
    }

    fn carry_out(&mut self, action: Action) -> Outcome {
        match action {
            Action::Look(look) => {
                let seen = self.look(look);
                self.answers.extend(seen.into_iter().map(Input::Observed));
                Outcome::Done
            }
            Action::StartControl { domain } => Outcome::Started { process: process(control_of(&domain.group)) },
            Action::WatchServer { server, .. } => Outcome::Started { process: process(server) },
            Action::StartEngine { instance, .. } => {
                let engine = instance.member();
                let started = process(self.pid(&engine));
                self.running.push(engine);
                Outcome::Started { process: started }
            }
            Action::Save { .. } | Action::StartServer { .. } => Outcome::Done,
            other => panic!("nothing is to be ended on the way to serving: {other:?}"),
        }
    }

    fn look(&self, look: Look) -> Vec<Observation> {
        match look {
            Look::Gpu(gpu) => vec![self.reading(&gpu)],
            Look::Server { domain, .. } => {
                let server = Some(server_of(&domain.group));
                vec![Observation::Server { domain, server, state: ServerState::Active }]
            }
            Look::Clients { domain, server } => {
                vec![Observation::Clients { clients: self.clients(&domain.group), domain, server }]
            }
            Look::Commands { .. } | Look::Overlap(_) | Look::Traffic(_) | Look::Token(_) | Look::Pipe(_) => Vec::new(),
            Look::Trees(domain) => self.members(&domain).map(|engine| self.tree(engine)).collect(),
            Look::Load(engine) => vec![Observation::Load { engine, load: load(self.now) }],
            Look::Environment(engine) => {
                vec![Observation::Environment { engine, processes: Vec::new(), overwritten: Vec::new() }]
            }
            Look::Health(engine) => vec![Observation::Health { engine, health: Health::Ok }],
        }
    }

    /// A healthy reading of a GPU, as it comes each second.
    pub fn reading(&self, gpu: &GpuUuid) -> Observation {
        let group = group_name(number(gpu.as_str()));
        let list = |pids: Vec<u32>| pids.into_iter().map(|pid| GpuProcess { pid, memory: Some(HELD) }).collect();
        let mps: Vec<GpuProcess> = list(self.clients(&group));
        let mut compute = mps.clone();
        compute.push(GpuProcess { pid: server_of(&group), memory: Some(66 << 20) });
        let reading = GpuReading {
            activity: None,
            memory_used: Some(HELD * mps.len() as u64 + (600 << 20)),
            memory_total: Some(141 << 30),
            busy: Some(0.7),
            compute: Some(compute),
            mps: Some(mps),
            recovery_action: None,
        };
        Observation::Gpu { gpu: gpu.clone(), reading }
    }

    /// Feeds one input and gives the decision, without answering its orders.
    pub fn handle(&mut self, input: Input, now: Moment) -> Decision {
        self.now = now;
        self.watchdog.handle(input, now)
    }

    /// The engine `place` of group 0.
    #[allow(dead_code, reason = "not every benchmark asks")]
    pub fn engine(&self, place: usize) -> Member {
        domain(0).member(&self.engines[place])
    }

    fn tree(&self, engine: Member) -> Observation {
        let running = self.running.contains(&engine);
        let processes = if running { vec![process(self.pid(&engine))] } else { Vec::new() };
        Observation::Tree { engine, processes }
    }

    fn clients(&self, group: &GroupName) -> Vec<u32> {
        self.running.iter().filter(|engine| engine.domain.group == *group).map(|engine| self.pid(engine)).collect()
    }

    fn members(&self, domain: &DomainId) -> impl Iterator<Item = Member> {
        self.engines.iter().map(move |engine| domain.member(engine))
    }

    fn pid(&self, engine: &Member) -> u32 {
        control_of(&engine.domain.group) + 10 + number(engine.engine.as_str())
    }
}

/// The fatal line of group 0's server, as the log has it now.
#[allow(dead_code, reason = "not every benchmark asks")]
pub fn fatal(stamped: Moment) -> Input {
    let line = ServerLine::Fatal { server: server_of(&group_name(0)) };
    Input::Observed(Observation::Log { domain: domain(0), line, stamped })
}

/// The load of an engine at work: its tokens go on with time.
pub fn load(now: Moment) -> EngineLoad {
    let (prompt_tokens, generation_tokens) = (Some(1000.0 * now.as_secs_f64()), Some(90.0 * now.as_secs_f64()));
    let (running, waiting, kv_cache) = (Some(3.0), Some(1.0), Some(0.4));
    EngineLoad { running, waiting, kv_cache, prompt_tokens, generation_tokens, ..EngineLoad::default() }
}

/// The name of a group by its number.
pub fn group_name(number: u32) -> GroupName {
    format!("group-{number}").into()
}

/// The one domain of a group by its number.
pub fn domain(number: u32) -> DomainId {
    DomainId::main(&group_name(number))
}

/// A GPU by its number.
pub fn gpu(number: u32) -> GpuUuid {
    format!("GPU-{number}").into()
}

/// The pid of a group's server.
pub fn server_of(group: &GroupName) -> u32 {
    control_of(group) + 1
}

/// Whether a decision ends a whole group.
pub fn kills(decision: &Decision) -> bool {
    decision.actions.iter().any(|ordered| matches!(ordered.action, Action::KillEngines { .. }))
}

fn control_of(group: &GroupName) -> u32 {
    1000 * (1 + number(group.as_str()))
}

fn number(name: &str) -> u32 {
    name.rsplit('-').next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

fn process(pid: u32) -> ProcessId {
    ProcessId { pid, started_at: u64::from(pid) }
}

fn policy(groups: usize, engines: &[EngineName]) -> Policy {
    let identity = |index: u32| GpuIdentity {
        uuid: gpu(index),
        index: Some(index),
        pci_bus_id: Some(format!("00000000:00:{index:02x}.0")),
        name: Some("NVIDIA H200".into()),
        memory_total: Some(141 << 30),
        compute_mode: ComputeMode::Default,
        driver_version: Some("580.159.04".into()),
        absent: false,
    };
    let numbers = || 0..groups as u32;
    Policy {
        gpus: numbers().map(identity).collect(),
        groups: numbers().map(|number| group_policy(number, engines)).collect(),
        seed: 1,
    }
}

fn group_policy(number: u32, engines: &[EngineName]) -> GroupPolicy {
    let engine = |name: &EngineName| EnginePolicy {
        name: name.clone(),
        address: "http://127.0.0.1:8001".into(),
        device_memory_limit: None,
        memory_max: None,
        start_timeout: Duration::from_secs(30),
        stop_timeout: Duration::from_secs(10),
        drain_timeout: Duration::from_secs(60),
        hang_after: Duration::from_secs(120),
        sm_limited: false,
        kind: mpswarden::model::EngineKind::Other,
        health_timeout: Duration::from_secs(10),
        probe_request: false,
        probe: false,
        launch: 0,
    };
    GroupPolicy {
        name: group_name(number),
        gpu: gpu(number),
        mode: Mode::Enforce,
        faults: Default::default(),
        unknown_clients: UnknownClients::Report,
        isolation: IsolationPolicy::default(),
        overlap: OverlapPolicy::default(),
        recovery: RecoveryPolicy { start: StartOrder::Parallel, ..RecoveryPolicy::default() },
        engines: engines.iter().map(engine).collect(),
        clients_limit: Some(48),
    }
}
