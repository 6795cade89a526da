//! What a domain asks `may`, with the facts that each answer depends on.

use crate::decide::detect::Finding;
use crate::decide::domain::state::Domain;
use crate::decide::facts::GpuFacts;
use crate::decide::facts::engine::Engine;
use crate::decide::facts::gpu_health::Ailment;
use crate::decide::facts::scene::Scene;
use crate::decide::facts::stage::Stage;
use crate::decide::may::{self, May, Others, Served};
use crate::decide::turn::Turn;
use crate::model::{EngineName, Fault, Hold, Moment, Tier};

impl Scene {
    /// Whether the watchdog may act on `fault` by itself.
    pub(crate) fn may_act_on(&self, fault: Fault, hold: Option<&Hold>) -> May {
        may::act_on(self.policy.mode_of(fault), hold)
    }

    /// Whether what a tier ends for a fault is the watchdog's to end: the engine, all engines, or the daemon too.
    pub(crate) fn may_end(&self, tier: Tier, engine: Option<&EngineName>) -> May {
        let of_the_tier = |known: &&Engine| tier > Tier::Engine || engine == Some(known.name());
        // A daemon that is not there needs nobody to end it. Where there is no engine a daemon of others is all there is.
        let ends_it = tier == Tier::Daemon && !self.control.is_down();
        let is_all = tier > Tier::Engine && self.engines.is_empty() && self.policy.custody.is_others();
        let daemon = (ends_it || is_all).then_some(self.policy.custody);
        let engines = self.engines.iter().filter(of_the_tier).map(|engine| engine.policy.custody);
        may::end_processes(engines.chain(daemon))
    }

    /// Whether the control daemon is the watchdog's to start.
    pub(crate) fn may_start_control(&self) -> May {
        may::start_control(self.policy.custody)
    }

    /// Whether the control daemon is the watchdog's to stop, and its directory to sweep.
    pub(crate) fn may_stop_control(&self) -> May {
        may::stop_control(self.policy.custody)
    }

    /// Whether an engine's processes are the watchdog's to start.
    pub(crate) fn may_start_processes(&self, engine: &Engine) -> May {
        may::start_processes(engine.policy.custody)
    }

    /// Whether its control daemon may be asked for a server at all.
    pub(crate) fn may_start_a_server(&self) -> May {
        may::start_server(self.policy.custody, self.engines.iter().filter(|engine| engine.is_ours_to_start()).count())
    }

    /// Whether a tier may end and start again for `fault` what it ends: the engine, all engines, or the daemon too.
    pub(crate) fn may_restart(
        &self,
        tier: Tier,
        engine: Option<&EngineName>,
        fault: Fault,
        hold: Option<&Hold>,
    ) -> May {
        self.may_act_on(fault, hold)?;
        self.may_end(tier, engine)
    }

    /// Whether a restart that is on its way may go further for `fault`.
    pub(crate) fn may_go_further_for(&self, fault: Fault) -> May {
        may::go_further(self.policy.mode_of(fault))
    }

    /// Whether clients of another engine may be taken off the server.
    pub(crate) fn may_terminate_clients(&self) -> May {
        let terminates = self.engines.iter().any(Engine::is_terminated);
        may::terminate_clients(if terminates { Others::Underway } else { Others::AtRest })
    }

    /// Whether a search for the culprit of repeated faults may move engines.
    pub(crate) fn may_search(&self, hold: Option<&Hold>) -> May {
        may::search(self.policy.isolation.mode, self.may_act_on(Fault::GpuFault, hold))
    }

    /// Whether clients that no engine owns may be ended.
    pub(crate) fn may_kill_unknown_clients(&self) -> May {
        may::kill_unknown_clients(self.policy.mode_of(Fault::UnknownClient), self.policy.unknown_clients)
    }

    /// Whether an engine that is to run does not serve.
    pub(crate) fn is_failing(&self) -> bool {
        self.engines.iter().any(|engine| !matches!(engine.stage, Stage::Serving | Stage::Quarantined | Stage::Stopped))
    }
}

impl Domain {
    /// Whether a restart may mend what was found, or would end engines for nothing.
    pub(crate) fn may_mend(&self, finding: &Finding, gpu: &GpuFacts, now: Moment) -> May {
        match finding.fault {
            // Without a server it would come up outside MPS once more.
            Fault::OutsideMps => self.may_start(gpu, now),
            Fault::GpuLost | Fault::GpuResetNeeded => {
                gpu.health.ailment().map_or(Ok(()), |ailment| may::stop_for(ailment, self.gpu_excused))
            }
            Fault::LimitMissing | Fault::LimitExceeded => {
                let engine = finding.engine.as_ref().and_then(|name| self.scene.engine(name));
                may::try_again(engine.and_then(|engine| engine.tried.last_there(finding.fault)), now)
            }
            Fault::GpuFault => self.may_end_all(now),
            Fault::ServerDied
            | Fault::ControlDied
            | Fault::ControlWedged
            | Fault::ServerCannotStart
            | Fault::ServerStuck
            | Fault::NewcomersHang
            | Fault::EngineDied
            | Fault::CrashLoop
            | Fault::DeviceOom
            | Fault::HostOom
            | Fault::MemoryLeak
            | Fault::Hang
            | Fault::Starved
            | Fault::ForeignProcess
            | Fault::Evicted
            | Fault::UnknownClient
            | Fault::UidMismatch
            | Fault::ClientLimit => Ok(()),
        }
    }

    /// Whether the whole group may be ended for `fault` now.
    pub(crate) fn may_end_for(&self, fault: Fault, now: Moment) -> May {
        if fault != Fault::ControlWedged {
            return Ok(());
        }
        let engines = if self.scene.is_failing() { Served::NotAll } else { Served::All };
        may::end_for_a_wedge(self.wedge_due(), engines, self.may_attempt(now), now)
    }

    /// Whether the whole group may be ended for `fault` before all evidence of who did it is there.
    pub(crate) fn may_end_before_the_evidence(&self, fault: Fault, now: Moment) -> May {
        may::end_before_the_evidence(self.suspects.evidence_due(fault), now)
    }

    /// Whether there may be another attempt to restart the group.
    pub(crate) fn may_attempt(&self, now: Moment) -> May {
        may::attempt(&self.scene.policy.recovery, &self.budget.attempts, now)
    }

    /// Whether anything may run on the GPU as it is.
    pub(crate) fn may_run(&self, gpu: &GpuFacts) -> May {
        gpu.health.ailment().map_or(Ok(()), |ailment| {
            may::run_with(ailment, self.scene.policy.mode_of(ailment.fault()), self.gpu_excused)
        })
    }

    /// What keeps this domain from being started on its GPU.
    pub(crate) fn barred<'a>(&self, gpu: &'a GpuFacts) -> Option<&'a Ailment> {
        gpu.health.ailment().filter(|_| self.may_run(gpu).is_err())
    }

    /// Whether the domain may be started on its GPU.
    pub(crate) fn may_use(&self, gpu: &GpuFacts) -> May {
        may::use_gpu(gpu, self.may_run(gpu))
    }

    /// Whether the control daemon may be asked for a server while engines run.
    pub(crate) fn may_ask_for_a_server(&self, gpu: &GpuFacts) -> May {
        may::ask_for_a_server(&self.scene.control, &self.scene.server, self.may_run(gpu))
    }

    /// Whether an engine that is started now becomes a client of an ACTIVE server.
    pub(crate) fn may_start(&self, gpu: &GpuFacts, now: Moment) -> May {
        may::start_engine(&self.scene.control, &self.scene.server, self.may_run(gpu), now)
    }

    /// Whether the next engine may start beside those that are on their way.
    pub(crate) fn may_start_another(&self, turn: &Turn<'_>) -> May {
        let others = |underway: bool| if turn.home_starts || underway { Others::Underway } else { Others::AtRest };
        let allocating = self.scene.engines.iter().any(|engine| engine.takes_memory(turn));
        may::start_another(self.scene.policy.recovery.start, others(self.starts_an_engine()), others(allocating))
    }
}
