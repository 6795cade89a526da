//! What an incident cost, in words.

use std::collections::BTreeMap;
use std::fmt::Display;

use super::span::span_of;

/// Requests in flight and the seconds that each engine did not serve: `3 requests in flight; not serving: qwen-a 1.7 s`.
/// `None`: nothing of it is known.
pub fn cost_of<N: Display>(requests: Option<f64>, not_serving: &BTreeMap<N, f64>) -> Option<String> {
    let requests = requests.filter(|requests| requests.is_finite()).map(|requests| match requests.round() {
        1.0 => "1 request in flight".to_owned(),
        requests => format!("{requests:.0} requests in flight"),
    });
    let spans: Vec<String> =
        not_serving.iter().filter_map(|(name, took)| Some(format!("{name} {}", span_of(*took)?))).collect();
    let spans = (!spans.is_empty()).then(|| format!("not serving: {}", spans.join(", ")));
    let parts: Vec<String> = requests.into_iter().chain(spans).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_says_what_is_known_of_it() {
        let cost = |requests, spans: &[(&str, f64)]| cost_of(requests, &spans.iter().copied().collect());
        assert_eq!(cost(None, &[]), None);
        assert_eq!(cost(Some(1.0), &[]).as_deref(), Some("1 request in flight"));
        assert_eq!(
            cost(Some(3.0), &[("qwen-a", 1.74), ("qwen-b", 5.0)]).as_deref(),
            Some("3 requests in flight; not serving: qwen-a 1.74 s, qwen-b 5.00 s")
        );
        assert_eq!(cost(Some(f64::NAN), &[("qwen-a", f64::NAN)]), None);
    }
}
