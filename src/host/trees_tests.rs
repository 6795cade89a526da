//! Whose each process is.

use super::*;
use crate::host::procfs::Taken;

fn key(name: &str) -> Member {
    DomainId::main(&"g".into()).member(&name.into())
}

fn stat(pid: u32, parent: u32, session: u32) -> Stat {
    let id = ProcessId { pid, started_at: 1 };
    Stat { id, state: 'S', parent, group: session, session, threads: 1, taken: Taken::default() }
}

fn tree(main: u32) -> Tree {
    Tree { main: Some(ProcessId { pid: main, started_at: 1 }), word: format!("word-of-{main}"), ..Tree::default() }
}

/// Each engine with its pids; those that are only claimed stand below 0.
fn owners(found: &BTreeMap<Member, Vec<Found>>) -> Vec<(String, Vec<i64>)> {
    let number = |(stat, claimed): &Found| i64::from(stat.id.pid) * if *claimed { -1 } else { 1 };
    found.iter().map(|(key, found)| (key.to_string(), found.iter().map(number).collect())).collect()
}

#[test]
fn a_process_belongs_by_parent_then_session_then_marker() {
    let us = std::process::id();
    let trees = BTreeMap::from([(key("a"), tree(10)), (key("b"), tree(20))]);
    let below = [
        stat(10, us, 10),
        stat(11, 10, 11), // a child with a session of its own
        stat(12, us, 10), // an orphan in the engine's session
        stat(20, us, 20),
        stat(21, us, 21), // an orphan of a session of its own that knows the word of its start
        stat(22, 21, 22), // and its child
        stat(30, us, 30), // the control daemon
        stat(31, us, 31), // one that names an engine, and doesn't know its word
    ];
    let words = |pid| match pid {
        21 => Some("word-of-20".to_owned()),
        31 => Some("g/b".to_owned()),
        30 => Some(String::new()),
        _ => None,
    };
    let found = assign(&trees, &below, words);
    assert_eq!(owners(&found), [("g/a".to_owned(), vec![10, 11, 12]), ("g/b".to_owned(), vec![20, -21, -22])]);
}

#[test]
fn what_was_seen_below_its_engine_is_proven_whatever_becomes_of_its_parent() {
    let us = std::process::id();
    let mut a = tree(10);
    let unused = stat(11, 10, 11).usage();
    let held = Hold::of(unused.process, false).unwrap().unwrap();
    a.members.insert(unused.process, TreeProcess { held, usage: unused, claimed: false });
    let found = assign(&BTreeMap::from([(key("a"), a)]), &[stat(11, us, 11)], |_| Some("word-of-10".to_owned()));
    assert_eq!(owners(&found), [("g/a".to_owned(), vec![11])]);
}

#[test]
fn of_thousands_of_processes_a_bounded_number_is_held_by_descriptors() {
    let us = Procfs::new(Path::new("/proc")).stat(std::process::id()).unwrap().unwrap();
    let mut tree = tree(10);
    let crowd: Vec<Found> = (1..3000).map(|pid| (stat(pid + 4_000_000, 10, 10), false)).collect();
    let found = [vec![(us, false)], crowd].concat();
    tree.take_up(&found, 1).unwrap();
    let tight = tree.members.values().filter(|member| member.held.is_tight()).count();
    assert_eq!((tree.members.len(), tight), (3000, 1));
    tree.take_up(&[(us, false)], 1).unwrap();
    assert_eq!(tree.members.len(), 1);
}

#[test]
fn a_session_number_means_nothing_once_its_engine_is_gone() {
    let trees = BTreeMap::from([(key("a"), Tree::default())]);
    assert!(assign(&trees, &[stat(10, std::process::id(), 10)], |_| Some("word-of-10".into())).is_empty());
}

#[test]
fn a_new_engine_is_known_before_it_starts_and_an_old_one_while_anything_of_it_lives() {
    let trees = Trees::new([key("a"), key("b")]);
    trees.lock().insert(key("b"), tree(20));
    trees.expect([key("b"), key("c")]);
    assert_eq!(trees.main(&key("b")).map(|main| main.pid), Some(20));
    trees.keep(&BTreeSet::from([key("c")]));
    let known: Vec<Member> = trees.lock().keys().cloned().collect();
    assert_eq!(known, [key("b"), key("c")]);
}
