//! What the control daemon answers, word for word as recorded.

use super::daemon::{Daemon, ListedClient, Server};
use crate::visible::Gpu;

const DEVICE_COLUMNS: [&str; 5] = ["Device Ordinal", "PCI IDs", "UUID", "Name", "Attributes"];

impl Daemon {
    /// Carries a command out; `None`: the answer comes later.
    pub(super) fn obey(&mut self, command: &str) -> Option<String> {
        let words: Vec<&str> = command.split_whitespace().collect();
        let answer = match *words {
            ["get_server_list"] => self.ready_server().map_or(String::new(), |server| format!("{}\n", server.pid)),
            ["get_server_status", pid] => self.of_server(pid, |server| format!("{}\n", server.state)),
            ["get_client_list", pid] => self.of_server(pid, client_list),
            ["get_active_thread_percentage", pid] => self.of_server(pid, |_| format!("{}\n", self.percentage)),
            ["get_device_pinned_mem_limit", pid, _] => self.of_server(pid, |_| line(&self.memory_limit)),
            ["ps"] => self.ps(),
            ["ps", "-p", pid] => format!("Server {pid} not found\nServer {pid} not found\n\n"),
            ["get_device_client_list", ..] => self.device_client_list(),
            ["device_query"] => self.device_query(wide),
            ["device_query", "--csv"] => self.device_query(|columns| columns.join(",")),
            ["get_default_active_thread_percentage"] => format!("{}\n", self.percentage),
            ["get_default_device_pinned_mem_limit", _] => line(&self.memory_limit),
            ["get_default_client_priority"] => "0\n".to_owned(),
            ["set_default_active_thread_percentage", value] => self.set_percentage(value),
            ["set_active_thread_percentage", _, value] => self.set_percentage(value),
            ["set_default_device_pinned_mem_limit", _, value] => self.set_memory_limit(value),
            ["set_device_pinned_mem_limit", _, _, value] => self.set_memory_limit(value),
            ["start_server", "-uid", uid] => self.ordered_start(uid),
            ["terminate_client", server, client] => return self.terminate(server, client),
            ["quit"] => return self.quit(None),
            ["quit", "-t", seconds] => return self.quit(seconds.parse().ok()),
            _ => format!("Unknown command \"{}\"\n", words.first().unwrap_or(&"")),
        };
        Some(answer)
    }

    fn quit(&mut self, seconds: Option<u64>) -> Option<String> {
        self.begin_quit(seconds);
        None
    }

    fn ready_server(&self) -> Option<&Server> {
        self.server.as_ref().filter(|server| server.ready)
    }

    fn of_server(&self, pid: &str, tell: impl Fn(&Server) -> String) -> String {
        let server = self.server.as_ref().filter(|server| server.pid.to_string() == pid);
        server.map_or_else(|| format!("Server {pid} not found\n"), tell)
    }

    fn set_percentage(&mut self, value: &str) -> String {
        if let Ok(percentage) = value.parse::<f32>() {
            self.percentage = format!("{percentage:.1}");
        }
        format!("{}\n", self.percentage)
    }

    fn set_memory_limit(&mut self, value: &str) -> String {
        self.memory_limit = value.to_owned();
        String::new()
    }

    fn ordered_start(&mut self, uid: &str) -> String {
        if self.server.is_none() {
            self.start_server(uid.parse().unwrap_or(0));
        }
        String::new()
    }

    fn terminate(&mut self, server: &str, client: &str) -> Option<String> {
        let Some(known) = self.ready_server().filter(|known| known.pid.to_string() == server) else {
            return Some(format!("Server {server} not found\n"));
        };
        if !known.clients.iter().any(|known| known.pid.to_string() == client) {
            return Some(format!("Client {client} not found\n"));
        }
        let link = known.link?;
        self.links.say(link, &format!("terminate {client}"));
        None
    }

    fn ps(&self) -> String {
        let Some(server) = self.ready_server() else { return "Server not found\n".to_owned() };
        let mut table = columns("PID", "ID", "SERVER", "DEVICE", "NAMESPACE", "COMMAND");
        for client in &server.clients {
            let (pid, number, server) = (client.pid.to_string(), client.number.to_string(), server.pid.to_string());
            for gpu in self.gpus.iter().filter(|gpu| client.contexts.contains(&gpu.index)) {
                let uuid: String = gpu.uuid.chars().take(22).collect();
                table += &columns(&pid, &number, &server, &uuid, &pid_namespace(), &program(client.pid));
            }
        }
        table
    }

    fn device_client_list(&self) -> String {
        let Some(server) = self.ready_server() else { return "Server not found\n".to_owned() };
        let of = |gpu: &Gpu| -> String {
            let there = server.clients.iter().filter(|client| client.contexts.contains(&gpu.index));
            there.map(|client| format!("{}.1\n", client.pid)).collect()
        };
        let lists =
            self.gpus.iter().zip(0..).map(|(gpu, ordinal)| format!("[{ordinal}] 00:00.0, NVIDIA H200\n{}", of(gpu)));
        lists.collect()
    }

    fn device_query(&self, row: impl Fn([&str; 5]) -> String) -> String {
        let of = |(ordinal, gpu): (usize, &Gpu)| {
            let address = format!("0000:00.{:02x}.00", 6 + gpu.index);
            format!("{}\n", row([&ordinal.to_string(), &address, &gpu.uuid, "NVIDIA H200", "N/A"]))
        };
        let ours: String = self.gpus.iter().enumerate().map(of).collect();
        let table = format!("{}\n{ours}", row(DEVICE_COLUMNS));
        let server = self.ready_server().map(|server| format!("\nServer {}\n{table}", server.pid));
        format!("Default\n{table}{}", server.unwrap_or_default())
    }
}

fn client_list(server: &Server) -> String {
    server.clients.iter().map(|ListedClient { pid, .. }| format!("{pid}\n")).collect()
}

fn line(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{text}\n") }
}

fn wide([ordinal, pci, uuid, name, attributes]: [&str; 5]) -> String {
    format!("{ordinal:<16}{pci:<15}{uuid:<42}{name:<34}{attributes}")
}

fn columns(pid: &str, id: &str, server: &str, device: &str, namespace: &str, command: &str) -> String {
    format!("{pid:<10}{id:<10}{server:<15}{device:<26}{namespace:<15}{command:<15}\n")
}

/// The inode of the pid namespace, `4026531836` where there is only one.
fn pid_namespace() -> String {
    let link = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    link.to_string_lossy().chars().filter(char::is_ascii_digit).collect()
}

fn program(pid: u32) -> String {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let first = line.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(first).into_owned()
}
