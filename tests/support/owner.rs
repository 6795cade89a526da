//! Somebody who runs the engines of a stage: a script that starts and stops each of them, and writes its pid file.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use nix::unistd::{User, geteuid};
use toml::{Table, Value};

use crate::support::scene::Scene;

/// Who runs the engines of a scene.
pub struct EngineOwner {
    script: PathBuf,
    directory: PathBuf,
    names: Vec<String>,
}

impl EngineOwner {
    /// Takes the engines of the scene over: each is found by its pid file, and restarted through the script. `before`:
    /// what stands before an engine's command, as a gate does.
    pub fn takes(scene: &mut Scene, before: &[&str]) -> EngineOwner {
        let directory = scene.directory().to_owned();
        let names: Vec<String> = scene.stage.engine_names().map(str::to_owned).collect();
        let script = directory.join("engines");
        let mut cases = String::new();
        for name in &names {
            let words = before.iter().map(|word| (*word).to_owned()).chain(scene.stage.engine_command(name));
            let words: Vec<String> = words.map(|word| format!("'{word}'")).collect();
            cases += &format!("    {name}) set -- {} ;;\n", words.join(" "));
        }
        let text = format!(
            "#!/bin/sh\ncd {at} || exit 1\nverb=$1 name=$2\nexport CUDA_MPS_PIPE_DIRECTORY={pipe}\n\
             if [ \"$verb\" = stop ]; then\n    pid=$(cat \"$name.pid\") || exit 0\n    kill -TERM \"$pid\" 2>/dev/null\n    \
             tries=0\n    while kill -0 \"$pid\" 2>/dev/null; do\n        tries=$((tries + 1))\n        \
             [ $tries -gt 500 ] && kill -KILL \"$pid\"\n        sleep 0.02\n    done\n    exit 0\nfi\n\
             case \"$name\" in\n{cases}esac\n\
             setsid \"$@\" </dev/null >>\"$name.out\" 2>&1 &\necho $! >\"$name.new\"\nmv \"$name.new\" \"$name.pid\"\n\
             echo started >>\"$name.starts\"\n",
            at = directory.display(),
            pipe = scene.stage.pipe_directory().display(),
        );
        fs::write(&script, text).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let owner = EngineOwner { script, directory, names };
        for index in 0..owner.names.len() {
            let table = owner.configured(index, scene.engine(index));
            *scene.engine(index) = table;
        }
        owner
    }

    /// The engine as it is configured then.
    fn configured(&self, index: usize, was: &Table) -> Table {
        let name = &self.names[index];
        let command = |verb: &str| {
            let words = [self.script.display().to_string(), verb.to_owned(), name.clone()];
            Value::Array(words.into_iter().map(Value::from).collect())
        };
        let mut table = was.clone();
        ["command", "device_memory_limit"].iter().for_each(|key| drop(table.remove(*key)));
        let user = User::from_uid(geteuid()).unwrap().unwrap().name;
        table.insert("user".to_owned(), user.into());
        let place =
            Table::from_iter([("pid_file".to_owned(), Value::from(self.pid_file(index).display().to_string()))]);
        table.insert("external".to_owned(), place.into());
        let commands = Table::from_iter([("stop".to_owned(), command("stop")), ("start".to_owned(), command("start"))]);
        table.insert("restart_by".to_owned(), commands.into());
        table
    }

    fn pid_file(&self, index: usize) -> PathBuf {
        self.directory.join(format!("{}.pid", self.names[index]))
    }

    /// Starts an engine.
    pub fn start(&self, index: usize) {
        self.order("start", index);
    }

    /// Stops an engine.
    pub fn stop(&self, index: usize) {
        self.order("stop", index);
    }

    /// Starts all of them.
    pub fn start_all(&self) {
        (0..self.names.len()).for_each(|index| self.start(index));
    }

    fn order(&self, verb: &str, index: usize) {
        let ended = Command::new(&self.script).args([verb, &self.names[index]]).status().unwrap();
        assert!(ended.success(), "{verb} {}: {ended}", self.names[index]);
    }

    /// Pid of an engine's main process, as its pid file has it.
    pub fn pid(&self, index: usize) -> i32 {
        fs::read_to_string(self.pid_file(index)).unwrap().trim().parse().unwrap()
    }

    /// How often an engine was started.
    pub fn starts(&self, index: usize) -> usize {
        let starts = self.directory.join(format!("{}.starts", self.names[index]));
        fs::read_to_string(starts).unwrap_or_default().lines().count()
    }
}
