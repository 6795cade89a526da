//! Units of the system's systemd, asked through `systemctl`: it speaks D-Bus, and PID 1's own socket where there is no bus.
//! Parsing is pure.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::sleep;

use super::supervisor::{AT_ONCE, Plight, SupervisorError, ask, order};
use crate::model::Exit;

/// The program that is asked.
const PROGRAM: &str = "systemctl";
/// What is asked of a unit.
const PROPERTIES: &str = "--property=LoadState,ActiveState,SubState,Result,MainPID,ControlGroup,NRestarts,ExecMainPID,\
                          ExecMainCode,ExecMainStatus";
/// Pause between two looks whether a unit has ended.
const PAUSE: Duration = Duration::from_millis(200);
/// ExecMainCode of a process that exited: CLD_EXITED.
const EXITED: i64 = 1;

/// A unit, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit(pub String);

impl Unit {
    /// How it is now.
    pub async fn plight(&self) -> Result<Plight, SupervisorError> {
        Ok(self.show().await?.plight(&self.0))
    }

    /// Has it started. What is ordered is not waited for: a unit may take minutes to be ready.
    pub async fn start(&self) -> Result<(), SupervisorError> {
        order(&[PROGRAM, "start", "--no-block", "--", &self.0], AT_ONCE).await
    }

    /// Has it stopped, and kills what is left after `grace`. A stop that was ordered keeps systemd from starting it again.
    pub async fn stop(&self, grace: Duration) -> Result<(), SupervisorError> {
        order(&[PROGRAM, "stop", "--no-block", "--", &self.0], AT_ONCE).await?;
        let ended = async {
            while self.show().await.is_ok_and(|shown| shown.has_processes()) {
                sleep(PAUSE).await;
            }
        };
        if !grace.is_zero() && tokio::time::timeout(grace, ended).await.is_ok() {
            return Ok(());
        }
        let killed = order(&[PROGRAM, "kill", "--signal=SIGKILL", "--", &self.0], AT_ONCE).await;
        // One that has no process any more can't be killed.
        match self.show().await {
            Ok(shown) if !shown.has_processes() => Ok(()),
            _ => killed,
        }
    }

    /// How its main process of this pid ended.
    pub async fn exit(&self, pid: u32) -> Option<Exit> {
        self.show().await.ok()?.exit(pid)
    }

    async fn show(&self) -> Result<Shown, SupervisorError> {
        let ran = ask(&[PROGRAM, "show", PROPERTIES, "--", &self.0]).await?;
        match ran.succeeded() {
            true => Ok(Shown::parse(&ran.stdout)),
            false => Err(SupervisorError::Failed(format!(
                "systemd can't be asked for unit {}: {}; mpswarden needs `systemctl`, and to run where systemd does",
                self.0,
                ran.why()
            ))),
        }
    }
}

/// What `systemctl show` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Shown(BTreeMap<String, String>);

impl Shown {
    fn parse(text: &str) -> Shown {
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        Shown(pairs.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect())
    }

    fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.get(name).parse().ok()
    }

    fn main(&self) -> Option<u32> {
        self.number("MainPID").and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0)
    }

    /// Whether it may have processes.
    fn has_processes(&self) -> bool {
        !matches!((self.get("ActiveState"), self.get("SubState")), ("inactive" | "failed", _) | (_, "auto-restart"))
    }

    fn plight(&self, unit: &str) -> Plight {
        let (active, sub, result) = (self.get("ActiveState"), self.get("SubState"), self.get("Result"));
        match (self.get("LoadState"), active) {
            ("not-found", _) => return Plight::Unknown(format!("there is no unit {unit}")),
            ("masked", _) => return Plight::Unknown(format!("unit {unit} is masked")),
            _ => {}
        }
        let tried = self.number("NRestarts").filter(|count| *count > 0);
        let tried = tried.map_or_else(String::new, |count| format!(", after {count} restarts"));
        match active {
            "activating" if sub.starts_with("auto-restart") => {
                Plight::Starts(format!("systemd starts unit {unit} again after its pause (RestartSec){tried}"))
            }
            "activating" if self.main().is_none() => Plight::Starts(format!("unit {unit} is being started ({sub})")),
            "active" | "activating" | "reloading" | "refreshing" => Plight::Runs {
                main: self.main(),
                cgroup: Some(self.get("ControlGroup").to_owned()).filter(|path| path.len() > 1),
            },
            "deactivating" => Plight::Ends(format!("unit {unit} is being stopped ({sub})")),
            "failed" if result == "start-limit-hit" => Plight::Starts(format!(
                "systemd started unit {unit} too often and waits (start-limit-hit); `systemctl reset-failed {unit}` ends \
                 that"
            )),
            "failed" => Plight::Failed(format!("unit {unit} failed: {result}")),
            _ => Plight::Down(format!("unit {unit} is {active}")),
        }
    }

    fn exit(&self, pid: u32) -> Option<Exit> {
        let status = i32::try_from(self.number("ExecMainStatus")?).ok()?;
        let is_it = self.number("ExecMainPID") == Some(i64::from(pid)) && self.main() != Some(pid);
        match self.number("ExecMainCode")? {
            _ if !is_it => None,
            0 => None,
            EXITED => Some(Exit::Status(status)),
            _ => Some(Exit::Signal(status)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(pairs: &[(&str, &str)]) -> Shown {
        Shown(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn a_unit_that_runs_has_its_main_process_and_its_cgroup() {
        let text = "LoadState=loaded\nActiveState=active\nSubState=running\nResult=success\nMainPID=42\n\
                    ControlGroup=/system.slice/system-vllm.slice/vllm@a.service\nNRestarts=0\n";
        let cgroup = Some("/system.slice/system-vllm.slice/vllm@a.service".to_owned());
        assert_eq!(Shown::parse(text).plight("vllm@a.service"), Plight::Runs { main: Some(42), cgroup });
    }

    #[test]
    fn a_crash_loop_is_waited_for_and_a_unit_that_is_down_is_not() {
        let starts = [
            shown(&[("ActiveState", "activating"), ("SubState", "auto-restart"), ("NRestarts", "3")]),
            shown(&[("ActiveState", "failed"), ("Result", "start-limit-hit")]),
            shown(&[("ActiveState", "activating"), ("SubState", "start-pre"), ("MainPID", "0")]),
        ];
        for shown in starts {
            assert!(matches!(shown.plight("u.service"), Plight::Starts(_)), "{shown:?}");
        }
        let down = |active, result| {
            shown(&[("LoadState", "loaded"), ("ActiveState", active), ("Result", result)]).plight("u.service")
        };
        assert!(matches!(down("inactive", "success"), Plight::Down(_)));
        assert!(matches!(down("failed", "exit-code"), Plight::Failed(why) if why.contains("exit-code")));
        for load in ["not-found", "masked"] {
            let shown = shown(&[("LoadState", load), ("ActiveState", "inactive")]);
            assert!(matches!(shown.plight("u.service"), Plight::Unknown(_)), "{shown:?}");
        }
    }

    #[test]
    fn an_answer_without_what_was_asked_for_is_no_unit_that_runs() {
        assert!(matches!(Shown::parse("garbage").plight("u.service"), Plight::Down(_)));
    }

    #[test]
    fn the_end_of_a_main_process_is_known_where_it_is_this_one() {
        let ended = |code, status| {
            shown(&[("MainPID", "0"), ("ExecMainPID", "42"), ("ExecMainCode", code), ("ExecMainStatus", status)])
        };
        assert_eq!(ended("1", "143").exit(42), Some(Exit::Status(143)));
        assert_eq!(ended("2", "9").exit(42), Some(Exit::Signal(9)));
        assert_eq!(ended("1", "1").exit(43), None);
        assert_eq!(ended("0", "0").exit(42), None);
    }
}
