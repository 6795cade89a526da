//! What readers may ask: NVML's questions, and orders of the stage. Answers are single lines.

use std::time::Instant;

use super::device::Gpu;
use super::{MEMORY_TOTAL, SERVER_MEMORY};
use crate::cuda::CudaError;

impl Gpu {
    /// One question of a reader.
    pub(super) fn answer(&mut self, link: u64, words: &[&str]) {
        let answer = match *words {
            ["repair"] => self.repair(),
            _ if self.lost && words != ["events"] => "lost".to_owned(),
            ["memory"] => format!("{MEMORY_TOTAL} {}", self.memory_used()),
            ["busy"] => self.busy.percent(self.kernels.begins(), Instant::now()).to_string(),
            ["sm-time"] => self.sm_time().to_string(),
            ["compute"] => self.compute(),
            ["mps"] => self.mps(),
            ["uuid"] => self.uuid.clone(),
            ["holds"] => self.holds.to_string(),
            ["running"] => self.running(),
            ["servers"] => self.servers.keys().map(u32::to_string).collect::<Vec<_>>().join(" "),
            ["kmsg", ..] => {
                self.log.record(&words[1..].join(" "));
                "ok".to_owned()
            }
            ["evict", pid] => self.evict(pid.parse().unwrap_or(0)),
            ["action"] => self.recovery_action.to_string(),
            ["lose"] => self.lose(),
            ["want-reset"] => self.want_reset(),
            ["events"] => {
                self.watchers.push(link);
                "ok".to_owned()
            }
            _ => "unknown".to_owned(),
        };
        self.links.say(link, &answer);
    }

    /// Nanoseconds for which every SM was busy, in total; while an engine starves they all are.
    fn sm_time(&self) -> u128 {
        let now = Instant::now();
        let starving = self.starving.map_or(0, |since| now.saturating_duration_since(since).as_nanos());
        self.kernels.used(now).as_nanos() + starving
    }

    /// Clients, servers and processes that compute outside MPS, as `pid:bytes`.
    fn compute(&self) -> String {
        let processes = self.processes.iter().filter(|(_, process)| process.context);
        let processes = processes.map(|(pid, process)| (*pid, process.memory));
        let servers = self.servers.iter().filter(|(_, server)| server.memory > 0);
        list(processes.chain(servers.map(|(pid, _)| (*pid, SERVER_MEMORY))))
    }

    /// Clients of MPS servers only.
    fn mps(&self) -> String {
        let clients = self.processes.iter().filter(|(_, process)| process.context && process.server.is_some());
        list(clients.map(|(pid, process)| (*pid, process.memory)))
    }

    /// Processes with a kernel in flight.
    fn running(&self) -> String {
        let found = self.processes.iter().filter(|(_, process)| process.kernel.is_some() && !process.ended);
        found.map(|(pid, _)| pid.to_string()).collect::<Vec<_>>().join(" ")
    }

    /// The client's server takes its memory back, as those of r615 do under memory pressure.
    fn evict(&mut self, pid: u32) -> String {
        let Some(process) = self.processes.get_mut(&pid).filter(|process| !process.ended) else {
            return "unknown".to_owned();
        };
        (process.context, process.memory, process.terminated) = (false, 0, true);
        if let Some(server) = process.server.take() {
            self.tell_server(server, &format!("evicted {pid}"));
        }
        self.give_error(pid, CudaError::MPS_CLIENT_TERMINATED);
        "ok".to_owned()
    }

    /// The GPU falls off the bus: Xid 79, and nothing works any more.
    fn lose(&mut self) -> String {
        self.raise_xid(79, "GPU has fallen off the bus.");
        self.lost = true;
        self.fail_everyone()
    }

    /// Memory is broken beyond containment: Xid 95, and the driver wants a reset.
    fn want_reset(&mut self) -> String {
        let pid = self.processes.keys().next().copied().unwrap_or(1);
        self.recovery_action = 1;
        self.raise_xid(95, &format!("pid={pid}, Uncontained: LTC TAG (0x2,0x1). RST: Yes, D-RST: No"));
        self.raise_xid(154, "GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)");
        self.fail_everyone()
    }

    /// It was reset, or is there again.
    fn repair(&mut self) -> String {
        (self.lost, self.recovery_action) = (false, 0);
        "ok".to_owned()
    }

    fn fail_everyone(&mut self) -> String {
        let all: Vec<u32> = self.processes.keys().copied().collect();
        for pid in all {
            self.give_error(pid, CudaError::UNKNOWN);
        }
        "ok".to_owned()
    }

    /// Tells everyone who waits for Xids.
    pub(super) fn tell_watchers(&mut self, xid: u32) {
        for watcher in &self.watchers {
            self.links.say(*watcher, &format!("xid {xid}"));
        }
    }
}

fn list(processes: impl Iterator<Item = (u32, u64)>) -> String {
    processes.map(|(pid, bytes)| format!("{pid}:{bytes}")).collect::<Vec<_>>().join(" ")
}
