//! What a changed configuration changes, in words, and what of it a running watchdog can't apply. Pure: it compares the
//! effective configurations, so that no key is forgotten.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use crate::model::{Baseline, BaselineSource, EngineKey, EngineKind, GroupLaunch, Member, Slot};

use super::{Configuration, GpuNaming, GroupConfiguration};

/// Keys of the file that count from the next start on: nothing of them can go wrong until then.
const AT_THE_NEXT_START: [&str; 3] = ["kernel_log", "nvml_library", "web"];
/// Keys of an engine that its running process does not feel. Every other one makes it roll.
const WITHOUT_A_ROLL: [&str; 14] = [
    "name",
    "baseline",
    "kind",
    "health_path",
    "health_timeout",
    "metrics_path",
    "metrics_url",
    "probe_request",
    "on_clean_end",
    "start_timeout",
    "drain_timeout",
    "stop_timeout",
    "hang_after",
    "leak_after",
];
/// The cure for what a running group can't change.
const NEW_NAME: &str = "give the group a new name, or restart mpswarden";

/// What a changed configuration comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Sentences for people, one for each change: `small-llms/qwen-b rolls (command)`. Empty: nothing changed.
    pub sentences: Vec<String>,
    /// Engines that were there before and are started in another way from now on.
    pub rolls: BTreeSet<EngineKey>,
    /// Why nothing of it can be applied, a sentence each, with the cure. Empty: all can.
    pub refused: Vec<String>,
}

impl Changes {
    /// The changes from what is in force to what is wanted, each resolved for the GPUs that are there.
    pub fn between(old: (&Configuration, &[GroupLaunch]), new: (&Configuration, &[GroupLaunch])) -> Self {
        let mut changes = Changes::default();
        let (was, is) = (tree(old.0), tree(new.0));
        changes.top(&was, &is);
        changes.groups(&named(&was, "group"), &named(&is, "group"));
        changes.studies(old.0, new.0);
        // The second sides follow the first.
        for launch in new.1.iter().filter(|launch| launch.domain.slot == Slot::Main) {
            if let Some(before) = old.1.iter().find(|before| before.domain == launch.domain) {
                changes.fixed(before, launch);
                changes.order(before, launch);
            }
        }
        changes
    }

    /// One line for the log.
    pub fn summary(&self) -> String {
        if self.sentences.is_empty() { "nothing changed".to_owned() } else { self.sentences.join("; ") }
    }

    fn say(&mut self, sentence: String) {
        self.sentences.push(sentence);
    }

    /// A study's file of baselines stands beside the configuration.
    fn studies(&mut self, was: &Configuration, is: &Configuration) {
        let studied = |group: &GroupConfiguration| -> Vec<Baseline> {
            let all = group.overlap.baselines.iter();
            all.filter(|baseline| baseline.source == BaselineSource::Study).cloned().collect()
        };
        for group in &is.groups {
            let before = was.groups.iter().find(|before| before.name == group.name);
            if before.is_some_and(|before| studied(before) != studied(group)) {
                self.say(format!("{}: the baselines of its study changed", group.name));
            }
        }
    }

    /// What stands outside the groups.
    fn top(&mut self, was: &Table, is: &Table) {
        for key in changed_keys(was, is).into_iter().filter(|key| key != "group") {
            if key == "state_directory" {
                let why = "what runs is recorded in the old one; restart mpswarden";
                self.refused.push(format!("state_directory can't change while engines run: {why}"));
            } else if AT_THE_NEXT_START.contains(&key.as_str()) {
                self.say(format!("{key} takes effect at the next start of mpswarden"));
            } else {
                let (was, is) = (table(was, &key), table(is, &key));
                let keys = changed_keys(&was, &is);
                self.say(format!("{key}: {} changed", keys.join(", ")));
            }
        }
    }

    fn groups(&mut self, was: &BTreeMap<String, Table>, is: &BTreeMap<String, Table>) {
        for name in was.keys().filter(|name| !is.contains_key(*name)) {
            self.say(format!("{name} is stopped and removed"));
        }
        for (name, group) in is {
            match was.get(name) {
                None => self.say(format!("{name} is added with {}", engines_in_words(group))),
                Some(before) => self.group(name, before, group),
            }
        }
    }

    fn group(&mut self, name: &str, was: &Table, is: &Table) {
        for (key, old, new) in leaves(was, is, &["engine", "mps", "gpu"]) {
            self.say(format!("{name}: {key} {old} -> {new}"));
        }
        let restarts = [was, is].map(|group| table(group, "mps").get("restart_by").cloned());
        if restarts[0] != restarts[1] {
            self.say(format!("{name}: mps.restart_by changed"));
        }
        // All else of it can't change while the group runs.
        let [before, now] = [was, is].map(|group| table(group, "mps").get("gate").cloned());
        if before != now {
            self.say(format!("{name}: mps.gate {} -> {}", written(before.as_ref()), written(now.as_ref())));
        }
        let (was, is) = (named(was, "engine"), named(is, "engine"));
        for engine in was.keys().filter(|engine| !is.contains_key(*engine)) {
            self.say(format!("{name}/{engine} is stopped and removed"));
        }
        for (engine, table) in &is {
            match was.get(engine) {
                None => self.say(format!("{name}/{engine} is added")),
                Some(before) => self.engine(&EngineKey::new(&name.into(), &engine.as_str().into()), before, table),
            }
        }
    }

    /// Values of what makes it roll are not shown: a command or a variable may hold a secret.
    fn engine(&mut self, key: &EngineKey, was: &Table, is: &Table) {
        let moves = |key: &str| was.get(key) != is.get(key);
        if was.contains_key("external") || is.contains_key("external") {
            if moves("external") || moves("user") {
                let why = "give the engine a new name, or restart mpswarden";
                self.refused.push(format!("{key}: where others run it can't change while its group runs; {why}"));
            }
            // Its processes are those of others: none rolls.
            for (changed, old, new) in leaves(was, is, &["restart_by", "external", "user"]) {
                self.say(format!("{key}: {changed} {old} -> {new}"));
            }
            if moves("restart_by") {
                self.say(format!("{key}: restart_by changed"));
            }
            return;
        }
        let felt = |key: &String| !WITHOUT_A_ROLL.contains(&key.as_str()) && !follows_its_kind(key, was, is);
        let rolls: Vec<String> = changed_keys(was, is).into_iter().filter(felt).collect();
        if !rolls.is_empty() {
            self.say(format!("{key} rolls ({})", rolls.join(", ")));
            self.rolls.insert(key.clone());
        }
        let skipped: Vec<&str> = rolls.iter().map(String::as_str).collect();
        for (changed, old, new) in leaves(was, is, &skipped) {
            self.say(format!("{key}: {changed} {old} -> {new}"));
        }
    }

    /// What the daemon and the server of a running group were started with.
    fn fixed(&mut self, was: &GroupLaunch, is: &GroupLaunch) {
        let user = |launch: &GroupLaunch| launch.engines.first().and_then(|engine| engine.user.clone());
        let fixed = [
            ("gpu", was.gpus == is.gpus),
            ("mps.binary", was.control.binary == is.control.binary),
            ("mps.control", was.control.custody.is_others() == is.control.custody.is_others()),
            ("mps.pipe_directory", was.control.pipe_directory == is.control.pipe_directory),
            ("mps.log_directory", was.control.log_directory == is.control.log_directory),
            ("the user of its engines", user(was) == user(is)),
        ];
        for (what, _) in fixed.into_iter().filter(|(_, same)| !same) {
            self.refused.push(format!("{}: {what} can't change while the group runs; {NEW_NAME}", is.domain.group));
        }
    }

    /// Another order rolls no engine.
    fn order(&mut self, was: &GroupLaunch, is: &GroupLaunch) {
        let keys = |of: &GroupLaunch, others: &GroupLaunch| -> Vec<Member> {
            let keys = of.engines.iter().map(|engine| engine.member.clone());
            keys.filter(|key| others.engines.iter().any(|other| other.member == *key)).collect()
        };
        if keys(was, is) != keys(is, was) {
            let names: Vec<_> = is.engines.iter().map(|engine| engine.member.engine.as_str()).collect();
            self.say(format!(
                "{}: from its next restart on engines start in the order {}",
                is.domain.group,
                names.join(", ")
            ));
        }
    }
}

/// What its GPU is named by has another default for another kind: of an engine that runs it counts from its next
/// start on.
fn follows_its_kind(key: &str, was: &Table, is: &Table) -> bool {
    let is_usual = |engine: &Table| {
        let text = |key| engine.get(key).and_then(Value::as_str);
        let kind = text("kind").and_then(|kind| EngineKind::ALL.iter().find(|known| known.as_str() == kind));
        kind.is_some_and(|kind| text("gpu_named_by") == Some(GpuNaming::of(*kind).as_str()))
    };
    key == "gpu_named_by" && was.get("kind") != is.get("kind") && is_usual(was) && is_usual(is)
}

/// The effective configuration reads back as TOML, by a test; what would not is empty.
fn tree(configuration: &Configuration) -> Table {
    configuration.effective().parse().unwrap_or_default()
}

fn table(parent: &Table, key: &str) -> Table {
    parent.get(key).and_then(Value::as_table).cloned().unwrap_or_default()
}

/// The tables of an array by their names: their order is no change.
fn named(parent: &Table, key: &str) -> BTreeMap<String, Table> {
    let tables = parent.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_table);
    tables.filter_map(|table| Some((table.get("name")?.as_str()?.to_owned(), table.clone()))).collect()
}

fn changed_keys(was: &Table, is: &Table) -> Vec<String> {
    let keys: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    keys.into_iter().filter(|key| was.get(*key) != is.get(*key)).cloned().collect()
}

/// What differs below two tables, as dotted key, old and new value.
fn leaves(was: &Table, is: &Table, skipped: &[&str]) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    for key in changed_keys(was, is).into_iter().filter(|key| !skipped.contains(&key.as_str())) {
        match (was.get(&key), is.get(&key)) {
            (Some(Value::Table(was)), Some(Value::Table(is))) => {
                let below = leaves(was, is, &[]).into_iter();
                found.extend(below.map(|(name, old, new)| (format!("{key}.{name}"), old, new)));
            }
            (was, is) => found.push((key, written(was), written(is))),
        }
    }
    found
}

fn written(value: Option<&Value>) -> String {
    value.map_or("none".to_owned(), ToString::to_string)
}

fn engines_in_words(group: &Table) -> String {
    let engines: Vec<String> = named(group, "engine").into_keys().collect();
    engines.join(", ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::parse;
    use crate::model::GpuIdentity;
    use crate::model::gpu::ComputeMode;

    const FILE: &str = r#"
[[group]]
name = "g"
gpu = "GPU-1"
mode = "observe"
[[group.engine]]
name = "a"
command = ["vllm", "serve", "a"]
url = "http://127.0.0.1:8001"
[[group.engine]]
name = "b"
command = ["vllm", "serve", "b"]
url = "http://127.0.0.1:8002"
"#;

    fn gpu(index: u32) -> GpuIdentity {
        GpuIdentity {
            uuid: format!("GPU-{}", index + 1).into(),
            index: Some(index),
            pci_bus_id: Some(String::new()),
            name: Some(String::new()),
            memory_total: Some(1 << 40),
            compute_mode: ComputeMode::Default,
            driver_version: Some("580.159.04".to_owned()),
            absent: false,
        }
    }

    fn resolved(text: &str) -> (Configuration, Vec<GroupLaunch>) {
        let configuration = parse(text, Path::new("f")).unwrap();
        let (_, launches) = configuration.resolve(&[gpu(0), gpu(1)], 1).unwrap();
        (configuration, launches)
    }

    /// What changes when the file's parts are replaced so.
    fn after(replacements: &[(&str, &str)]) -> Changes {
        let mut text = FILE.to_owned();
        for (was, is) in replacements {
            assert!(text.contains(was), "{was}");
            text = text.replacen(was, is, 1);
        }
        let (old, new) = (resolved(FILE), resolved(&text));
        Changes::between((&old.0, &old.1), (&new.0, &new.1))
    }

    fn rolls(changes: &Changes) -> Vec<String> {
        changes.rolls.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_same_file_changes_nothing_and_neither_do_its_comments() {
        assert_eq!(after(&[]), Changes::default());
        let changes = after(&[("name = \"g\"", "name = \"g\" # the small ones\nrecovery = { budget = 5 }")]);
        assert_eq!((changes.summary().as_str(), changes), ("nothing changed", Changes::default()));
    }

    #[test]
    fn an_engine_whose_process_would_differ_rolls_and_tells_no_value() {
        let changes = after(&[("\"serve\", \"b\"", "\"serve\", \"b\", \"--api-key\", \"secret\"")]);
        assert_eq!((changes.summary().as_str(), rolls(&changes)), ("g/b rolls (command)", vec!["g/b".to_owned()]));
        for line in ["environment = { A = \"1\" }", "sm_percentage = 50", "device_memory_limit = \"1GiB\""] {
            assert_eq!(rolls(&after(&[("name = \"a\"", &format!("name = \"a\"\n{line}"))])), ["g/a"], "{line}");
        }
    }

    #[test]
    fn what_the_watchdog_alone_uses_rolls_nobody() {
        let changes = after(&[("name = \"a\"", "name = \"a\"\nstart_timeout = \"20m\"\nhealth_path = \"/ping\"")]);
        assert!(changes.rolls.is_empty());
        let expected = ["g/a: health_path \"/health\" -> \"/ping\"", "g/a: start_timeout \"10m\" -> \"20m\""];
        assert_eq!(changes.sentences, expected);
        for line in [
            "kind = \"sglang\"",
            "health_timeout = \"3s\"",
            "metrics_url = \"none\"",
            "metrics_url = \"http://127.0.0.1:9001/metrics\"",
            "probe_request = true",
            "on_clean_end = \"stop\"",
        ] {
            let changes = after(&[("name = \"a\"", &format!("name = \"a\"\n{line}"))]);
            assert!(changes.rolls.is_empty() && !changes.sentences.is_empty(), "{line}: {changes:?}");
        }
        let changes = after(&[("\"observe\"", "\"observe\"\nrecovery = { start = \"staggered\" }")]);
        let expected = ["g: recovery.start_order \"sequential\" -> \"staggered\""];
        assert_eq!((changes.rolls.len(), changes.sentences.as_slice()), (0, expected.map(str::to_owned).as_slice()));
    }

    #[test]
    fn another_address_or_another_name_of_its_gpu_rolls_an_engine() {
        assert_eq!(rolls(&after(&[("127.0.0.1:8001", "127.0.0.1:8003")])), ["g/a"]);
        for line in ["gpu_named_by = \"uuid\"", "kind = \"sglang\"\ngpu_named_by = \"index\"\nsm_percentage = 50"] {
            assert_eq!(rolls(&after(&[("name = \"a\"", &format!("name = \"a\"\n{line}"))])), ["g/a"], "{line}");
        }
    }

    #[test]
    fn policies_are_told_with_their_values() {
        let changes =
            after(&[("\"observe\"", "\"enforce\"\npolicy = { hang = \"enforce\" }\nrecovery = { budget = 7 }")]);
        let expected = [
            "g: mode \"observe\" -> \"enforce\"",
            "g: policy.hang \"observe\" -> \"enforce\"",
            "g: recovery.budget 5 -> 7",
        ];
        assert_eq!((changes.sentences.as_slice(), changes.rolls.len()), (expected.map(str::to_owned).as_slice(), 0));
    }

    #[test]
    fn engines_and_groups_come_and_go() {
        assert_eq!(
            after(&[("name = \"b\"", "name = \"c\"")]).sentences,
            ["g/b is stopped and removed", "g/c is added"]
        );
        let changes = after(&[("name = \"g\"", "name = \"h\"")]);
        assert_eq!(changes.sentences, ["g is stopped and removed", "h is added with a, b"]);
        assert!(changes.rolls.is_empty() && changes.refused.is_empty());
    }

    #[test]
    fn another_order_is_told_and_rolls_nobody() {
        let (first, second) = FILE.split_once("[[group.engine]]\nname = \"b\"").unwrap();
        let (head, a) = first.split_once("[[group.engine]]").unwrap();
        let turned = format!("{head}[[group.engine]]\nname = \"b\"{second}[[group.engine]]{a}");
        let (old, new) = (resolved(FILE), resolved(&turned));
        let changes = Changes::between((&old.0, &old.1), (&new.0, &new.1));
        assert_eq!(changes.sentences, ["g: from its next restart on engines start in the order b, a"]);
        assert!(changes.rolls.is_empty());
    }

    #[test]
    fn what_a_running_group_can_not_change_is_refused_with_the_cure() {
        for (was, is, what) in [
            ("\"GPU-1\"", "\"GPU-2\"", "g: gpu"),
            ("name = \"g\"", "name = \"g\"\nmps = { binary = \"/opt/control\" }", "g: mps.binary"),
            ("name = \"g\"", "name = \"g\"\nmps = { pipe_directory = \"/p\" }", "g: mps.pipe_directory"),
            ("name = \"g\"", "name = \"g\"\nmps = { log_directory = \"/l\" }", "g: mps.log_directory"),
        ] {
            let refused = after(&[(was, is)]).refused;
            let expected = format!("{what} can't change while the group runs; {NEW_NAME}");
            assert_eq!(refused, [expected]);
        }
        let user = "user = \"root\"\nname";
        let changes =
            after(&[("name = \"a\"", &format!("{user} = \"a\"")), ("name = \"b\"", &format!("{user} = \"b\""))]);
        assert_eq!(changes.refused.len(), 1, "{changes:?}");
        let changes = after(&[("\n[[group]]", "state_directory = \"/elsewhere\"\n[[group]]")]);
        assert!(changes.refused[0].starts_with("state_directory"), "{changes:?}");
    }

    #[test]
    fn the_same_gpu_by_another_name_is_no_other_gpu() {
        let changes = after(&[("\"GPU-1\"", "0")]);
        assert!(changes.refused.is_empty() && changes.sentences.is_empty(), "{changes:?}");
    }

    #[test]
    fn what_only_a_start_takes_up_is_told_so_and_refuses_nothing() {
        let changes =
            after(&[("\n[[group]]", "kernel_log = \"/x\"\nweb = { listen_addresses = [\":1\"] }\n[[group]]")]);
        let expected = ["kernel_log", "web"].map(|key| format!("{key} takes effect at the next start of mpswarden"));
        assert_eq!((changes.sentences.as_slice(), changes.refused.len()), (expected.as_slice(), 0));
        let changes = after(&[("\n[[group]]", "hooks = { on_held = [\"page\", \"token\"] }\n[[group]]")]);
        assert_eq!(changes.sentences, ["hooks: on_held changed"]);
    }
}
