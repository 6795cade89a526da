//! Text of others on every way to the terminal: whatever stands in names, notes, reasons, plans, refusals, incidents and
//! configurations, nothing that drives a terminal, breaks a line or turns its direction comes out.

use std::fs;
use std::process::{Command, Stdio};

use mpswarden::model::{Incident, Status};
use mpswarden::text::plain::is_order;
use serde_json::{Value, json};

use crate::support::scene::program;
use crate::terminal::made;
use crate::terminal::player::{Player, client, ok, said};

/// Control characters, C1, an escape sequence, marks that turn the direction, separators of lines, tags.
const EVIL: &str =
    "\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\u{202e}\u{2066}\u{200f}\u{2028}\u{feff}\u{e0041}\u{8}\r\nnext";

/// The same document with this in each of its texts that may be any text: it reads back as `T` with it.
fn spoiled<T: serde::de::DeserializeOwned>(document: &Value) -> Value {
    let mut texts = Vec::new();
    pointers(document, String::new(), &mut texts);
    let mut spoiled = document.clone();
    let mut count = 0;
    for pointer in texts {
        let before = spoiled.pointer(&pointer).unwrap().clone();
        *spoiled.pointer_mut(&pointer).unwrap() = json!(format!("{}{EVIL}", before.as_str().unwrap()));
        match serde_json::from_value::<T>(spoiled.clone()) {
            Ok(_) => count += 1,
            // A word of the core's.
            Err(_) => *spoiled.pointer_mut(&pointer).unwrap() = before,
        }
    }
    assert!(count > 3, "only {count} texts");
    spoiled
}

fn pointers(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::String(_) => found.push(at),
        Value::Array(items) => {
            (0..).zip(items).for_each(|(index, item): (usize, _)| pointers(item, format!("{at}/{index}"), found));
        }
        Value::Object(fields) => fields.iter().for_each(|(name, value)| pointers(value, format!("{at}/{name}"), found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn assert_plain(what: &str, (_, out, err): &(i32, String, String)) {
    for text in [out, err] {
        let order = text.chars().find(|c| *c != '\n' && is_order(*c));
        assert_eq!(order, None, "{what}: {text:?}");
    }
    assert!(format!("{out}{err}").contains("owned"), "{what} shows nothing of it: {out}{err}");
}

/// A watchdog of which every text is spoiled.
fn hostile() -> Player {
    let status = made::document(&made::troubled());
    let status = spoiled::<Status>(&status);
    let incidents: Vec<Value> =
        made::incidents().iter().map(|one| spoiled::<Incident>(&serde_json::to_value(one.as_ref()).unwrap())).collect();
    Player::answering(move |call| match call["call"].as_str() {
        Some("state" | "status") => ok(&status),
        Some("remembered" | "incidents") => ok(&json!({ "incidents": incidents })),
        Some("order") if call["dry_run"] == true => {
            let failure = json!({ "kind": "refused", "text": format!("no: {EVIL}") });
            json!({ "version": 1, "error": failure }).to_string() + "\n"
        }
        _ => ok(&json!({
            "steps": [format!("do {EVIL}")],
            "goals": [{ "goal": "group_serves", "group": format!("small-llms{EVIL}"), "generation": 3 }],
        })),
    })
}

#[test]
fn nothing_that_a_watchdog_answers_drives_the_terminal() {
    let player = hostile();
    for words in [
        &["status"][..],
        &["status", "--json"],
        &["incidents"],
        &["incidents", "--json"],
        &["incidents", "latest"],
        &["incidents", "latest", "--json"],
        &["incidents", "2026"],
        &["restart", "g"],
        &["restart", "g", "--json"],
        &["restart", "g", "--dry-run"],
        &["restart", "g", "--dry-run", "--json"],
        &["restart", "g", "--wait", "--timeout", "1s"],
        &["evict", "nobody"],
        &["stop", "nobody"],
    ] {
        assert_plain(&words.join(" "), &said(&client(&player.socket(), words).output().unwrap()));
    }
}

#[test]
fn nothing_that_a_configuration_says_drives_the_terminal() {
    let directory = tempfile::tempdir().unwrap();
    let escaped = "\\u001b]0;owned\\u0007\\u009b31m\\u202e\\u2028\\ufeff\\r\\n";
    let text = format!(
        "[[group]]\nname = \"g{escaped}\"\ngpu = \"card{escaped}\"\nmode = \"observe\"\n\"{escaped}\" = 1\n\
         [[group.engine]]\nname = \"a\"\ncommand = [\"x{escaped}\"]\nuser = \"u{escaped}\"\nurl = \"{escaped}\"\n"
    );
    let right =
        text.lines().filter(|line| !line.contains("card") && !line.starts_with('"') && !line.contains("name = \"g"));
    let right: Vec<&str> = right.collect();
    let right = right.join("\n").replace("[[group]]", "[[group]]\nname = \"g\"\ngpu = 0");
    let right = right.replace(&format!("url = \"{escaped}\""), "url = \"http://127.0.0.1:8001\"");
    for (name, text) in [("wrong.toml", text), ("right.toml", right), ("owned\u{1b}[2J.toml", "x".to_owned())] {
        let file = directory.path().join(name);
        fs::write(&file, text).unwrap();
        let output = Command::new(program()).arg("check").arg(&file).stdin(Stdio::null()).output().unwrap();
        assert_plain(name, &said(&output));
    }
}

/// Files that write to a terminal. Each makes what it writes plain: the tests here and those beside the files say so.
const WRITERS: [&str; 15] = [
    "src/cli/arguments.rs",
    "src/cli/check.rs",
    "src/cli/terminal.rs",
    "src/cli/watch.rs",
    "src/export/log.rs",
    "src/export/story.rs",
    "src/gate/client/terminal.rs",
    "src/runtime/demo/audience.rs",
    "src/runtime/no_demo.rs",
    "src/runtime/run.rs",
    "src/runtime/study.rs",
    // JSON for the study that started it, which escapes what drives a terminal.
    "src/study/load/generator.rs",
    "src/study/progress.rs",
    "src/text/full_screen.rs",
    "src/text/status_line.rs",
];

#[test]
fn no_other_file_writes_to_the_terminal() {
    let words = ["stdout()", "stderr()", "println!", "eprintln!", "print!", "eprint!"];
    let writes = |file: &std::path::Path| {
        let source = crate::architecture::code(&fs::read_to_string(file).unwrap());
        words.iter().any(|word| source.contains(word))
    };
    let others = ["sim", "probe"].map(|folder| format!("src/{folder}"));
    let files = crate::architecture::rust_files(std::path::Path::new("src")).into_iter();
    let files = files.filter(|file| {
        !others.iter().any(|folder| file.starts_with(folder))
            && !file.to_string_lossy().ends_with("tests.rs")
            && !file.to_string_lossy().contains("_tests/")
            && writes(file)
    });
    let others: Vec<_> =
        files.filter(|file| !WRITERS.iter().any(|known| file == std::path::Path::new(known))).collect();
    assert_eq!(others, [] as [std::path::PathBuf; 0], "make what it writes plain, test it, and name it in WRITERS");
}
