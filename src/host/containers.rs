//! Containers of Docker and Podman, asked through their own commands. Parsing is pure.

use std::path::Path;
use std::time::Duration;

use super::child;
use super::supervisor::{Plight, SupervisorError, ask, order};
use crate::model::Exit;

/// Container engines, in the order in which they are asked.
const ENGINES: [&str; 2] = ["docker", "podman"];
/// What is asked of a container.
const FORMAT: &str = "{{.State.Status}} {{.State.Pid}} {{.State.ExitCode}}";
/// Time that an engine needs beyond that of the container: one with much memory dies slowly.
const SLACK: Duration = Duration::from_secs(14);

/// A container, by its name or its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container(pub String);

impl Container {
    /// How it is now.
    pub async fn plight(&self) -> Result<Plight, SupervisorError> {
        match self.inspect().await? {
            Some((_, inspected)) => Ok(inspected.plight(&self.0)),
            None => Ok(Plight::Unknown(format!("there is no container {}", self.0))),
        }
    }

    /// Has it started.
    pub async fn start(&self) -> Result<(), SupervisorError> {
        order(&[self.engine().await?, "start", "--", &self.0], SLACK).await
    }

    /// Has it stopped, and killed after `grace`: so its restart policy does not start it again.
    pub async fn stop(&self, grace: Duration) -> Result<(), SupervisorError> {
        let seconds = grace.as_secs().to_string();
        order(&[self.engine().await?, "stop", "-t", &seconds, "--", &self.0], grace + SLACK).await
    }

    /// End of its main process.
    pub async fn exit(&self) -> Option<Exit> {
        let (_, inspected) = self.inspect().await.ok()??;
        matches!(inspected.status.as_str(), "exited" | "stopped" | "dead").then_some(Exit::Status(inspected.exit))
    }

    /// The engine that knows it.
    async fn engine(&self) -> Result<&'static str, SupervisorError> {
        match self.inspect().await? {
            Some((engine, _)) => Ok(engine),
            None => Err(SupervisorError::Failed(format!("there is no container {}", self.0))),
        }
    }

    /// What the first engine says that knows it; `None`: those that are there do not.
    async fn inspect(&self) -> Result<Option<(&'static str, Inspected)>, SupervisorError> {
        let there = ENGINES.into_iter().filter(|engine| child::find_program(Path::new(engine)).is_ok());
        let (mut asked, mut trouble) = (false, None);
        for engine in there {
            let ran = ask(&[engine, "inspect", "--type", "container", "--format", FORMAT, "--", &self.0]).await?;
            match Inspected::parse(&ran.stdout).filter(|_| ran.succeeded()) {
                Some(inspected) => return Ok(Some((engine, inspected))),
                None if is_unknown(&ran.stderr) => asked = true,
                None => trouble = Some(format!("{engine} can't be asked for container {}: {}", self.0, ran.why())),
            }
        }
        match trouble {
            Some(why) => Err(SupervisorError::Failed(why)),
            None if asked => Ok(None),
            None => Err(SupervisorError::Failed(format!(
                "container {} can't be asked for: neither docker nor podman is on PATH",
                self.0
            ))),
        }
    }
}

/// Whether an engine says that it has no such container.
fn is_unknown(stderr: &str) -> bool {
    let said = stderr.to_lowercase();
    said.contains("no such")
}

/// What an engine says of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Inspected {
    status: String,
    pid: u32,
    exit: i32,
}

impl Inspected {
    fn parse(text: &str) -> Option<Inspected> {
        let mut words = text.split_whitespace();
        let (status, pid, exit) = (words.next()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some(Inspected { status: status.to_owned(), pid, exit })
    }

    fn plight(&self, name: &str) -> Plight {
        match self.status.as_str() {
            "running" | "paused" => Plight::Runs { main: Some(self.pid).filter(|pid| *pid > 0), cgroup: None },
            "restarting" => Plight::Starts(format!(
                "container {name} is started again after its pause; it ended with {}",
                self.exit
            )),
            "exited" | "stopped" => Plight::Down(format!("container {name} is {} with {}", self.status, self.exit)),
            status => Plight::Down(format!("container {name} is {status}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_engines_say_of_a_container_is_understood() {
        let plight = |text: &str| Inspected::parse(text).map(|inspected| inspected.plight("a"));
        assert_eq!(plight("running 42 0\n"), Some(Plight::Runs { main: Some(42), cgroup: None }));
        assert!(matches!(plight("restarting 0 1"), Some(Plight::Starts(_))));
        assert!(matches!(plight("exited 0 137"), Some(Plight::Down(why)) if why.contains("137")));
        for unknown in ["", "running", "running x 0"] {
            assert_eq!(plight(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn each_engine_says_in_its_words_that_there_is_none() {
        assert!(is_unknown("Error response from daemon: No such container: a"));
        assert!(is_unknown("Error: inspecting object: no such container \"a\""));
        assert!(!is_unknown("Cannot connect to the Docker daemon at unix:///var/run/docker.sock."));
    }
}
