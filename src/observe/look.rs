//! Carries out one look at a time for each order: observations first, then exactly one outcome, by
//! the deadline, whatever hangs. Reads only; never blocks the thread it is called on.

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, ready};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use super::connections::Connections;
use super::engines::{self, Endpoint};
use super::gpus::{self, GpuThread, Gpus};
use super::overlap::{Sampler, Timing};
use super::reports::Reports;
use super::{mps, processes};
use crate::host::clock;
use crate::host::environ::MpsEnvironments;
use crate::model::{
    ActionId, Blindness, CommandResult, DomainId, EngineKey, GpuUuid, GroupLaunch, GroupName, Look, Member, Moment,
    Outcome, ProcessId, ProcessUsage, Report,
};

/// What will be known later, on this thread.
pub type Answer<T> = Pin<Box<dyn Future<Output = T>>>;

/// I/O of `act`, lent through an adapter in `runtime`: `act` alone speaks to control daemons and knows where engines live.
pub trait LookIo {
    /// Gives one command to the group's control daemon; answers with its stdout, or the reason why there is none, within
    /// `timeout`.
    /// Dropping the answer ends the command.
    fn command(&self, domain: &DomainId, text: &str, timeout: Duration) -> Answer<(CommandResult, String)>;

    /// The living processes of each of the group's engines, of those without any too, with what they use; or
    /// why not.
    fn trees(&self, domain: &DomainId) -> Result<Vec<(Member, Vec<ProcessUsage>)>, String>;

    /// The processes of each engine, as of the last look at the trees, that nothing but its word speaks for.
    fn claimed(&self, domain: &DomainId) -> Vec<(Member, Vec<ProcessId>)>;

    /// How many processes of each of the group's engines the OOM killer took since its start, as of the last
    /// look at the trees; of those whose cgroup counts them.
    fn oom_kills(&self, domain: &DomainId) -> Vec<(Member, u64)>;

    /// Bytes of host memory that are left; `None`: that is not known.
    fn host_memory(&self) -> Option<u64>;

    /// The living processes of one engine as of the last look at the trees, its main one first.
    fn processes(&self, engine: &Member) -> Vec<ProcessId>;

    /// Which processes of the group's engines have a connection to its pipe directory.
    fn knocking(&self, domain: &DomainId) -> Answer<Result<Vec<u32>, Blindness>>;

    /// The settings of MPS that the processes of one engine were started with; of those that may be read.
    fn environments(&self, engine: &Member) -> Answer<Result<MpsEnvironments, String>>;
}

/// Everything that can be looked at.
pub struct Observers {
    gpus: BTreeMap<GpuUuid, GpuThread>,
    endpoints: BTreeMap<Member, Rc<Endpoint>>,
    /// Where engines answer once they are started the next time.
    next_endpoints: BTreeMap<Member, Rc<Endpoint>>,
    driver: Arc<dyn Gpus>,
    io: Rc<dyn LookIo>,
    sampler: Sampler,
    connections: Connections,
    reports: Reports,
}

impl Observers {
    /// Starts a thread for each GPU of the groups, and one for sockets. Fails only where no thread can be started.
    pub fn new(
        driver: Arc<dyn Gpus>,
        launches: &[GroupLaunch],
        io: Rc<dyn LookIo>,
        sampler: Sampler,
        reports: UnboundedSender<Report>,
    ) -> io::Result<Self> {
        let mut observers = Observers {
            gpus: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            next_endpoints: BTreeMap::new(),
            driver,
            io,
            sampler,
            connections: Connections::start()?,
            reports: Reports(reports),
        };
        observers.take_up(launches, &BTreeSet::new())?;
        Ok(observers)
    }

    /// Takes up changed launches, with a thread for each new GPU. Engines of `rolls` answer where they did until
    /// they are started the next time. What is not named stays. Fails only where no thread can be started.
    pub fn take_up(&mut self, launches: &[GroupLaunch], rolls: &BTreeSet<EngineKey>) -> io::Result<()> {
        for launch in launches {
            for gpu in launch.gpus.iter().filter(|gpu| !self.gpus.contains_key(*gpu)).cloned().collect::<Vec<_>>() {
                let thread = GpuThread::start(self.driver.clone(), gpu.clone())?;
                self.gpus.insert(gpu, thread);
            }
        }
        for engine in launches.iter().flat_map(|launch| &launch.engines).filter(|engine| !engine.url.is_empty()) {
            let (known, rolls) = (self.endpoints.get(&engine.member), rolls.contains(&engine.member.key()));
            // What is known of one that runs on and answers where it did stays: the requests that it works on, its fence.
            if !rolls && known.is_some_and(|known| known.is_of(engine)) {
                continue;
            }
            let later = rolls && known.is_some();
            let endpoints = if later { &mut self.next_endpoints } else { &mut self.endpoints };
            endpoints.insert(engine.member.clone(), Rc::new(Endpoint::of(engine)));
        }
        Ok(())
    }

    /// The windows of the kernel probe of the groups that have them. Fails only where no
    /// thread can be started.
    pub fn sample(&mut self, timings: BTreeMap<GroupName, Timing>) -> io::Result<()> {
        self.sampler.take_up(timings)
    }

    /// An engine is started: from now on it answers where its launch says.
    pub fn engine_starts(&mut self, engine: &Member) {
        if let Some(endpoint) = self.next_endpoints.remove(engine) {
            self.endpoints.insert(engine.clone(), endpoint);
        }
        if let Some(endpoint) = self.endpoints.get(engine) {
            endpoint.requests.take();
        }
    }

    /// Lets go of the driver until the next reading of a GPU, by `deadline` at the latest. Must be called within a tokio
    /// `LocalSet` (or local runtime).
    pub fn let_go_of_driver(&self, id: ActionId, deadline: Moment) {
        let (reports, driver) = (self.reports.clone(), self.driver.clone());
        let within = deadline.since(clock::now());
        tokio::task::spawn_local(async move {
            let closed = tokio::task::spawn_blocking(move || driver.close(within)).await;
            let outcome = match closed {
                Ok(true) => Outcome::Done,
                _ => Outcome::Failed { why: "NVML does not close: a call of it hangs in the driver".to_owned() },
            };
            reports.finished(id, outcome);
        });
    }

    /// Waits for an engine's last request, until `deadline` at the latest. Must be called within a tokio `LocalSet` (or
    /// local runtime).
    pub fn fence(&self, id: ActionId, engine: &Member, deadline: Moment) {
        let reports = self.reports.clone();
        let Some(endpoint) = self.endpoints.get(engine).cloned() else {
            return reports.finished(id, Outcome::NotAsked { why: format!("no engine {engine}") });
        };
        endpoint.requests.borrow_mut().fence(id);
        tokio::task::spawn_local(async move {
            tokio::time::sleep(deadline.since(clock::now())).await;
            if endpoint.requests.borrow_mut().time_is_over(id) {
                reports.finished(id, Outcome::TimedOut);
            }
        });
    }

    /// Forgets the GPUs and engines that are not named.
    pub fn keep(&mut self, launches: &[GroupLaunch]) {
        let engines: BTreeSet<_> =
            launches.iter().flat_map(|launch| &launch.engines).map(|engine| &engine.member).collect();
        self.connections.keep(engines.iter().map(|&engine| engine.clone()).collect());
        self.endpoints.retain(|key, _| engines.contains(key));
        self.next_endpoints.retain(|key, _| engines.contains(key));
        self.gpus.retain(|gpu, _| launches.iter().any(|launch| launch.gpus.contains(gpu)));
    }

    /// Carries out one look. Must be called within a tokio `LocalSet` (or local runtime).
    pub fn look(&self, id: ActionId, look: Look, deadline: Moment) {
        let left = deadline.since(clock::now());
        let (scope, reports) = (look.scope(), self.reports.clone());
        let reading = self.reading(look, left);
        tokio::task::spawn_local(async move {
            let outcome = match tokio::time::timeout(left, reading).await {
                Ok(Ok(())) => Outcome::Done,
                Ok(Err(blindness)) => {
                    reports.blind(scope, blindness.clone());
                    Outcome::from(blindness)
                }
                Err(_) => {
                    reports.blind(scope, Blindness::silent(format!("no answer within {left:?}")));
                    Outcome::TimedOut
                }
            };
            reports.finished(id, outcome);
        });
    }

    /// Reports what it sees; fails when it could not look.
    fn reading(&self, look: Look, left: Duration) -> Answer<Result<(), Blindness>> {
        let (reports, io, bound) = (self.reports.clone(), self.io.clone(), inner_bound(left));
        match look {
            Look::Gpu(gpu) => match self.gpus.get(&gpu) {
                Some(thread) => Box::pin(gpus::look(gpu, thread.read(), reports)),
                None => Box::pin(ready(Err(Blindness::not_asked(format!("no group has the GPU {gpu}"))))),
            },
            Look::Server { domain: group, server } => Box::pin(mps::look_server(io, group, server, bound, reports)),
            Look::Clients { domain: group, server } => Box::pin(mps::look_clients(io, group, server, bound, reports)),
            Look::Trees(group) => Box::pin(async move { processes::look(&*io, &group, &reports) }),
            Look::Pipe(group) => Box::pin(processes::look_pipe(io.knocking(&group), group, reports)),
            Look::CommandLines { domain: group, pids } => Box::pin(processes::look_at_commands(group, pids, reports)),
            Look::Traffic(engine) => match self.endpoints.get(&engine) {
                Some(endpoint) => {
                    let (processes, own_ports) = (io.processes(&engine), endpoint.own_ports());
                    let asked = self.connections.look(engine.clone(), endpoint.door.clone(), processes, own_ports);
                    Box::pin(engines::look_traffic(engine, endpoint.clone(), asked, reports))
                }
                None => Box::pin(ready(Err(Blindness::not_asked(format!("no engine {engine}"))))),
            },
            Look::Token(engine) => match self.endpoints.get(&engine) {
                Some(endpoint) => Box::pin(engines::look_token(engine, endpoint.clone(), bound, reports)),
                None => Box::pin(ready(Err(Blindness::not_asked(format!("no engine {engine}"))))),
            },
            Look::Environment(engine) => Box::pin(processes::look_told(io.environments(&engine), engine, reports)),
            Look::Health(engine) => match self.endpoints.get(&engine) {
                Some(endpoint) => Box::pin(engines::look_health(engine, endpoint.clone(), bound, reports)),
                None => Box::pin(ready(Err(Blindness::not_asked(format!("no engine {engine}"))))),
            },
            Look::Overlap(group) => self.sampler.look(group, bound, reports),
            Look::Load(engine) => match self.endpoints.get(&engine) {
                Some(endpoint) => Box::pin(engines::look_load(engine, endpoint.clone(), bound, reports)),
                None => Box::pin(ready(Err(Blindness::not_asked(format!("no engine {engine}"))))),
            },
        }
    }
}

/// A bound for what happens inside a look: early enough that its own verdict (a command that timed out, a health
/// endpoint without an answer) is reported before the look's deadline.
fn inner_bound(left: Duration) -> Duration {
    left - (left / 10).min(Duration::from_millis(100))
}

#[cfg(test)]
#[path = "look_tests.rs"]
mod tests;
