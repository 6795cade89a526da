//! Arguments of simulated processes: words, and options of the form `--name value`. Decides nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Arguments of one process.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Args {
    /// What is no option, in order.
    pub words: Vec<String>,
    options: BTreeMap<String, String>,
}

impl Args {
    /// Takes them apart; an option without a value is empty.
    pub fn parse(argv: &[String]) -> Args {
        let mut args = Args::default();
        let mut rest = argv.iter().peekable();
        while let Some(word) = rest.next() {
            let Some(name) = word.strip_prefix("--") else {
                args.words.push(word.clone());
                continue;
            };
            let value = rest.next_if(|next| !next.starts_with("--")).cloned().unwrap_or_default();
            args.options.insert(name.to_owned(), value);
        }
        args
    }

    /// Whether an option is there.
    pub fn has(&self, name: &str) -> bool {
        self.options.contains_key(name)
    }

    /// An option's text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }

    /// An option's number, or `otherwise` where it is missing or none.
    pub fn number<N: FromStr>(&self, name: &str, otherwise: N) -> N {
        self.text(name).and_then(|text| text.parse().ok()).unwrap_or(otherwise)
    }

    /// An option's path, or `otherwise`.
    pub fn path(&self, name: &str, otherwise: &str) -> PathBuf {
        PathBuf::from(self.text(name).unwrap_or(otherwise))
    }

    /// An option's time: `1500ms` or `2s`, or `otherwise`.
    pub fn time(&self, name: &str, otherwise: Duration) -> Duration {
        self.text(name).and_then(time).unwrap_or(otherwise)
    }

    /// An option's size in bytes: `20GiB`, `512MiB` or plain bytes, or `otherwise`.
    pub fn size(&self, name: &str, otherwise: u64) -> u64 {
        self.text(name).and_then(size).unwrap_or(otherwise)
    }
}

/// `1500ms`, `2s`.
pub(crate) fn time(text: &str) -> Option<Duration> {
    let scaled = |number: &str, unit: f64| number.parse::<f64>().ok().map(|n| n * unit);
    let seconds = match text.strip_suffix("ms") {
        Some(number) => scaled(number, 1e-3),
        None => scaled(text.strip_suffix('s').unwrap_or(text), 1.0),
    }?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// `40GiB`, `40960MiB`, `40G`, `40960M`, bytes; the units that CUDA and the configuration take.
pub(crate) fn size(text: &str) -> Option<u64> {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10), ("G", 30), ("M", 20), ("K", 10), ("B", 0), ("", 0)];
    units.iter().find_map(|(unit, shift)| {
        let number: u64 = text.strip_suffix(unit)?.trim().parse().ok()?;
        number.checked_mul(1 << shift)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_options_and_flags_are_told_apart() {
        let argv = ["spin", "--us", "1000", "--linger", "--size", "2GiB"].map(String::from);
        let args = Args::parse(&argv);
        assert_eq!(args.words, ["spin"]);
        assert_eq!(args.number("us", 0), 1000);
        assert!(args.has("linger"));
        assert_eq!(args.size("size", 0), 2 << 30);
    }

    #[test]
    fn sizes_and_times_have_units() {
        assert_eq!(size("40960M"), Some(40 << 30));
        assert_eq!(size("17"), Some(17));
        assert_eq!(size("lots"), None);
        assert_eq!(time("1500ms"), Some(Duration::from_millis(1500)));
        assert_eq!(time("2s"), Some(Duration::from_secs(2)));
        assert_eq!(time("-1s"), None);
    }
}
