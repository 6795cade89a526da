//! Daemon logs compared. Each thread of the server writes its lines in order; what one writes between
//! another's is chance. So the lines are parted by who writes them and which client they are about, and
//! each part must be the same. Pids become the numbers of their first appearance.

use std::collections::BTreeMap;
use std::path::Path;

/// The recorded daemon's output.
pub fn recorded(story: &str) -> String {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/recordings");
    std::fs::read_to_string(directory.join(story).join("daemon.log")).unwrap()
}

/// Holds a play's output against a recording.
pub fn assert_same_lines(story: &str, played: &str) {
    let (expected, played) = (parts(&recorded(story)), parts(played));
    assert_eq!(expected.keys().collect::<Vec<_>>(), played.keys().collect::<Vec<_>>());
    for (part, lines) in &expected {
        assert_eq!(lines, &played[part], "the part `{part}` of {story}");
    }
}

/// The milliseconds of a line's stamp within its hour: the first line with `text`, from the `from`th line on.
pub fn stamp(log: &str, text: &str) -> i64 {
    let line = log.lines().find(|line| line.contains(text)).unwrap_or_else(|| panic!("no `{text}` in\n{log}"));
    let number = |range: std::ops::Range<usize>| line[range].parse::<i64>().unwrap();
    (number(15..17) * 60 + number(18..20)) * 1000 + number(21..24)
}

fn parts(log: &str) -> BTreeMap<String, Vec<String>> {
    let mut parts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in normalise(log) {
        let (writer, text) = line.split_once("] ").unwrap();
        parts.entry(part_of(writer, text)).or_default().push(text_of(text));
        if let Some((_, left)) = text.split_once("Number of active client contexts is") {
            parts.entry("contexts left".to_owned()).or_default().push(left.to_owned());
        }
    }
    parts
}

/// The number of contexts that are left depends on who was first; it is a part of its own.
fn text_of(text: &str) -> String {
    text.split(" Number of active").next().unwrap_or_default().to_owned()
}

fn part_of(writer: &str, text: &str) -> String {
    let is_any = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let fatal = ["fatal GPU error", "torn down", "will be reset", "sticky error"];
    if is_any(&fatal) || (writer.starts_with("Server") && text.chars().all(|c| c.is_ascii_digit() || c == 'p')) {
        return "fatal".to_owned();
    }
    let connecting = [" connected", "Received new", "Creating worker", "is associated", "Status of client"];
    if is_any(&connecting) {
        return "connecting".to_owned();
    }
    let client = text.split_once("{PID: ").and_then(|(_, rest)| rest.split_once(','));
    let client = client.map(|(pid, _)| pid).or_else(|| text.strip_prefix("Client process ")?.split(' ').next());
    format!("{writer} about {}", client.unwrap_or("itself"))
}

/// Lines without stamps, with pids, user, directories and UUIDs made the same.
fn normalise(log: &str) -> Vec<String> {
    let uid = nix::unistd::getuid();
    let mut pids: BTreeMap<String, usize> = BTreeMap::new();
    let mut note = |pid: &str| {
        let next = pids.len();
        pids.entry(pid.to_owned()).or_insert(next);
    };
    for line in log.lines() {
        note(line[24..].split(']').next().unwrap().split_whitespace().last().unwrap());
        if let Some(client) = line.split_once("NEW CLIENT ").and_then(|(_, rest)| rest.split(' ').next()) {
            note(client);
        }
    }
    let rename = |word: &str| pids.get(word).map_or(word.to_owned(), |number| format!("p{number}"));
    let line = |line: &str| {
        let words = line[25..].split_inclusive(|c: char| !c.is_ascii_alphanumeric());
        let renamed: String = words.map(|word| renamed_word(word, rename)).collect();
        let user = [format!("user {uid}"), format!("-uid {uid}"), format!("shm.{uid}.")];
        let renamed = renamed.replace(&user[0], "user 0").replace(&user[1], "-uid 0").replace(&user[2], "shm.0.");
        without_place(&renamed)
    };
    log.lines().map(line).collect()
}

fn renamed_word(word: &str, rename: impl Fn(&str) -> String) -> String {
    let end = word.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(word.len());
    format!("{}{}", rename(&word[..end]), &word[end..]).replace("  ", " ")
}

/// Paths and UUIDs differ from stage to stage; a pid's width pads the prefix.
fn without_place(line: &str) -> String {
    let words = line.split_whitespace().map(|word| match word {
        word if word.contains("/control") => "SOCKET",
        word if word.contains("PIPE_DIRECTORY=") => "PIPE_DIRECTORY",
        word if word.starts_with("GPU-") => "UUID)",
        word => word,
    });
    words.collect::<Vec<_>>().join(" ")
}
