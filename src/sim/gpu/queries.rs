//! What readers may ask: NVML's questions, and orders of the stage. Answers are single lines.

use std::time::Instant;

use super::driver::Driver;
use super::process::{Process, Seat};
use super::{MEMORY_TOTAL, SERVER_MEMORY};
use crate::cuda::CudaError;

impl Driver {
    /// One question of a reader, about the first GPU unless it begins with `on INDEX`.
    pub(super) fn answer(&mut self, link: u64, words: &[&str]) {
        let (device, words) = match words {
            ["on", device, rest @ ..] => (device.parse().unwrap_or(usize::MAX), rest),
            words => (0, words),
        };
        let answer = match self.devices.get(device) {
            None => "unknown".to_owned(),
            Some(_) if words == ["uuids"] && self.devices.iter().any(|device| !device.lost) => self.uuids(),
            Some(known) if known.lost && words != ["events"] && words != ["repair"] => "lost".to_owned(),
            Some(_) => self.answer_about(device, link, words),
        };
        self.links.say(link, &answer);
    }

    fn answer_about(&mut self, index: usize, link: u64, words: &[&str]) -> String {
        let Some(device) = self.devices.get_mut(index) else { return "unknown".to_owned() };
        match *words {
            ["repair"] => {
                (device.lost, device.recovery_action) = (false, 0);
                "ok".to_owned()
            }
            ["memory"] => format!("{MEMORY_TOTAL} {}", self.memory_used(index)),
            ["busy"] => device.busy.percent(device.kernels.begins(), Instant::now()).to_string(),
            ["sm-time"] => self.sm_time(index).to_string(),
            ["compute"] => self.compute(index),
            ["mps"] => self.mps(index),
            ["uuid"] => device.uuid.clone(),
            ["holds"] => self.holds.to_string(),
            ["running"] => self.running(),
            ["faulted"] => {
                let faulted = self.servers.iter().filter(|(_, server)| server.fault.is_some());
                faulted.map(|(pid, _)| pid.to_string()).collect::<Vec<_>>().join(" ")
            }
            ["orphans"] => self.orphans(),
            ["servers"] => self.servers.keys().map(u32::to_string).collect::<Vec<_>>().join(" "),
            ["kmsg", ..] => {
                self.log.record(&words[1..].join(" "));
                "ok".to_owned()
            }
            ["evict", pid] => self.evict(pid.parse().unwrap_or(0)),
            ["action"] => device.recovery_action.to_string(),
            ["lose"] => self.lose(index),
            ["want-reset"] => self.want_reset(index),
            ["events"] => {
                device.watchers.push(link);
                "ok".to_owned()
            }
            _ => "unknown".to_owned(),
        }
    }

    fn uuids(&self) -> String {
        self.devices.iter().map(|device| device.uuid.as_str()).collect::<Vec<_>>().join(" ")
    }

    /// Nanoseconds for which every SM was busy, in total; while an engine starves they all are.
    fn sm_time(&self, device: usize) -> u128 {
        let now = Instant::now();
        let Some(device) = self.devices.get(device) else { return 0 };
        let starving = device.starving.map_or(0, |since| now.saturating_duration_since(since).as_nanos());
        device.kernels.used(now).as_nanos() + starving
    }

    /// Clients, servers and processes that compute outside MPS, as `pid:bytes`.
    fn compute(&self, device: usize) -> String {
        let servers = self.servers.iter().filter(|(_, server)| server.devices.contains(&device));
        let servers = servers.map(|(pid, _)| (*pid, SERVER_MEMORY));
        list(self.contexts_on(device).map(|(pid, _, memory)| (pid, memory)).chain(servers))
    }

    /// Clients of MPS servers only.
    fn mps(&self, device: usize) -> String {
        let clients = self.contexts_on(device).filter(|(_, process, _)| process.server.is_some());
        list(clients.map(|(pid, _, memory)| (pid, memory)))
    }

    fn contexts_on(&self, device: usize) -> impl Iterator<Item = (u32, &Process, u64)> {
        self.processes.iter().filter_map(move |(pid, process)| {
            let context = process.contexts.get(&device).filter(|context| context.made)?;
            Some((*pid, process, context.memory))
        })
    }

    /// Processes with a kernel in flight.
    fn running(&self) -> String {
        let runs = |process: &Process| process.contexts.values().any(|context| context.kernel.is_some());
        let found = self.processes.iter().filter(|(_, process)| runs(process) && !process.ended);
        found.map(|(pid, _)| pid.to_string()).collect::<Vec<_>>().join(" ")
    }

    /// Contexts whose siblings would fault if their processes were killed now, as `pid:device`.
    fn orphans(&self) -> String {
        let found = self.processes.keys().flat_map(|pid| self.orphaned_by(*pid));
        found.map(|seat| format!("{}:{}", seat.pid, seat.device)).collect::<Vec<_>>().join(" ")
    }

    /// The client's server takes its memory back, as those of r615 do under memory pressure.
    fn evict(&mut self, pid: u32) -> String {
        let Some(process) = self.processes.get_mut(&pid).filter(|process| !process.ended) else {
            return "unknown".to_owned();
        };
        process.terminated = true;
        for context in process.contexts.values_mut() {
            (context.made, context.memory) = (false, 0);
        }
        if let Some(server) = process.server.take() {
            self.tell_server(server, &format!("evicted {pid}"));
        }
        for seat in self.seats(pid) {
            self.give_error(seat, CudaError::MPS_CLIENT_TERMINATED);
        }
        "ok".to_owned()
    }

    /// The GPU falls off the bus: Xid 79, and nothing works any more.
    fn lose(&mut self, device: usize) -> String {
        self.raise_xid(device, 79, "GPU has fallen off the bus.");
        if let Some(known) = self.devices.get_mut(device) {
            known.lost = true;
        }
        self.fail_everyone_on(device)
    }

    /// Memory is broken beyond containment: Xid 95, and the driver wants a reset.
    fn want_reset(&mut self, device: usize) -> String {
        let pid = self.contexts_on(device).next().map_or(1, |(pid, _, _)| pid);
        if let Some(known) = self.devices.get_mut(device) {
            known.recovery_action = 1;
        }
        self.raise_xid(device, 95, &format!("pid={pid}, Uncontained: LTC TAG (0x2,0x1). RST: Yes, D-RST: No"));
        self.raise_xid(device, 154, "GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)");
        self.fail_everyone_on(device)
    }

    fn fail_everyone_on(&mut self, device: usize) -> String {
        let all: Vec<u32> = self.processes.keys().copied().collect();
        for pid in all {
            self.give_error(Seat { pid, device }, CudaError::UNKNOWN);
        }
        "ok".to_owned()
    }

    /// Tells everyone who waits for Xids of a GPU.
    pub(super) fn tell_watchers(&mut self, device: usize, xid: u32) {
        for watcher in self.devices.get(device).into_iter().flat_map(|device| &device.watchers) {
            self.links.say(*watcher, &format!("xid {xid}"));
        }
    }
}

fn list(processes: impl Iterator<Item = (u32, u64)>) -> String {
    processes.map(|(pid, bytes)| format!("{pid}:{bytes}")).collect::<Vec<_>>().join(" ")
}
