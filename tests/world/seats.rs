//! Groups over several GPUs: which engine computes on which, and whose contexts a fault takes along. As measured: the GPUs
//! that share a client with the faulting one, joined by clients that use two (docs/h200.md).

use std::collections::{BTreeMap, BTreeSet};

use mpswarden_core::model::{GpuUuid, Observation, ServerLine, XidVia};

use super::{Group, World};

impl Group {
    /// The GPUs of an engine, by their places in the group.
    pub(super) fn seats_of(&self, engine: usize) -> BTreeSet<usize> {
        let seats = &self.engines[engine].seats;
        if seats.is_empty() { BTreeSet::from([0]) } else { seats.clone() }
    }

    /// Whether an engine computes on this GPU.
    pub(super) fn sits_on(&self, engine: usize, gpu: &GpuUuid) -> bool {
        let place = self.gpus.iter().position(|known| known == gpu);
        !self.gpus.are_several() || place.is_some_and(|place| self.seats_of(engine).contains(&place))
    }

    /// Clients by their pids, with their GPUs. Those that no engine owns are on the first.
    fn seated(&self) -> BTreeMap<u32, BTreeSet<usize>> {
        let clients = (0..self.engines.len()).filter(|place| self.engines[*place].client);
        let engines = clients.filter_map(|place| Some((self.engines[place].pid?, self.seats_of(place))));
        engines.chain(self.strays.iter().map(|pid| (*pid, BTreeSet::from([0])))).collect()
    }

    /// Clients that die with a fault on a GPU.
    fn dies_with(&self, gpu: usize) -> BTreeSet<u32> {
        let seated = self.seated();
        let (mut hit, mut dead) = (BTreeSet::from([gpu]), BTreeSet::new());
        // No chain is longer than the clients are many.
        for _ in 0..=seated.len() {
            for (pid, seats) in &seated {
                if !seats.is_disjoint(&hit) {
                    dead.insert(*pid);
                    hit.extend(seats);
                }
            }
        }
        dead
    }

    /// Whether a client that a fault hit is still there.
    pub(super) fn holds_a_fault(&self) -> bool {
        let clients = self.clients();
        if self.gpus.are_several() { !self.torn.is_disjoint(&clients) } else { !clients.is_empty() }
    }
}

impl World {
    /// A fault on one GPU of a group over several: its lines, and who dies. `culprit`: the engine whose kernel it was.
    pub(super) fn tear(&mut self, group: usize, server: u32, culprit: Option<usize>) {
        let here = &self.groups[group];
        let gpu = culprit.and_then(|place| here.seats_of(place).first().copied()).unwrap_or(0);
        let dead = here.dies_with(gpu);
        let uuid = here.gpus.iter().nth(gpu).cloned();
        self.observe(Observation::Xid { gpu: uuid, xid: 31, pid: Some(4242), via: XidVia::Kmsg });
        for client in dead.iter().filter(|_| !self.groups[group].names_nobody).copied().collect::<Vec<_>>() {
            self.log(group, ServerLine::Torn { server, client });
        }
        if !self.groups[group].names_nobody {
            self.log(group, ServerLine::TornAll { server });
        }
        self.groups[group].torn.extend(dead);
    }

    /// Holds the rule that nobody is ended whose context lives: while a server is in FAULT for others.
    pub(super) fn hold_the_living(&mut self, group: usize, engine: usize) {
        let here = &self.groups[group];
        let in_fault = here.server.as_ref().is_some_and(|it| it.state == mpswarden_core::model::ServerState::Fault);
        let lives =
            here.engines[engine].client && here.engines[engine].pid.is_some_and(|pid| !here.torn.contains(&pid));
        if here.gpus.are_several() && here.holds_the_living && in_fault && lives {
            let name = here.engines[engine].name.clone();
            self.violate(&format!("{name} is ended, and its context lives"));
        }
    }
}
