//! What looks like a secret in a text, a command line or a configuration, and the text without it. Pure; it hides
//! too much rather than too little, and can't know a secret that looks like nothing.

use std::ops::Range;

use regex::{Captures, Regex};

use super::plain;

/// What stands in a secret's place.
pub const HIDDEN: &str = "[redacted]";

// Letters are those of ASCII: names and keys have no others, and the tables for all of Unicode would cost the
// watchdog, which shows its own configuration by these, 17 MB more at that moment.

/// `scheme://user:password@`: what stands before the host.
const USER_INFO: &str = r#"(?-u:\b)[A-Za-z][A-Za-z0-9+.-]*://(?<secret>[^\x00-\x20/?\#'"<>]+)@"#;
/// Keys by their makers' shapes, and addresses that are keys themselves.
const SHAPES: &str = r"(?x)(?<secret>
    (?-u:\b)(?: sk-[0-9A-Za-z_-]{8,} | hf_[0-9A-Za-z_]{8,} | gh[pousr]_[0-9A-Za-z_]{16,}
        | github_pat_[0-9A-Za-z_]{16,} | glpat-[0-9A-Za-z_-]{16,} | xox[a-z]-[0-9A-Za-z_-]{8,}
        | (?:AKIA|ASIA)[0-9A-Z]{12,} | AIza[0-9A-Za-z_-]{20,} | nvapi-[0-9A-Za-z_-]{16,} | eyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_.-]+ )
    | hooks\.slack\.com/[^\x00-\x20]+
    | discord(?:app)?\.com/api/webhooks/[^\x00-\x20]+ | webhook\.office\.com/[^\x00-\x20]+
    | -----BEGIN\x20[A-Z\x20]*PRIVATE\x20KEY-----(?s:.)*?(?:-----END\x20[A-Z\x20]*PRIVATE\x20KEY-----|\z)
    | \A[A-Za-z0-9+/=\r\n]{16,}-----END\x20[A-Z\x20]*PRIVATE\x20KEY----- )";
/// What follows the word in a header.
const BEARER: &str = r"(?i-u)\bbearer[\t\r\n\x20]+(?<secret>[0-9A-Za-z_.~+/=-]{6,})";
/// `name=value`, `name: value`, `"name": "value"`, also within a string of JSON. The value ends with its quote or
/// bracket, else with the word.
const PAIR: &str = r#"(?x) (?<name>[A-Za-z][0-9A-Za-z_.-]*) (?:\\?["'])? [\t\r\n\x20]* (?:=>|=|:) [\x20\t]*
    (?<secret> \\"(?:[^"\\]|\\[^"])*\\?"? | [bBrRuUfF]{0,2}"(?:[^"\\]|\\.)*"? | [bBrRuUfF]{0,2}'(?:[^'\\]|\\.)*'?
        | \[[^\]\n]*\]? | \([^)\n]*\)? | [0-9A-Za-z_.]+\([^)\n]*\)? | [^\x00-\x20,;&"']+ )"#;
/// `--name` before a value that is a word, or several, of its own; also in a printed list.
const FLAG: &str = r#"(?x) --?(?<name>[A-Za-z][0-9A-Za-z_-]*) ["']? (?:,[\x20\t]*|[\x20\t]+) (?<secret>[^\n]+)"#;
/// Escape sequences for terminals: they could stand in the middle of anything.
const TERMINAL: &str = r"\x1b(?:\[[0-9;?]*[A-Za-z]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?)|\x{9b}[0-9;?]*[A-Za-z]";

/// Finds secrets.
#[derive(Clone, Debug)]
pub struct Secrets {
    /// Longest first.
    known: Vec<String>,
    anywhere: [Regex; 3],
    pair: Regex,
    flag: Regex,
    terminal: Regex,
}

impl Secrets {
    /// Secrets known by their looks alone. The error is a mistake in this file.
    pub fn new() -> Result<Secrets, regex::Error> {
        Ok(Secrets {
            known: Vec::new(),
            anywhere: [Regex::new(USER_INFO)?, Regex::new(SHAPES)?, Regex::new(BEARER)?],
            pair: Regex::new(PAIR)?,
            flag: Regex::new(FLAG)?,
            terminal: Regex::new(TERMINAL)?,
        })
    }

    /// Finds these, too, wherever they stand: as they are, by line, and as a string of JSON has them.
    pub fn knowing(mut self, secrets: impl IntoIterator<Item = String>) -> Secrets {
        for secret in secrets {
            let quoted = serde_json::to_string(&secret).unwrap_or_default();
            let shown = plain::lines(&secret);
            let lines = secret.lines().chain(shown.lines()).map(str::trim).filter(|line| line.len() >= SHORTEST);
            self.known.extend(lines.map(str::to_owned).chain([quoted.trim_matches('"').to_owned()]));
        }
        self.known.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        self.known.dedup();
        self
    }

    /// The text with every secret hidden, and nothing in it that drives a terminal.
    pub fn text(&self, text: &str) -> String {
        let text = plain::lines(&self.terminal.replace_all(text, ""));
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        for secret in self.found(&text) {
            out.push_str(&text[at..secret.start]);
            out.push_str(HIDDEN);
            at = secret.end;
        }
        out.push_str(&text[at..]);
        out
    }

    /// A program's arguments with every secret hidden, also those that are words of their own.
    pub fn command(&self, words: &[String]) -> Vec<String> {
        let hidden = hidden_words(words);
        let told = |(word, hidden): (&String, bool)| if hidden { HIDDEN.to_owned() } else { self.text(word) };
        words.iter().zip(hidden).map(told).collect()
    }

    /// The arguments of a program that is not configured here. It is not known which of its values are secrets: hidden
    /// is also the value of each variable, of `-p`, and each word that looks like chance. A script within a word counts
    /// as words.
    pub fn strangers_command(&self, words: &[String]) -> Vec<String> {
        let shown: Vec<String> = words.iter().map(|word| self.text(word)).collect();
        let parts: Vec<String> =
            shown.iter().flat_map(|word| word.split_ascii_whitespace()).map(str::to_owned).collect();
        let program = parts.iter().find(|part| !part.starts_with('-') && !part.contains('='));
        let program = program.map_or("", |part| part.rsplit('/').next().unwrap_or_default()).to_owned();
        let hidden = hidden_parts(&parts, &program);
        let told = |(at, (part, hidden)): (usize, (&String, bool))| match hidden {
            true => HIDDEN.to_owned(),
            // A program's place may look like chance, and is worth reading.
            false if at == 0 => part.clone(),
            false => strangers_part(part),
        };
        parts.iter().zip(hidden).enumerate().map(told).collect()
    }

    /// The secrets of a program's arguments themselves.
    pub fn of_command(&self, words: &[String]) -> Vec<String> {
        let mut secrets = Vec::new();
        for (word, hidden) in words.iter().zip(hidden_words(words)) {
            let found = if hidden { std::iter::once(0..word.len()).collect() } else { self.found(word) };
            let bare = |secret: Range<usize>| word[secret].trim_matches(['"', '\'', '[', ']', '\\']).to_owned();
            secrets.extend(found.into_iter().map(bare).filter(|secret| secret.len() >= SHORTEST));
        }
        secrets
    }

    /// Every string of a document with every secret hidden. Names stay.
    pub fn json(&self, document: &mut serde_json::Value) {
        match document {
            serde_json::Value::String(text) => *text = self.text(text),
            serde_json::Value::Array(items) => items.iter_mut().for_each(|item| self.json(item)),
            serde_json::Value::Object(fields) => fields.values_mut().for_each(|field| self.json(field)),
            serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {}
        }
    }

    /// Where they are, in order, none touching another.
    fn found(&self, text: &str) -> Vec<Range<usize>> {
        let mut found: Vec<Range<usize>> = Vec::new();
        for known in &self.known {
            found.extend(text.match_indices(known.as_str()).map(|(at, _)| at..at + known.len()));
        }
        for pattern in &self.anywhere {
            found.extend(pattern.captures_iter(text).filter_map(|captures| Some(captures.name("secret")?.range())));
        }
        found.extend(named(&self.pair, text, pair_value));
        found.extend(named(&self.flag, text, flag_values));
        merged(found)
    }
}

/// Length of the shortest secret: a shorter one would be found where none is.
const SHORTEST: usize = 4;
/// Length from which a value that looks like chance is taken for a secret, whatever its name.
const SHORTEST_OF_CHANCE: usize = 16;

/// Whether the value of a variable is one that must not be read by others.
pub fn is_secret(name: &str, value: &str) -> bool {
    let has = |of: fn(&u8) -> bool| value.bytes().any(|byte| of(&byte));
    let by_chance = value.len() >= SHORTEST_OF_CHANCE
        && has(u8::is_ascii_alphabetic)
        && has(u8::is_ascii_digit)
        && !has(u8::is_ascii_whitespace)
        && !value.starts_with('/');
    value.len() >= SHORTEST && (is_secret_name(name) || by_chance || value.contains("PRIVATE KEY"))
}

/// `api-key`, `HF_TOKEN`, `dbPassword`, `Authorization`; not `tokenizer`, `KeyError`, `eos_token_id`.
fn is_secret_name(name: &str) -> bool {
    const ANYWHERE: [&str; 8] =
        ["secret", "password", "passwd", "passphrase", "credential", "apikey", "api-key", "api_key"];
    const AT_THE_END: [&str; 8] = ["key", "token", "auth", "authorization", "cookie", "jwt", "signature", "bearer"];
    const ALONE: [&str; 5] = ["sig", "pat", "pass", "pw", "pwd"];
    let name = name.to_ascii_lowercase();
    let mut words = name.split(|c: char| !c.is_ascii_alphabetic());
    let last = words.rfind(|word| !word.is_empty()).unwrap_or_default();
    ANYWHERE.iter().any(|part| name.contains(part))
        || AT_THE_END.iter().any(|end| last.ends_with(end))
        || ALONE.contains(&last)
}

/// What follows secret names. What follows any other name is looked at again: `args: --api-key=...`.
fn named(pattern: &Regex, text: &str, value: fn(&str, &Captures<'_>) -> Option<Range<usize>>) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(captures) = pattern.captures_at(text, at) {
        let (Some(name), Some(secret)) = (captures.name("name"), captures.name("secret")) else { break };
        at = secret.start().max(name.end());
        if is_secret_name(name.as_str())
            && let Some(secret) = value(text, &captures)
        {
            at = secret.end.max(at);
            found.push(secret);
        }
    }
    found
}

/// Range of the value; of a header it is the whole line. That there is none is worth reading.
fn pair_value(text: &str, captures: &Captures<'_>) -> Option<Range<usize>> {
    let (name, value) = (captures.name("name")?, captures.name("secret")?);
    let is_header = ["authorization", "cookie"].iter().any(|end| name.as_str().to_ascii_lowercase().ends_with(end));
    let quoted = value.as_str().trim_start_matches(['b', 'r', 'u', 'f', '\\']).starts_with(['"', '\'', '[', '(']);
    if is_header && !quoted {
        let rest = &text[value.start()..];
        return Some(value.start()..value.start() + rest.find(['"', '\'', '\n']).unwrap_or(rest.len()));
    }
    let says_none = ["None", "null", "True", "False", "true", "false", "\"\"", "''"].contains(&value.as_str());
    (!says_none).then(|| value.range())
}

/// Every word up to the next flag: some flags take several values.
fn flag_values(text: &str, captures: &Captures<'_>) -> Option<Range<usize>> {
    let start = captures.name("secret")?.start();
    let rest = text[start..].lines().next().unwrap_or_default();
    let quoted = rest.chars().next().filter(|c| "\"'".contains(*c)).and_then(|quote| rest[1..].find(quote));
    let from = quoted.map_or(0, |end| end + 2);
    let next = [" -", " \"-", " '-"].iter().filter_map(|flag| rest[from..].find(flag)).min();
    let end = next.map_or(rest.len(), |next| from + next);
    let value = &rest[..end];
    (!value.trim_start_matches(['"', '\'']).starts_with('-')).then(|| start..start + value.len())
}

/// Words that follow a flag for a secret, up to the next flag; and what `curl -u` takes.
fn hidden_words(words: &[String]) -> Vec<bool> {
    let mut after = false;
    let hides = |word: &String| {
        let is_flag = word.starts_with('-');
        let hidden = after && !is_flag;
        if is_flag {
            let name = word.trim_start_matches('-');
            after = !name.contains(['=', ' ']) && (is_secret_name(name) || ["u", "user", "proxy-user"].contains(&name));
        }
        hidden
    };
    words.iter().map(hides).collect()
}

/// The same of a stranger's words, which may stand in a script: a header's value is a word of its own, or two.
fn hidden_parts(parts: &[String], program: &str) -> Vec<bool> {
    let mut hidden = hidden_words(parts);
    let is_python = program.starts_with("python");
    let takes_password =
        ["mysql", "mariadb", "sshpass"].iter().any(|name| parts.iter().any(|part| base(part).starts_with(name)));
    let mut after = false;
    for (at, part) in parts.iter().enumerate() {
        let bare = part.trim_matches(['"', '\'', ',', '{', '}', '[', ']']);
        let is_flag = bare.starts_with('-');
        hidden[at] |= after && !is_flag;
        // An unbuffered Python has a script behind its -u, and no user.
        hidden[at] &= !(is_python && at > 0 && parts[at - 1] == "-u");
        if takes_password && bare.len() > 2 && bare.starts_with("-p") {
            hidden[at] = true;
        }
        let named = bare.trim_start_matches('-').trim_end_matches([':', '=']).trim_matches(['"', '\'']);
        let opens = bare.ends_with([':', '=']) && is_secret_name(named);
        let scheme = ["bearer", "basic", "token"].iter().any(|scheme| bare.eq_ignore_ascii_case(scheme));
        after = match is_flag {
            true => ["-p", "-pw", "-pass", "-a", "-P"].contains(&bare) || opens,
            false => opens || scheme && at > 0 && (after || parts[at - 1].ends_with(':')),
        };
    }
    hidden
}

/// The name of a program.
fn base(part: &str) -> &str {
    part.rsplit('/').next().unwrap_or_default()
}

/// One word of a stranger's: a variable without its value, and nothing that looks like chance.
fn strangers_part(part: &str) -> String {
    let is_variable = |name: &str| {
        let plain = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        !name.is_empty() && name.chars().all(plain) && !name.starts_with(|c: char| c.is_ascii_digit())
    };
    match part.trim_start_matches(['"', '\'']).split_once('=') {
        Some((name, value)) if is_variable(name) && !value.is_empty() => format!("{name}={HIDDEN}"),
        _ => by_chance(part),
    }
}

/// The text with each run of letters and digits hidden that looks drawn by lot: names change between letters and
/// digits now and then, keys all the time.
fn by_chance(part: &str) -> String {
    const SHORTEST_RUN: usize = 20;
    const CHANGES: usize = 4;
    let of_run = |c: char| c.is_ascii_alphanumeric() || "+_-".contains(c);
    let drawn = |run: &str| {
        let kinds: Vec<bool> = run.chars().filter(char::is_ascii_alphanumeric).map(|c| c.is_ascii_digit()).collect();
        run.len() >= SHORTEST_RUN && kinds.windows(2).filter(|pair| pair[0] != pair[1]).count() >= CHANGES
    };
    let (mut out, mut rest) = (String::with_capacity(part.len()), part);
    while !rest.is_empty() {
        let end = rest.find(|c| !of_run(c)).unwrap_or(rest.len());
        out.push_str(if drawn(&rest[..end]) { HIDDEN } else { &rest[..end] });
        let next = rest[end..].find(of_run).map_or(rest.len(), |next| end + next);
        out.push_str(&rest[end..next]);
        rest = &rest[next..];
    }
    out
}

/// Merges ranges in order, those that touch as one.
fn merged(mut found: Vec<Range<usize>>) -> Vec<Range<usize>> {
    found.retain(|secret| !secret.is_empty());
    found.sort_by_key(|secret| secret.start);
    let mut merged: Vec<Range<usize>> = Vec::new();
    for secret in found {
        match merged.last_mut() {
            Some(last) if secret.start <= last.end => last.end = last.end.max(secret.end),
            _ => merged.push(secret),
        }
    }
    merged
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;

    /// Made once: that takes its time in a build for tests.
    static SECRETS: LazyLock<Secrets> = LazyLock::new(|| Secrets::new().unwrap());

    fn hidden(text: &str) -> String {
        SECRETS.text(text)
    }

    fn knowing(known: &[&str]) -> Secrets {
        SECRETS.clone().knowing(known.iter().map(|known| (*known).to_owned()))
    }

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn a_secret_is_found_by_its_name() {
        for (text, expected) in [
            ("HF_TOKEN=abc", "HF_TOKEN=[redacted]"),
            ("api_key=['a', 'b'], seed=0", "api_key=[redacted], seed=0"),
            ("api_key=None, seed=0", "api_key=None, seed=0"),
            ("{'dbPassword': 'a b', 'x': 1}", "{'dbPassword': [redacted], 'x': 1}"),
            (r#"{"api_key": "a\"b", "x": 1}"#, r#"{"api_key": [redacted], "x": 1}"#),
            (r#"said {\"token\": \"abc\", \"n\": 1}"#, r#"said {\"token\": [redacted], \"n\": 1}"#),
            ("args: --api-key=abc --port 1", "args: --api-key=[redacted] --port 1"),
            ("vllm serve --api-key abc def --port 1", "vllm serve --api-key [redacted] --port 1"),
            ("['--api-key', 'abc', '--port', '1']", "['--api-key', [redacted] '--port', '1']"),
            ("Authorization: Basic abc def", "Authorization: [redacted]"),
            ("curl -H 'Authorization: Bearer abc' x", "curl -H 'Authorization: [redacted]' x"),
            ("key=SecretStr('abc'), x", "key=[redacted], x"),
            ("token: b'abc' x", "token: [redacted] x"),
            ("?sig=abc&x=1", "?sig=[redacted]&x=1"),
            ("\u{1b}[31mapi_key\u{1b}[0m=abc", "api_key=[redacted]"),
        ] {
            assert_eq!(hidden(text), expected);
        }
    }

    #[test]
    fn a_secret_is_found_by_its_shape() {
        for (text, expected) in [
            ("got sk-abcdef123456 from", "got [redacted] from"),
            ("hf_abcdefghij, x", "[redacted], x"),
            ("bearer abc.def-123", "bearer [redacted]"),
            ("postgres://me:p@ss@host/db", "postgres://[redacted]@host/db"),
            ("https://hooks.slack.com/services/T0/B0/x now", "https://[redacted] now"),
            ("a -----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY----- b", "a [redacted] b"),
            ("a -----BEGIN PRIVATE KEY-----\nabc", "a [redacted]"),
            ("MIIEvQIBADANBgkq\nabc=\n-----END PRIVATE KEY----- b", "[redacted] b"),
        ] {
            assert_eq!(hidden(text), expected);
        }
    }

    #[test]
    fn what_engines_say_every_day_stays() {
        for text in [
            "INFO 11-23 00:31:45 [loggers.py:118] Avg prompt throughput: 12.0 tokens/s, Running: 3 reqs",
            "KeyError: 'model.layers.0'",
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
            "--tokenizer Qwen/Qwen2.5-0.5B-Instruct --max-num-batched-tokens 8192",
            "eos_token_id=151643, stop_token_ids=[1, 2]",
            "[2026-11-23 00:31:33.189 Server  6294] Received new client request",
            "http://127.0.0.1:8001/health answers 200",
            "CUDA error: an illegal memory access was encountered (error 700)",
        ] {
            assert_eq!(hidden(text), text);
        }
    }

    #[test]
    fn arguments_after_a_flag_for_a_secret_are_hidden_up_to_the_next_flag() {
        let secrets = &*SECRETS;
        let line = words("vllm serve model --api-key one two --port 8001 --hf-token=three -u me:four --x");
        let expected =
            "vllm serve model --api-key [redacted] [redacted] --port 8001 --hf-token=[redacted] -u [redacted] --x";
        assert_eq!(secrets.command(&line).join(" "), expected);
        assert_eq!(secrets.of_command(&line), ["three", "me:four"]);
    }

    #[test]
    fn nothing_secret_of_a_stranger_is_shown_and_what_he_runs_is() {
        for (line, expected) in [
            ("python3|train.py|--lr|1", "python3 train.py --lr 1"),
            (
                "python3|-u|train.py|--model|Qwen/Qwen2.5-0.5B-Instruct",
                "python3 -u train.py --model Qwen/Qwen2.5-0.5B-Instruct",
            ),
            ("vllm|serve|m|--api-key|s3c", "vllm serve m --api-key [redacted]"),
            ("vllm|serve|--api-key=s3c|--api-keys|s3c", "vllm serve --api-key=[redacted] --api-keys [redacted]"),
            ("x|-p|s3c|--password|s3c|--pw|s3c", "x -p [redacted] --password [redacted] --pw [redacted]"),
            ("mysql|-uroot|-ps3c|db", "mysql -uroot [redacted] db"),
            ("x|--token|s3c|--url|http://u:s3c@h/", "x --token [redacted] --url http://[redacted]@h/"),
            ("env|HF_TOKEN=s3c|PLAIN=s3c|x", "env HF_TOKEN=[redacted] PLAIN=[redacted] x"),
            ("curl|-H|Authorization: Bearer s3c|http://h/", "curl -H Authorization: [redacted] http://h/"),
            ("curl|-H|Authorization:|Bearer|s3c", "curl -H Authorization: [redacted] [redacted]"),
            ("curl|-u|me:s3c|http://h/", "curl -u [redacted] [redacted]"),
            ("x|ASIAIOSFODNN7EXAMPLE|wJalrXUtnFEMI3K7MDENG2bPxRfiCY9EXAMPLEKEY", "x [redacted] [redacted]"),
            ("x|sk-abcdef123456|hf_abcdefghij|ghp_abcdefghijklmnop", "x [redacted] [redacted] [redacted]"),
            ("x|a8f5f167f44f4964e6c998dee827110c", "x [redacted]"),
            ("x|-----BEGIN PRIVATE KEY-----\nMIIE\ns3c\n", "x [redacted]"),
            (
                "sh|-c|X=s3c mysql -ps3c; run --token s3c --n 1",
                "sh -c X=[redacted] mysql [redacted] run --token [redacted] --n 1",
            ),
            ("vllm serve m --api-key s3c --port 1", "vllm serve m --api-key [redacted] --port 1"),
            ("x|{\"password\": \"s3c\", \"n\": 1}", "x {\"password\": [redacted] \"n\": 1}"),
        ] {
            let words: Vec<String> = line.split('|').map(str::to_owned).collect();
            assert_eq!(SECRETS.strangers_command(&words).join(" "), expected);
        }
    }

    #[test]
    fn what_is_known_is_found_wherever_it_stands() {
        let secrets = knowing(&["two\nlines\"here", "plain"]);
        assert_eq!(secrets.text("xplainx lines\"here"), "x[redacted]x [redacted]");
        assert_eq!(secrets.text(r#"{"a": "two\nlines\"here"}"#), r#"{"a": "[redacted]"}"#);
    }

    #[test]
    fn a_value_is_secret_by_its_name_or_by_its_looks() {
        for (name, value) in [("HF_TOKEN", "abcd"), ("LICENSE", "Zq81kd02mmQ7aaLp"), ("DB_PASS", "hunter2")] {
            assert!(is_secret(name, value), "{name}");
        }
        for (name, value) in [("VLLM_LOGGING_LEVEL", "INFO"), ("HF_HOME", "/srv/huggingface/cache-01"), ("API_KEY", "")]
        {
            assert!(!is_secret(name, value), "{name}");
        }
    }

    #[test]
    fn documents_stay_documents() {
        let mut document = serde_json::json!({ "lines": [{ "text": "api_key=\"abc\"" }], "n": 1 });
        SECRETS.json(&mut document);
        assert_eq!(document, serde_json::json!({ "lines": [{ "text": "api_key=[redacted]" }], "n": 1 }));
    }

    /// Everything around a planted secret that it may be found by; `@` is where it stands.
    const PLACES: [&str; 16] = [
        "API_KEY=@",
        "  export HF_TOKEN=\"@\"",
        "--api-key @",
        "--api-key=@ --port 1",
        "['--hf-token', '@']",
        "password: '@'",
        "{\"secret\": \"@\"}",
        "Namespace(api_key=['@', '@'], port=1)",
        "Authorization: Bearer @",
        "-H \"X-Api-Key: @\"",
        "redis://:@@cache:6379/0",
        "https://x/y?token=@&z=1",
        "aws_secret_access_key => @",
        "{\\\"client_secret\\\": \\\"@\\\"}",
        "auth_token=SecretStr('@')",
        "Cookie: session=@; other=1",
    ];

    proptest! {
        #[test]
        fn no_planted_secret_is_left(
            secret in "[A-Za-z0-9_]{6,40}",
            place in prop::sample::select(PLACES.to_vec()),
            before in "[ -~\n]{0,40}[ \n]",
            after in "[ \n][ -~\n]{0,40}",
        ) {
            let place = match place.strip_prefix("redis://:@@") {
                Some(rest) => format!("redis://:{secret}@{rest}"),
                None => place.replace('@', &secret),
            };
            // What is planted must not be there by chance.
            prop_assume!(!before.contains(&secret) && !after.contains(&secret));
            // A quote or a bracket that is open before it may swallow its name: such text is no line of a log.
            let before = before.replace(['"', '\'', '[', '(', '\\', '='], "").replace(':', "");
            let text = hidden(&format!("{before}{place}{after}"));
            prop_assert!(!text.contains(&secret), "{text}");
        }

        #[test]
        fn what_is_known_is_never_left(secret in "[!-~]{4,60}", before in "\\PC{0,40}", after in "\\PC{0,40}") {
            let secrets = knowing(&[&secret]);
            let text = secrets.text(&format!("{before}{secret}{after}"));
            prop_assume!(!HIDDEN.contains(&secret) && !before.contains(&secret) && !after.contains(&secret));
            prop_assert!(!text.contains(&secret), "{text}");
        }

        #[test]
        fn any_text_is_taken(text in "\\PC*") {
            hidden(&text);
        }
    }
}
