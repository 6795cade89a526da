//! Tells processes that compute on a GPU and belong to no group from those that do.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::decide::domain::state::Domain;
use crate::decide::facts::foreign::OutsideMps;
use crate::decide::facts::reading::Reading;
use crate::decide::facts::scene::Scene;
use crate::decide::facts::strangers::NAMED_WITHIN;
use crate::decide::turn::Turn;
use crate::model::{Fault, Moment, ServerState, What};

impl Scene {
    /// It has a server that is ready, and NVML lists neither that nor a client of it, but others.
    fn hides_its_server(&self, reading: &Reading) -> bool {
        let ready = self.server.state.last() == Some(&ServerState::Active);
        let server = self.server.pid.filter(|_| ready);
        let clients = self.server.clients.last().filter(|_| server.is_some());
        clients.is_some_and(|clients| !reading.pids_match(clients, server))
    }

    /// The proven ones whose command is known, or can't be learnt, and since when they were listed.
    pub(crate) fn foreigners(&self, now: Moment) -> BTreeMap<u32, Moment> {
        let named = |pid: u32, since| self.around.strangers.answered(pid) || now.since(since) >= NAMED_WITHIN;
        let proven = self.around.foreign.listed.iter().filter(|(_, listed)| listed.proven);
        proven.map(|(pid, listed)| (*pid, listed.since)).filter(|(pid, since)| named(*pid, *since)).collect()
    }
}

impl Domain {
    /// Emits those that joined while the fault lasts; with the others, so that the latest event names all.
    pub(crate) fn tell_of_joined_foreigners(&mut self, turn: &mut Turn<'_>) {
        let Some(began) = self.scene.faults.get(&(None, Fault::ForeignProcess)).copied() else {
            self.scene.around.foreign.emitted.clear();
            return;
        };
        let there: BTreeSet<u32> = self.scene.foreigners(turn.now).into_keys().collect();
        let news = !there.is_subset(&self.scene.around.foreign.emitted);
        if news && began != turn.now {
            if turn.now.since(self.scene.around.foreign.emitted_at) < JOINED_PAUSE {
                return;
            }
            let because = crate::decide::detect::foreign_sentence(&self.scene, turn.now);
            turn.emit(What::FaultChanged { fault: Fault::ForeignProcess, because });
        }
        if news {
            self.scene.around.foreign.emitted_at = turn.now;
        }
        self.scene.around.foreign.emitted = there;
    }
}

/// Shortest time between two reports of processes that join.
const JOINED_PAUSE: Duration = Duration::from_secs(60);

/// What a reading shows beside MPS. `None`: an engine's processes are not known, or NVML shows other pids.
pub(crate) fn beside(reading: &Reading, on_gpu: &[&Domain], groups: &[&Domain], now: Moment) -> Option<OutsideMps> {
    if !on_gpu.iter().all(|group| group.scene.around.pids_match) {
        return None;
    }
    let trees_at = on_gpu.iter().try_fold(now, |oldest, group| Some(oldest.min(group.trees_at(now)?)))?;
    // NVML speaks of other pids, as far as anybody can tell: a server with a context is not among them.
    if on_gpu.iter().any(|group| group.scene.hides_its_server(reading)) {
        return None;
    }
    let is_server = |pid: &u32| groups.iter().any(|group| group.scene.server.pid == Some(*pid));
    // Where NVML does not know of a client, its daemon does.
    let is_client =
        |pid: &u32| groups.iter().any(|group| group.scene.server.clients.last().is_some_and(|all| all.contains(pid)));
    let mut pids: BTreeSet<u32> = reading.beside_mps().filter(|pid| !is_server(pid) && !is_client(pid)).collect();
    if !pids.is_empty() {
        // A process that only claims to be an engine's, and computes beside MPS, is no engine's.
        groups.iter().flat_map(|domain| domain.scene.proven_pids()).for_each(|pid| {
            pids.remove(&pid);
        });
    }
    Some(OutsideMps { pids, trees_at })
}
