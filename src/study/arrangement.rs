//! Brings a group's engines up, outside MPS or under it with their limits, and takes them down again: started in
//! their order, each healthy before the next; killed and proven gone. Sends no load.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::actions::Actions;
use crate::host::http::Peer;
use crate::host::mps_log;
use crate::model::{Action, DomainId, EngineLaunch, EngineName, GroupLaunch, Outcome, ServerState};

/// Pause between two looks at what is waited for.
const POLL: Duration = Duration::from_millis(50);
/// Upper bound for the control daemon, and for the server to be ACTIVE: it takes half a second.
const MPS: Duration = Duration::from_secs(30);
/// Upper bound for an engine that is healthy to be the server's client, too.
const ATTACH: Duration = Duration::from_secs(10);
/// `quit -t`.
const QUIT: Duration = Duration::from_secs(2);
/// Upper bound for KILL and its proof: the driver's teardown takes a third of a second with 40 GB.
const KILL: Duration = Duration::from_secs(30);

/// How engines share the GPU.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Setting {
    /// No control daemon, no limits.
    Outside,
    /// The engines run under MPS, with their limits.
    UnderMps {
        /// Active thread percentage of all; `None`: as the configuration has it.
        percentage: Option<f64>,
    },
}

/// How engines are ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// TERM, and KILL after each one's `stop_timeout`.
    InOrder,
    /// The processes are killed.
    AtOnce,
}

/// An engine's patience, from the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Upper bound from its start to serving.
    pub start: Duration,
    /// Upper bound between TERM and KILL.
    pub stop: Duration,
}

/// A group and what brings it up and down.
#[derive(Debug)]
pub(super) struct GroupUnderStudy {
    actions: Actions,
    launch: GroupLaunch,
    patience: Vec<Patience>,
    /// Active thread percentages as configured.
    percentages: Vec<Option<f64>>,
    incarnation: u32,
}

impl GroupUnderStudy {
    /// Nothing runs yet. `patience` is in the order of the engines.
    pub(super) fn new(actions: Actions, launch: GroupLaunch, patience: Vec<Patience>) -> GroupUnderStudy {
        let percentages = launch.engines.iter().map(|engine| engine.sm_percentage).collect();
        GroupUnderStudy { actions, launch, patience, percentages, incarnation: 0 }
    }

    /// Launch of the group.
    pub(super) fn launch(&self) -> &GroupLaunch {
        &self.launch
    }

    /// Starts all; what was started stays where one fails. Returns what does not keep it from serving.
    pub(super) async fn begin(&mut self, setting: Setting) -> Result<Vec<String>, String> {
        self.incarnation += 1;
        self.actions.ended();
        if let Setting::UnderMps { percentage } = setting {
            for (engine, configured) in self.launch.engines.iter_mut().zip(&self.percentages) {
                engine.sm_percentage = percentage.or(*configured);
            }
            self.actions.launch_as(&self.launch);
            self.begin_mps().await?;
        }
        for (index, engine) in self.launch.engines.clone().iter().enumerate() {
            self.begin_engine(engine, self.patience[index].start, setting == Setting::Outside).await?;
        }
        Ok(if setting == Setting::Outside { Vec::new() } else { self.outsiders().await })
    }

    /// Whether an engine ended by itself since [`GroupUnderStudy::lost`] was asked.
    pub(super) fn has_lost(&mut self) -> bool {
        self.actions.has_ended()
    }

    /// Processes of an engine, its first one first.
    pub(super) fn pids(&self, engine: &EngineLaunch) -> Vec<u32> {
        let trees = self.actions.trees(&self.launch.domain);
        trees.into_iter().find(|(member, _)| *member == engine.member).map(|(_, pids)| pids).unwrap_or_default()
    }

    /// The engines that ended by themselves since they were started, each in a sentence.
    pub(super) fn lost(&mut self) -> Vec<String> {
        let ended = self.actions.ended();
        ended
            .iter()
            .map(|(key, exit)| format!("engine `{key}` ended with {exit}; {}", self.log_of(&key.engine)))
            .collect()
    }

    /// Ends all, proven. Waits first for what is under way: nothing starts after this.
    pub(super) async fn end(&mut self, manner: Manner) -> Result<(), String> {
        self.actions.settle().await;
        let domain = self.launch.domain.clone();
        let grace = if manner == Manner::InOrder { QUIT } else { Duration::ZERO };
        let engines = self.end_engines(manner).await;
        let stop = Action::StopControl { domain, grace, server: None };
        let daemon = done(self.actions.carry_out(stop, KILL).await);
        self.actions.ended();
        engines.and(daemon)
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "what is no end of processes is reported as it is")]
    async fn end_engines(&mut self, manner: Manner) -> Result<(), String> {
        if manner == Manner::InOrder {
            // What does not end in order is killed below.
            let longest = self.patience.iter().map(|patience| patience.stop).max().unwrap_or_default();
            let grace = |index: usize| self.patience[index].stop;
            let engines = self.launch.engines.iter().enumerate();
            let stops = engines
                .map(|(index, engine)| Action::StopEngine { engine: engine.member.clone(), grace: grace(index) });
            let stops = stops.collect();
            self.actions.all(stops, longest + KILL).await;
        }
        let engines = self.names();
        let domain = self.launch.domain.clone();
        let kill = Action::KillEngines { domain: domain.clone(), engines: engines.clone(), strays: Vec::new() };
        let processes = match self.actions.carry_out(kill, KILL).await {
            Outcome::Killed { processes } => processes,
            other => return done(other),
        };
        match self.actions.carry_out(Action::AwaitGone { domain, engines, processes }, KILL).await {
            Outcome::Gone { remaining } if remaining.is_empty() => Ok(()),
            Outcome::Gone { remaining } => {
                let left: Vec<String> =
                    remaining.iter().map(|left| format!("{} ({})", left.process, left.state)).collect();
                Err(format!("processes {} do not die; D is stuck in the kernel and needs a reboot", left.join(", ")))
            }
            other => done(other),
        }
    }

    async fn begin_mps(&mut self) -> Result<(), String> {
        let domain = self.launch.domain.clone();
        started(self.actions.carry_out(Action::StartControl { domain: domain.clone() }, MPS).await)?;
        done(self.actions.carry_out(Action::StartServer { domain: domain.clone() }, MPS).await)?;
        let deadline = Instant::now() + MPS;
        let server = loop {
            match self.active_server(&domain).await {
                Ok(server) => break server,
                Err(why) if Instant::now() >= deadline => {
                    return Err(format!("no MPS server within {} s: {why}", MPS.as_secs()));
                }
                Err(_) => sleep(POLL).await,
            }
        };
        started(self.actions.carry_out(Action::WatchServer { domain, server }, MPS).await)
    }

    async fn active_server(&self, domain: &DomainId) -> Result<u32, String> {
        let servers = self.actions.command(domain, "get_server_list").await?;
        let server = mps_log::pids(&servers).and_then(|pids| pids.first().copied()).ok_or("there is none")?;
        let state = self.actions.command(domain, &format!("get_server_status {server}")).await?;
        match mps_log::server_state(&state) {
            Some(ServerState::Active) => Ok(server),
            state => Err(format!("its state is {}", state.unwrap_or(ServerState::Unknown))),
        }
    }

    async fn begin_engine(&mut self, engine: &EngineLaunch, bound: Duration, outside: bool) -> Result<(), String> {
        let key = engine.member.clone();
        let start = Action::StartEngine { instance: key.instance(self.incarnation), outside };
        started(self.actions.carry_out(start, bound).await)?;
        let (mut peer, deadline) = (Peer::new(&engine.url), Instant::now() + bound);
        loop {
            let health = match peer.get(&engine.health_path, engine.health_timeout, 4096).await {
                Ok(answer) if answer.status == 200 => return Ok(()),
                Ok(answer) => format!("status {}", answer.status),
                Err(error) => error.to_string(),
            };
            if let Some(lost) = self.lost().pop() {
                return Err(lost);
            }
            if Instant::now() >= deadline {
                let log = self.log_of(&key.engine);
                return Err(format!("engine `{key}` is not healthy within its start_timeout ({health}); {log}"));
            }
            sleep(POLL).await;
        }
    }

    /// Engines of which no process is a client of the server: what they do is not under MPS.
    async fn outsiders(&mut self) -> Vec<String> {
        let deadline = Instant::now() + ATTACH;
        loop {
            let clients = self.clients().await.unwrap_or_default();
            let trees = self.actions.trees(&self.launch.domain);
            let outside = trees.iter().filter(|(_, tree)| !tree.iter().any(|pid| clients.contains(pid)));
            let outside: Vec<_> = outside
                .map(|(key, _)| {
                    format!(
                        "engine `{key}` is no client of the MPS server: what is measured of it may not be under MPS"
                    )
                })
                .collect();
            if outside.is_empty() || Instant::now() >= deadline {
                return outside;
            }
            sleep(POLL).await;
        }
    }

    async fn clients(&self) -> Result<Vec<u32>, String> {
        let server = self.active_server(&self.launch.domain).await?;
        let clients = self.actions.command(&self.launch.domain, &format!("get_client_list {server}")).await?;
        mps_log::pids(&clients).ok_or_else(|| "the client list is not understood".to_owned())
    }

    fn names(&self) -> Vec<EngineName> {
        self.launch.engines.iter().map(|engine| engine.member.engine.clone()).collect()
    }

    fn log_of(&self, engine: &EngineName) -> String {
        format!("see {}", self.launch.control.log_directory.join(format!("{engine}.log")).display())
    }
}

fn started(outcome: Outcome) -> Result<(), String> {
    if let Outcome::Started { .. } = outcome { Ok(()) } else { done(outcome) }
}

fn done(outcome: Outcome) -> Result<(), String> {
    match outcome {
        Outcome::Done => Ok(()),
        Outcome::Failed { why } | Outcome::NotAsked { why } | Outcome::Waits { why, .. } => Err(why),
        Outcome::TimedOut => Err("it was not done in time".to_owned()),
        other @ (Outcome::Started { .. }
        | Outcome::Killed { .. }
        | Outcome::Gone { .. }
        | Outcome::NotUnderstood { .. }) => Err(format!("an unexpected outcome: {other:?}")),
    }
}
