//! The words of daemons and servers of other drivers. What the simulation writes is driver 580's, as recorded; older ones
//! write less and otherwise: their servers stay `Other`, say `Volta MPS:` before the words, and name no client.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::OnceLock;

pub use super::log::Role;

/// The file beside the GPU's socket that names the driver.
pub(crate) const FILE: &str = "driver";
/// The same as a variable.
const VARIABLE: &str = "MPSWARDEN_SIM_DRIVER";

/// Whose words are spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// Driver 450.
    R450,
    /// Driver 470.
    R470,
    /// Driver 535: today's start, yesterday's clients.
    R535,
    /// Driver 580, as recorded.
    #[default]
    R580,
    /// Driver 615: a server that ends clients by itself.
    R615,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Dialect; 5] = [Dialect::R450, Dialect::R470, Dialect::R535, Dialect::R580, Dialect::R615];

    /// The one spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Dialect::R450 => "r450",
            Dialect::R470 => "r470",
            Dialect::R535 => "r535",
            Dialect::R580 => "r580",
            Dialect::R615 => "r615",
        }
    }

    /// The dialect that is named beside the GPU's socket, or by the environment; else today's.
    fn found(gpu: &Path) -> Dialect {
        let told = std::env::var(VARIABLE).ok();
        let told = told.or_else(|| std::fs::read_to_string(gpu.with_file_name(FILE)).ok());
        told.and_then(|told| told.trim().parse().ok()).unwrap_or_default()
    }

    /// A line as this driver writes it; `None`: it has no such line.
    pub fn line(self, role: Role, text: &str) -> Option<(&'static str, String)> {
        match (self, role) {
            (Dialect::R580 | Dialect::R615, role) => Some((name(role), text.to_owned())),
            (_, Role::Control) if text.starts_with("CUDA MPS Control binary version") => None,
            (Dialect::R450 | Dialect::R470, Role::Control) if text.starts_with("Starting control daemon") => {
                Some(("Control", "Start".to_owned()))
            }
            (_, Role::Control) => Some(("Control", text.to_owned())),
            (Dialect::R535, _) if text.starts_with("Failed to start") => Some(("Legacy Server", text.to_owned())),
            (Dialect::R535, Role::Other) => Some(("Other", text.to_owned())),
            (_, Role::Other) if text == "Startup" => Some(("Other", "Start".to_owned())),
            (_, Role::Other) if text.starts_with("Failed to start") => Some(("Other", text.to_owned())),
            (_, Role::Other) => None,
            (_, Role::Server) => old(text).map(|text| ("Other", text)),
        }
    }
}

/// A server's line before r580.
fn old(text: &str) -> Option<String> {
    let volta = |text: &str| Some(format!("Volta MPS: {text}"));
    let starts = |beginning: &str| text.starts_with(beginning);
    let client = text.split_once("{PID: ").map(|(_, rest)| rest.chars().take_while(char::is_ascii_digit).collect());
    let client: String = client.unwrap_or_default();
    if starts("Server failed to recevie command") {
        return Some("Receive command failed, assuming client exit".to_owned());
    }
    if let Some((_, left)) = text.split_once("Number of active client contexts is ") {
        return volta(&format!(
            "Client disconnected. Number of active client contexts is {}",
            left.trim_end_matches('.')
        ));
    }
    if starts("Received new client request") {
        return Some("Volta MPS Server: Received new client request".to_owned());
    }
    if text.ends_with("encountered a fatal GPU error.") {
        return volta(&format!("Client {{{client}, 1}} encountered a fatal GPU error."));
    }
    match text {
        _ if starts("Client process ") => volta("Client process disconnected"),
        _ if starts("Creating worker thread") => volta("Creating worker thread"),
        _ if starts("Creating server context") => volta("Creating server context on device 0"),
        _ if starts("Destroy server context") => volta("Destroy server context on device 0"),
        _ if starts("Device ") || starts("Server is handling") || starts("Failed to accept") => volta(text),
        _ if starts("Status of client") => volta(&format!("status of client {{{client}, 1}} is ACTIVE")),
        _ if starts("Active Threads") => Some("activeThreadsPercentage set to 100.000000".to_owned()),
        "Server has started" => Some("MPS Server is started".to_owned()),
        "Exiting" => Some(text.to_owned()),
        _ if starts("Failed to start") || starts("Server has been notified") || starts("Server was unable") => {
            Some(text.to_owned())
        }
        _ => None,
    }
}

fn name(role: Role) -> &'static str {
    match role {
        Role::Control => "Control",
        Role::Other => "Other",
        Role::Server => "Server",
    }
}

impl FromStr for Dialect {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        crate::named("driver", &Dialect::ALL, Dialect::as_str, text)
    }
}

/// This process's, once and for all. `gpu`: the socket of the simulated GPU.
pub(crate) fn speak(gpu: &Path) {
    let _ = SPOKEN.get_or_init(|| (Dialect::found(gpu), gpu.to_owned()));
}

static SPOKEN: OnceLock<(Dialect, PathBuf)> = OnceLock::new();

/// A line as this process's driver writes it.
pub(super) fn spoken(role: Role, text: &str) -> Option<(&'static str, String)> {
    SPOKEN.get().map_or(Dialect::default(), |(dialect, _)| *dialect).line(role, text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn today_is_as_recorded_and_yesterday_names_no_client() {
        let exiting = "Client {PID: 12, Context ID: 1} exiting. Number of active client contexts is 2.";
        assert_eq!(Dialect::R580.line(Role::Server, exiting), Some(("Server", exiting.to_owned())));
        let (role, text) = Dialect::R470.line(Role::Server, exiting).unwrap();
        assert_eq!(
            (role, text.as_str()),
            ("Other", "Volta MPS: Client disconnected. Number of active client contexts is 2")
        );
        assert_eq!(Dialect::R450.line(Role::Server, "Client {PID: 12, Context ID: 1} connected"), None);
    }

    #[test]
    fn a_driver_is_found_by_its_name() {
        assert_eq!("r470".parse(), Ok(Dialect::R470));
        assert!("r999".parse::<Dialect>().is_err_and(|error| error.contains("r615")));
    }
}
