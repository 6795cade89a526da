//! Engines that nobody configured come and go with the clients of a control daemon that others run: each change of them
//! is a changed policy, as that of a reload.

use std::collections::BTreeSet;

use crate::config::{FoundEngineSettings, launch_of_found, policy_of_found};
use crate::decide::Policy;
use crate::host::owners::Owners;
use crate::model::{DomainId, GroupLaunch, Moment, Observation, Owner, Report, ServerLine};
use crate::observe::found::FoundEngines;

/// What is configured, and what was found beside it.
pub(super) struct Discovery {
    found: FoundEngines,
    policy: Policy,
    launches: Vec<GroupLaunch>,
    /// Daemons whose clients are looked up: others run them, and the configuration names no engine of theirs.
    domains: BTreeSet<DomainId>,
    /// What is true of each engine that is found.
    settings: FoundEngineSettings,
}

impl Discovery {
    /// Nothing was found yet beside this configuration. `owners`: where engines are named.
    pub(super) fn new(
        policy: &Policy,
        launches: &[GroupLaunch],
        settings: &FoundEngineSettings,
        owners: Owners,
    ) -> Self {
        let mut discovery = Discovery {
            found: FoundEngines::by(owners),
            policy: policy.clone(),
            launches: launches.to_vec(),
            domains: BTreeSet::new(),
            settings: settings.clone(),
        };
        discovery.note();
        discovery
    }

    /// Where the engines' names come from.
    pub(super) fn owners(&self) -> Owners {
        self.found.owners()
    }

    /// Takes up a changed configuration, and adds what was found.
    pub(super) fn take_up(
        &mut self,
        policy: &mut Policy,
        launches: &mut Vec<GroupLaunch>,
        settings: FoundEngineSettings,
    ) {
        (self.policy, self.launches, self.settings) = (policy.clone(), launches.clone(), settings);
        self.note();
        self.found.keep(&self.domains);
        (*policy, *launches) = self.merged();
    }

    /// Takes up a report. `true`: the engines changed by it.
    #[expect(clippy::wildcard_enum_match_arm, reason = "only clients and ends change which engines there are")]
    pub(super) fn saw(&mut self, report: &Report, now: Moment) -> bool {
        let Report::Observed(observation) = report else { return false };
        let mut of = |domain: &DomainId, work: &mut dyn FnMut(&mut FoundEngines) -> bool| {
            self.domains.contains(domain) && work(&mut self.found)
        };
        match observation {
            Observation::Clients { domain, clients, .. } => {
                of(domain, &mut |found| found.clients(domain, clients, now))
            }
            Observation::Log { domain, line: ServerLine::Connected { client, .. }, .. } => {
                of(domain, &mut |found| found.client(domain, *client))
            }
            Observation::Log { domain, line: ServerLine::Disconnected { client, .. }, .. } => {
                of(domain, &mut |found| {
                    found.left(domain, *client);
                    false
                })
            }
            Observation::Removed { instance, .. } => of(&instance.domain(), &mut |found| {
                found.removed(&instance.domain(), &instance.engine.engine);
                true
            }),
            Observation::Ended { owner: Owner::Engine(instance), .. } => of(&instance.domain(), &mut |found| {
                found.failed(&instance.domain(), &instance.engine.engine, now);
                false
            }),
            _ => false,
        }
    }

    /// Time passes. `true`: engines were forgotten.
    pub(super) fn forget_old(&mut self, now: Moment) -> bool {
        self.found.forget_old(now)
    }

    /// The configuration with what was found.
    pub(super) fn merged(&self) -> (Policy, Vec<GroupLaunch>) {
        let (mut policy, mut launches) = (self.policy.clone(), self.launches.clone());
        for launch in launches.iter_mut().filter(|launch| self.domains.contains(&launch.domain)) {
            let engines = || self.found.engines(&launch.domain);
            let found =
                engines().map(|engine| launch_of_found(&launch.domain, &launch.gpus, engine, &self.settings)).collect();
            if let Some(group) = policy.groups.iter_mut().find(|group| group.name == launch.domain.group) {
                group.engines = engines().map(|engine| policy_of_found(engine, &self.settings)).collect();
            }
            launch.engines = found;
        }
        (policy, launches)
    }

    /// Notes what it is looked for, and how.
    fn note(&mut self) {
        self.found.answer_at(self.settings.port);
        let finds = |launch: &&GroupLaunch| launch.control.custody.is_others() && launch.engines.is_empty();
        self.domains = self.launches.iter().filter(finds).map(|launch| launch.domain.clone()).collect();
    }
}
