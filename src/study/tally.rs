//! Makes what counts of a load from its requests: rates, latencies, requests in flight. Pure arithmetic.

use std::ops::Range;
use std::time::Duration;

use super::results::{Measured, Percentiles};
use super::sse::Usage;

/// One request as it went. Times count from the beginning of its load.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Request {
    pub sent: Duration,
    /// When each chunk with tokens came: one or some.
    pub chunks: Vec<Duration>,
    /// When the end came without text, with a last token or alone.
    pub end: Option<Duration>,
    /// When it ended, well or not; `None`: it was cut off at the end of the load.
    pub ended: Option<Duration>,
    pub usage: Option<Usage>,
    /// Reason of the failure.
    pub failed: Option<String>,
}

impl Request {
    /// It came to its end, with the server's count, if it has one. That also tells whether there was a token in chunks
    /// that show none; where it has none, an answer of a single chunk has one.
    pub(super) fn counted(&mut self, usage: Option<Usage>) {
        self.usage = usage;
        let seen = self.chunks.len() as u64;
        if usage.map_or(seen == 0, |usage| usage.completion_tokens > seen) {
            self.chunks.extend(self.end.or(self.ended.filter(|_| seen == 0)));
        }
    }

    pub(super) fn ended_well(&self) -> bool {
        self.ended.is_some() && self.failed.is_none()
    }

    /// It began and ended well within the span.
    pub(super) fn is_whole_within(&self, span: &Range<Duration>) -> bool {
        self.ended_well() && span.contains(&self.sent) && self.ended.is_some_and(|ended| span.contains(&ended))
    }

    /// Tokens of each chunk, where the server has counted them.
    fn tokens_per_chunk(&self) -> Option<f64> {
        let tokens = self.usage?.completion_tokens as f64;
        (!self.chunks.is_empty() && tokens > 0.0).then(|| tokens / self.chunks.len() as f64)
    }

    /// Tokens of its prompt that were worked on within the span, of `asked`: its whole prompt from when it was sent to
    /// its first token. Counted at the first token alone, prompts that are worked on together would all fall to one
    /// side of an edge. `usual`: seconds to a first token, for those that were cut off before theirs.
    fn prompt_within(&self, span: &Range<Duration>, asked: u32, usual: f64) -> f64 {
        let tokens = self.usage.and_then(|usage| usage.prompt_tokens).unwrap_or(u64::from(asked)) as f64;
        let (first, took) = match (self.chunks.first(), self.ended) {
            (Some(first), _) => (*first, (*first - self.sent).as_secs_f64()),
            (None, Some(_)) => return 0.0,
            (None, None) => (span.end, usual.max(span.end.saturating_sub(self.sent).as_secs_f64())),
        };
        let within = first.min(span.end).saturating_sub(self.sent.max(span.start)).as_secs_f64();
        match took > 0.0 {
            true => tokens * within / took,
            false if span.contains(&first) => tokens,
            false => 0.0,
        }
    }

    fn first_within(&self, span: &Range<Duration>) -> Option<Duration> {
        self.chunks.first().copied().filter(|first| span.contains(first))
    }

    fn time_within(&self, span: &Range<Duration>) -> Duration {
        self.ended.unwrap_or(span.end).min(span.end).saturating_sub(self.sent.max(span.start))
    }
}

/// What an engine did within `span`, of prompts that were asked to have `prompt` tokens.
pub(super) fn tally(engine: &str, requests: &[Request], prompt: u32, span: &Range<Duration>) -> Measured {
    let seconds = (span.end - span.start).as_secs_f64();
    let per_chunk = usual(requests);
    let first = requests.iter().filter_map(|request| Some((*request.chunks.first()? - request.sent).as_secs_f64()));
    let first: Vec<f64> = first.collect();
    let usual_first = first.iter().sum::<f64>() / first.len().max(1) as f64;
    let ended = |request: &&Request| request.ended.is_some_and(|ended| span.contains(&ended));
    let prompts = requests.iter().map(|request| request.prompt_within(span, prompt, usual_first)).sum::<f64>();
    Measured {
        engine: engine.to_owned(),
        seconds,
        requests: requests.iter().filter(ended).filter(|request| request.ended_well()).count() as u64,
        whole: requests.iter().filter(|request| request.is_whole_within(span)).count() as u64,
        failed: requests.iter().filter(ended).filter(|request| !request.ended_well()).count() as u64,
        prompt_tokens: prompts.round() as u64,
        generation_tokens: requests.iter().map(|request| generated(request, span, per_chunk)).sum::<f64>().round()
            as u64,
        running: requests.iter().map(|request| request.time_within(span).as_secs_f64()).sum::<f64>() / seconds,
        ttft: percentiles(requests.iter().filter_map(|one| Some((one.first_within(span)? - one.sent).as_secs_f64()))),
        tpot: percentiles(requests.iter().filter(ended).filter_map(time_per_token)),
    }
}

/// Tokens of a chunk on average, for requests that were cut off before the server could say.
fn usual(requests: &[Request]) -> f64 {
    let known = requests.iter().filter_map(|request| Some((request.tokens_per_chunk()?, request.chunks.len())));
    let (tokens, chunks) =
        known.fold((0.0, 0), |(tokens, all), (each, chunks)| (tokens + each * chunks as f64, all + chunks));
    if chunks == 0 { 1.0 } else { tokens / chunks as f64 }
}

fn generated(request: &Request, span: &Range<Duration>, usual: f64) -> f64 {
    let came = request.chunks.iter().filter(|chunk| span.contains(*chunk)).count() as f64;
    came * request.tokens_per_chunk().unwrap_or(if request.usage.is_some() { 1.0 } else { usual })
}

/// Time from the first token to the last, over the tokens after the first; of a single one there is none.
fn time_per_token(request: &Request) -> Option<f64> {
    let (first, last) = (request.chunks.first()?, request.chunks.last()?);
    let tokens = request.usage.map_or(request.chunks.len() as f64, |usage| usage.completion_tokens as f64);
    (request.ended_well() && request.chunks.len() > 1 && tokens > 1.0)
        .then(|| (*last - *first).as_secs_f64() / (tokens - 1.0))
}

/// Percentiles by nearest rank; `None`: there is nothing.
fn percentiles(values: impl Iterator<Item = f64>) -> Option<Percentiles> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let rank = |share: f64| {
        let rank = (share * values.len() as f64).ceil() as usize;
        values.get(rank.saturating_sub(1)).copied()
    };
    Some(Percentiles { p50: rank(0.5)?, p90: rank(0.9)?, p99: rank(0.99)? })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn request(sent: u64, chunks: &[u64], tokens: u64) -> Request {
        Request {
            sent: ms(sent),
            chunks: chunks.iter().copied().map(ms).collect(),
            ended: chunks.last().copied().map(ms),
            usage: Some(Usage { prompt_tokens: Some(100), completion_tokens: tokens }),
            end: None,
            failed: None,
        }
    }

    fn of(requests: &[Request]) -> Measured {
        tally("a", requests, 90, &(ms(1000)..ms(3000)))
    }

    #[test]
    fn only_what_came_within_the_span_counts() {
        let before = request(0, &[500, 900], 2);
        let across = request(900, &[950, 1100, 1200], 3);
        let within = request(1200, &[1300, 1400, 1500, 1600], 4);
        let after = Request { ended: Some(ms(3100)), ..request(2500, &[2900, 3100], 2) };
        let found = of(&[before, across, within, after]);
        assert_eq!((found.requests, found.failed), (2, 0));
        assert_eq!(found.prompt_tokens, 200, "first tokens at 1.3 s and at 2.9 s");
        assert_eq!(found.generation_tokens, 2 + 4 + 1);
        assert!((found.running - (0.2 + 0.4 + 0.5) / 2.0).abs() < 1e-9, "{}", found.running);
        assert_eq!(found.ttft.unwrap(), Percentiles { p50: 0.1, p90: 0.4, p99: 0.4 });
        let tpot = found.tpot.unwrap();
        assert!((tpot.p50 - 0.1).abs() < 1e-9 && (tpot.p99 - 0.125).abs() < 1e-9, "{tpot:?}");
    }

    #[test]
    fn a_prompt_counts_by_the_share_of_its_time_that_lies_within_the_span() {
        let prompts = |requests: &[Request]| of(requests).prompt_tokens;
        assert_eq!(prompts(&[request(800, &[1200], 1)]), 50, "over the beginning");
        assert_eq!(prompts(&[request(2900, &[3300], 1)]), 25, "over the end");
        assert_eq!(prompts(&[request(0, &[4000], 1)]), 50, "over both");
        assert_eq!(prompts(&[request(500, &[900], 1), request(3100, &[3200], 1)]), 0);
        let cut = Request { ended: None, usage: None, ..request(2800, &[], 0) };
        assert_eq!(prompts(&[request(1000, &[1400], 1), cut]), 100 + 45, "one that was cut off, by what others took");
        let failed = Request { failed: Some("HTTP 500".into()), ended: Some(ms(1500)), ..request(1000, &[], 0) };
        assert_eq!(prompts(&[failed]), 0);
        assert_eq!(prompts(&[request(1000, &[1000], 1)]), 100, "in no time");
    }

    #[test]
    fn chunks_of_several_tokens_are_corrected_by_the_servers_count_also_of_those_cut_off() {
        let whole = request(1000, &[1100, 1200], 8);
        let cut = Request { usage: None, ended: None, ..request(1200, &[1300, 1400, 1500], 0) };
        let found = of(&[whole.clone(), cut]);
        assert_eq!(found.generation_tokens, 8 + 12);
        assert!((found.tpot.unwrap().p50 - 0.1 / 7.0).abs() < 1e-9);
        assert_eq!(found.prompt_tokens, 190, "of the one cut off, as asked");
        assert!((found.running - (0.2 + 1.8) / 2.0).abs() < 1e-9);
    }

    #[test]
    fn a_server_that_counts_nothing_is_counted_by_chunks() {
        let silent = Request { usage: None, ..request(1000, &[1100, 1200, 1300], 0) };
        let found = of(&[silent]);
        assert_eq!((found.generation_tokens, found.prompt_tokens), (3, 90));
        assert!((found.tpot.unwrap().p50 - 0.1).abs() < 1e-9);
    }

    #[test]
    fn a_token_that_shows_nothing_is_counted_where_the_server_says_so() {
        let of = |chunks: &[u64], end: Option<u64>, tokens: Option<u64>| {
            let mut request = Request { end: end.map(ms), ended: Some(ms(1500)), ..request(1000, chunks, 0) };
            request.counted(tokens.map(|tokens| Usage { prompt_tokens: None, completion_tokens: tokens }));
            let found = of(&[request]);
            (found.generation_tokens, found.ttft.map(|first| (first.p50 * 1e3).round()))
        };
        assert_eq!(of(&[], Some(1400), Some(1)), (1, Some(400.0)), "the only token");
        assert_eq!(of(&[1100], Some(1400), Some(2)), (2, Some(100.0)));
        assert_eq!(of(&[1100, 1200], Some(1400), Some(2)), (2, Some(100.0)), "the end alone");
        assert_eq!(of(&[1100, 1200], Some(1400), None), (2, Some(100.0)));
        assert_eq!(of(&[], Some(1400), None), (1, Some(400.0)), "a server that counts nothing");
        assert_eq!(of(&[], None, Some(4)), (4, Some(500.0)), "a server that shows nothing");
        assert_eq!(of(&[], Some(1400), Some(0)), (0, None));
    }

    #[test]
    fn failures_are_counted_and_give_no_latency() {
        let failed = Request { failed: Some("HTTP 500".into()), ended: Some(ms(1500)), ..Request::default() };
        let found = of(&[failed]);
        assert_eq!((found.requests, found.failed, found.ttft, found.tpot), (0, 1, None, None));
    }

    #[test]
    fn one_token_has_a_first_one_and_no_time_between_tokens() {
        let found = of(&[request(1000, &[1100], 1)]);
        assert_eq!((found.generation_tokens, found.tpot), (1, None));
        assert!(found.ttft.is_some());
        let nothing = of(&[]);
        assert_eq!((nothing.requests, nothing.running, nothing.ttft), (0, 0.0, None));
    }
}
