//! Processes of the stand-in world that no engine owns: some compute on the GPU, some wait for the MPS server.

use mpswarden_core::model::{CommandLine, GpuProcess, Member, Observation, ProcessId, ServerLine};

use super::{Break, GIB, World};

/// An outsider.
#[derive(Debug)]
pub(super) struct Outsider {
    command: String,
    computes: bool,
    /// It knows this engine's word.
    claims: Option<Member>,
}

impl World {
    /// Carries it out.
    pub(super) fn break_outside(&mut self, what: Break) {
        match what {
            Break::Foreign(pid, command) => {
                self.outsiders.insert(pid, Outsider { command, computes: true, claims: None });
            }
            Break::Pending(group, client, uid) => {
                self.waits(client);
                self.log(group, ServerLine::Pending { client, uid });
            }
            Break::Refused(group, client, status) => {
                self.waits(client);
                let server = self.groups[group].server.as_ref().unwrap().pid;
                self.log(group, ServerLine::Refused { server, client, status });
            }
            Break::Full(group, limit) => {
                let server = self.groups[group].server.as_ref().unwrap().pid;
                self.log(group, ServerLine::Full { server, limit });
            }
            Break::LetIn(group, client) => {
                let server = self.groups[group].server.as_ref().unwrap().pid;
                self.log(group, ServerLine::Connected { server, client });
            }
            Break::Crowd(group, clients) => {
                (0..clients).for_each(|_| self.stray(group));
            }
            Break::Claims(pid, engine) => {
                self.outsiders.entry(pid).and_modify(|outsider| outsider.claims = Some(engine));
            }
            Break::OutsiderGone(pid) => {
                self.outsiders.remove(&pid);
            }
            _ => unreachable!("nothing of the outside"),
        }
    }

    fn waits(&mut self, pid: u32) {
        if !self.processes.contains_key(&pid) {
            self.outsiders.insert(pid, Outsider { command: "client".to_owned(), computes: false, claims: None });
        }
    }

    /// What NVML lists of them.
    pub(super) fn foreign_on_gpu(&self) -> impl Iterator<Item = GpuProcess> {
        let computing = self.outsiders.iter().filter(|(_, outsider)| outsider.computes);
        computing.map(|(pid, _)| GpuProcess { pid: *pid, memory: Some(GIB) })
    }

    /// Those that know an engine's word: in its tree, and claimed.
    pub(super) fn claim(&self, trees: Vec<Observation>) -> Vec<Observation> {
        let claimed = |key: &Member| -> Vec<ProcessId> {
            let all = self.outsiders.iter().filter(|(_, outsider)| outsider.claims.as_ref() == Some(key));
            all.map(|(pid, _)| ProcessId { pid: *pid, started_at: 1 }).collect()
        };
        let with = |seen: Observation| match seen {
            Observation::Tree { engine, mut processes } => {
                let claimed = claimed(&engine);
                processes.extend(claimed.iter().copied());
                let told =
                    (!claimed.is_empty()).then(|| Observation::Claimed { engine: engine.clone(), processes: claimed });
                told.into_iter().chain([Observation::Tree { engine, processes }]).collect()
            }
            other => vec![other],
        };
        trees.into_iter().flat_map(with).collect()
    }

    /// What /proc says of these.
    pub(super) fn command_lines(&self, pids: &[u32]) -> Vec<CommandLine> {
        let found = |pid: &u32| {
            let text = self.outsiders.get(pid)?.command.clone();
            Some(CommandLine { process: ProcessId { pid: *pid, started_at: 1 }, text })
        };
        pids.iter().filter_map(found).collect()
    }
}
