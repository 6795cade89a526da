//! Regular expressions that people write to name a process by its command line.

use regex::bytes::{Regex, RegexBuilder};

/// The longest one, compiled: a pattern of a configuration must not fill the memory.
const LARGEST: usize = 1 << 20;

/// A pattern of a command line, or why it is none. Bytes are matched, whatever they mean: a command line has no encoding.
pub fn command_pattern(pattern: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(pattern).unicode(false).size_limit(LARGEST).build();
    built.map_err(|error| {
        let text = error.to_string();
        // The last line says what is wrong; those before it show where, in several lines.
        text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_within_a_command_line() {
        let pattern = command_pattern(r"serve\s+\S+ --port 800\d").unwrap();
        assert!(pattern.is_match(b"/opt/vllm/bin/python /opt/vllm/bin/vllm serve Qwen/Qwen2.5-0.5B --port 8001"));
        assert!(!pattern.is_match(b"vllm serve Qwen/Qwen2.5-0.5B --port 9001"));
    }

    #[test]
    fn what_is_no_pattern_says_why_in_one_line() {
        for wrong in ["vllm (", "[z-a]", "a{100000}{100000}"] {
            let why = command_pattern(wrong).unwrap_err();
            assert!(!why.is_empty() && !why.contains('\n'), "{wrong}: {why:?}");
        }
    }
}
