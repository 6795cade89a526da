//! A doc comment must read without the line below it: an editor shows it alone. Reads every Rust file and refuses
//! what a machine can tell to be a fragment; whether a sentence is a good one is for its reviewer.

use std::fs;
use std::path::Path;

use super::architecture::rust_files;

/// Words that ask, and whose answer is in the line below: `Which.`, `How it ended.`
const QUESTIONS: [&str; 11] =
    ["what", "which", "whose", "who", "whom", "why", "how", "where", "when", "whoever", "whatever"];
/// Words of a sentence up to which a question word or a pronoun leaves the noun to the line below.
const FEW: usize = 3;
/// Words that begin no sentence of these comments: `For the signals to be sent.`
const FRAGMENTS: [&str; 9] = ["for", "of", "from", "to", "as", "by", "between", "until", "so"];
/// Prepositions that begin a sentence only where a comma divides it: `In a container, all pids differ.`
const OPENERS: [&str; 27] = [
    "with", "in", "at", "on", "after", "before", "since", "without", "over", "below", "under", "beside", "beyond",
    "among", "within", "during", "about", "into", "through", "per", "above", "behind", "while", "against", "out",
    "like", "near",
];
/// Words that stand for a noun, which is in the line below: `Its pid.`, `It does.`
const PRONOUNS: [&str; 16] = [
    "it", "its", "they", "their", "them", "those", "these", "this", "both", "that", "he", "his", "so", "and",
    "likewise", "there",
];
/// Values that a colon explains, of something that is in the line below: `` `None`: it has none.``
const VALUES: [&str; 10] = ["none", "some", "ok", "true", "false", "empty", "set", "zero", "nan", "likewise"];

/// Why a doc comment is a fragment; `None`: it may be whole.
fn fragment(comment: &str) -> Option<&'static str> {
    let comment = comment.trim();
    let sentence = sentence(comment);
    let words: Vec<&str> = sentence.split_whitespace().collect();
    let first = words.first()?;
    let is_code = first.starts_with(['`', '[', '#', '|']);
    let word = first.trim_matches(|letter: char| !letter.is_alphanumeric()).to_lowercase();
    let word = word.as_str();
    let is_one_of = |list: &[&str]| list.contains(&word);
    let asks = is_one_of(&QUESTIONS) && words.len() <= FEW || word == "whether" && words.len() < FEW;
    let opens = is_one_of(&FRAGMENTS) || is_one_of(&OPENERS) && !sentence.contains(',');
    let rules = [
        (is_one_of(&VALUES) && first.ends_with(':'), "begins with a value: say first of what"),
        (!is_code && words.len() == 1 && comment.len() == sentence.len(), "is one word: say what it is"),
        (!is_code && asks, "only asks: say what it is"),
        (!is_code && is_one_of(&PRONOUNS) && words.len() <= FEW, "says no noun: name what it is"),
        (!is_code && opens, "begins with a preposition: say first what it is"),
    ];
    rules.into_iter().find_map(|(is_broken, why)| is_broken.then_some(why))
}

/// The first sentence, or what comes before a semicolon.
fn sentence(comment: &str) -> &str {
    let ends = [". ", "? ", "! ", "; "].into_iter().filter_map(|end| comment.find(end));
    ends.min().map_or(comment, |end| &comment[..=end])
}

/// Every doc comment of a Rust file, with the number of its first line.
fn doc_comments(source: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut open = "";
    for (number, line) in (1..).zip(source.lines()) {
        let line = line.trim_start();
        let mark = ["///", "//!"].into_iter().find(|mark| line.starts_with(mark) && !line.starts_with("////"));
        let Some(mark) = mark else {
            open = "";
            continue;
        };
        let text = line[mark.len()..].trim();
        match found.last_mut().filter(|_| open == mark) {
            Some((_, comment)) => *comment = format!("{comment} {text}"),
            None => found.push((number, text.to_owned())),
        }
        open = mark;
    }
    found
}

#[test]
fn every_doc_comment_reads_without_the_line_below_it() {
    let files = ["src", "tests", "benches"].into_iter().flat_map(|folder| rust_files(Path::new(folder)));
    let wrong = files.flat_map(|file| {
        let comments = doc_comments(&fs::read_to_string(&file).unwrap());
        let wrong = comments.into_iter().filter_map(|(line, comment)| Some((line, fragment(&comment)?, comment)));
        let lines = wrong.map(|(line, why, comment)| {
            let start: String = comment.chars().take(60).collect();
            format!("{}:{line}: \"{start}\" {why}", file.display())
        });
        lines.collect::<Vec<_>>()
    });
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "{} doc comments do not read alone:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn fragments_are_refused() {
    let fragments = [
        "Which.",
        "Whose.",
        "How it ended.",
        "Why, for people.",
        "For people.",
        "For the signals to be sent.",
        "Of each log.",
        "It does.",
        "Its pid.",
        "Nowhere.",
        "Between two looks; a look takes long.",
        "Without one of these a line says nothing.",
        "`None`: it has none.",
    ];
    fragments.into_iter().for_each(|comment| assert!(fragment(comment).is_some(), "{comment}"));
}

#[test]
fn what_says_its_noun_is_accepted() {
    let whole = [
        "Upper bound for sending the signals.",
        "Name of the group that the client belongs to.",
        "What a detector sees of a domain.",
        "Whether it serves.",
        "Why: `exited` or `killed`, as the metrics have it.",
        "In a container, all pids differ.",
        "Result of the command; `None`: it still runs.",
        "`0` is done, and so is a client that the server no longer has.",
        "hang: an engine that served stands still.",
    ];
    whole.into_iter().for_each(|comment| assert_eq!(fragment(comment), None, "{comment}"));
}
