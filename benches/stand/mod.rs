//! What the benchmarks of the core stand on: the stand-in world of the tests with engines that start at once, brought to
//! serving. It measures nothing.
#![allow(dead_code, reason = "each benchmark uses a part")]

use std::time::Duration;

use core_world::{Break, World, policies};
use mpswarden::decide::policy::{Backoff, IsolationPolicy, StartOrder};
use mpswarden::decide::{Decision, Input, Policy};
use mpswarden::model::{
    Action, DomainId, EngineLoad, EngineState, GpuIdentity, GpuUuid, GroupName, Member, Moment, Observation,
    ServerLine, Status,
};

/// Bytes that each engine holds.
const HELD: u64 = 2 << 30;
/// What each engine says of its load.
const LOAD: &str = "running=3 waiting=1 kv=0.4 rate=90 prompts=1000";
/// A world that does not serve by then never will.
const SERVES: Duration = Duration::from_secs(60);

/// Groups of engines, each group on a GPU of its own, that the watchdog brought to serving.
pub struct Stand {
    world: World,
}

impl Stand {
    /// `groups` groups of `engines` engines, all serving. Its time begins at `start`.
    pub fn serving(groups: usize, engines: usize, start: Moment) -> Stand {
        let mut world = World::beginning_at(start, policy(groups, engines));
        world.start_takes = Duration::from_millis(10);
        for (group, engine) in (0..groups).flat_map(|group| (0..engines).map(move |engine| (group, engine))) {
            world.break_it(Break::Holds(group, engine, HELD, 0));
            world.break_it(Break::Says(group, engine, LOAD.to_owned()));
        }
        let mut stand = Stand { world };
        while !stand.serves() {
            assert!(stand.now().since(start) < SERVES, "the groups do not serve: {:?}", stand.status());
            stand.world.run_for(Duration::from_millis(10));
        }
        stand
    }

    /// The same after a while in which all was well: every load and tree is known, and so is how memory goes.
    pub fn settled(groups: usize, engines: usize, time: Duration) -> Stand {
        let mut stand = Stand::serving(groups, engines, Moment::ZERO);
        stand.world.run_for(time);
        stand
    }

    fn serves(&self) -> bool {
        let status = self.status();
        status.groups.iter().flat_map(|group| &group.engines).all(|engine| engine.state == EngineState::Serving)
    }

    /// The core's time.
    pub fn now(&self) -> Moment {
        self.world.now
    }

    pub fn status(&self) -> Status {
        self.world.dog.status(self.world.now)
    }

    pub fn next_deadline(&self) -> Option<Moment> {
        self.world.dog.next_deadline()
    }

    /// Feeds one input and gives the decision, without answering its orders.
    pub fn handle(&mut self, input: Input, now: Moment) -> Decision {
        self.world.now = now;
        self.world.dog.handle(input, now)
    }

    /// The engine `place` of the first group.
    pub fn engine(&self, place: usize) -> Member {
        domain(0).member(&self.world.policy.groups[0].engines[place].name)
    }

    /// The pid of the first group's server.
    pub fn server(&self) -> u32 {
        self.world.server(0).unwrap()
    }

    /// The pid of a client of it.
    pub fn client(&self) -> u32 {
        self.world.running().next().unwrap().1.process.pid
    }

    /// A line of the first group's log, as of now.
    pub fn line(&self, line: ServerLine) -> Observation {
        Observation::Log { domain: domain(0), line, stamped: self.now() }
    }

    /// A healthy reading of a GPU, as it comes each second.
    pub fn reading(&self, gpu: &GpuUuid) -> Observation {
        Observation::Gpu { gpu: gpu.clone(), reading: self.world.reading(gpu) }
    }

    /// The load of an engine at work: its tokens go on with time.
    pub fn load(&self, engine: Member) -> Observation {
        let seconds = self.now().as_secs_f64();
        let (prompt_tokens, generation_tokens) = (Some(1000.0 * seconds), Some(90.0 * seconds));
        let (running, waiting, kv_cache) = (Some(3.0), Some(1.0), Some(0.4));
        let load = EngineLoad { running, waiting, kv_cache, prompt_tokens, generation_tokens, ..EngineLoad::default() };
        Observation::Load { engine, load }
    }
}

/// The name of a group by its number.
pub fn group_name(number: usize) -> GroupName {
    format!("group-{number}").into()
}

/// The main domain of a group.
pub fn domain(group: usize) -> DomainId {
    DomainId::main(&group_name(group))
}

/// A GPU by its number.
pub fn gpu(number: usize) -> GpuUuid {
    format!("GPU-{number}").into()
}

/// Whether a decision ends a whole group.
pub fn kills(decision: &Decision) -> bool {
    decision.actions.iter().any(|ordered| matches!(ordered.action, Action::KillEngines { .. }))
}

fn policy(groups: usize, engines: usize) -> Policy {
    let names: Vec<String> = (0..engines).map(|place| format!("engine-{place:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let identity = |number: usize| GpuIdentity {
        uuid: gpu(number),
        index: u32::try_from(number).ok(),
        pci_bus_id: Some(format!("00000000:00:{number:02x}.0")),
        ..policies::gpu()
    };
    let group = |number: usize| {
        let mut group = policies::group(group_name(number).as_str(), &names);
        group.gpus = gpu(number).into();
        group.isolation = IsolationPolicy::default();
        group.recovery.start = StartOrder::Parallel;
        group.recovery.backoff = Backoff::default();
        group
    };
    Policy { gpus: (0..groups).map(identity).collect(), groups: (0..groups).map(group).collect(), seed: 1 }
}
