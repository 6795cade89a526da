//! What `/metrics` says, to be asked by name and labels. `tests/metrics.rs` holds the format to its rules.

use std::collections::BTreeMap;

/// One scrape.
#[derive(Debug)]
pub struct Metrics(Vec<Sample>);

#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Metrics {
    /// Reads the text format.
    pub fn parse(text: &str) -> Metrics {
        Metrics(text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect())
    }

    /// The sum of all samples of that name with at least these labels; 0 where there are none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).iter().map(|sample| sample.value).sum()
    }

    /// The one sample of that name with these labels; `None`: there is none, the value is not known.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let matching = self.matching(name, labels);
        assert!(matching.len() <= 1, "{matching:?}");
        matching.first().map(|sample| sample.value)
    }

    /// The value of `label` in the one sample of an enumeration that is 1.
    pub fn state(&self, name: &str, labels: &[(&str, &str)], label: &str) -> Option<&str> {
        let matching = self.matching(name, labels);
        let mut set = matching.iter().filter(|sample| sample.value == 1.0);
        let found = set.next()?.labels.get(label).map(String::as_str);
        if set.next().is_none() { found } else { None }
    }

    fn matching(&self, name: &str, labels: &[(&str, &str)]) -> Vec<&Sample> {
        let has = |sample: &Sample| labels.iter().all(|(k, v)| sample.labels.get(*k).is_some_and(|value| value == v));
        self.0.iter().filter(|sample| sample.name == name && has(sample)).collect()
    }
}

fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let pairs = labels.trim_end_matches('}').split("\",").filter_map(|pair| pair.split_once("=\""));
    let labels = pairs.map(|(name, value)| (name.to_owned(), value.trim_end_matches('"').to_owned())).collect();
    Some(Sample { name: name.to_owned(), labels, value: value.parse().ok()? })
}
