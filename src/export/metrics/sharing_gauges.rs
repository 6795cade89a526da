//! How engines overlap on the GPU and whether sharing it pays, of one group: the kernel probe's sums, gain, slow-downs,
//! baselines and advice. What can't be known, without a probe or a baseline, has no sample.

use super::catalogue as metric;
use super::families::Families;
use super::gauges::{flag, write_known};
use crate::model::{AdviceReason, Baseline, EngineName, EngineStatus, GroupStatus, ProbeState, Taken};

/// Adds them. `boot` is the boot's wall time, in seconds since 1970.
pub(super) fn write(families: &mut Families, group: &GroupStatus, boot: f64) {
    let probed = group.engines.iter().filter(|engine| is_probed(engine)).count();
    if probed > 0 {
        write_probed(families, group, probed);
    }
    write_known(families, &metric::THROUGHPUT_GAIN, &[group.name.as_str()], group.overlap.gain);
    let measured = || group.engines.iter().filter(|engine| engine.sharing.baselines > 0);
    if measured().next().is_some() {
        write_advice(families, group, None, AdviceReason::LowGain);
    }
    for engine in measured() {
        write_advice(families, group, Some(&engine.name), AdviceReason::Slowdown);
    }
    for engine in &group.engines {
        let labels = &[group.name.as_str(), engine.name.as_str()];
        write_known(families, &metric::SLOWDOWN, labels, engine.sharing.slowdown);
        if let Some(baseline) = &engine.sharing.baseline {
            write_baseline(families, labels, baseline, boot);
        }
    }
}

fn is_probed(engine: &EngineStatus) -> bool {
    engine.sharing.probe != ProbeState::Off
}

/// The probe's sums. An engine is at least one client: so many series are there from the start, at 0.
fn write_probed(families: &mut Families, group: &GroupStatus, probed: usize) {
    let (name, overlap) = (group.name.as_str(), &group.overlap);
    families.number(&metric::PROBE_SAMPLED, &[name], overlap.sampled.as_secs_f64());
    for clients in 0..overlap.by_clients.len().max(probed + 1) {
        let time = overlap.by_clients.get(clients).copied().unwrap_or_default();
        families.number(&metric::KERNEL_CONCURRENCY, &[name, &clients.to_string()], time.as_secs_f64());
    }
    for engine in &group.engines {
        let labels = &[name, engine.name.as_str()];
        // Those that are off too: what they run is in no sum.
        let states = ProbeState::ALL.iter().map(|state| state.as_str());
        families.states(&metric::PROBE_STATE, labels, states, Some(engine.sharing.probe.as_str()));
        let busy = is_probed(engine).then_some(engine.sharing.kernel_busy.as_secs_f64());
        write_known(families, &metric::KERNEL_BUSY, labels, busy);
    }
}

fn write_baseline(families: &mut Families, labels: &[&str; 2], baseline: &Baseline, boot: f64) {
    let taken = match baseline.taken {
        Taken::At(moment) => Some(boot + moment.as_secs_f64()),
        // Somebody's word, of no known time.
        Taken::Unix(0) => None,
        Taken::Unix(seconds) => Some(seconds as f64),
    };
    write_known(families, &metric::BASELINE_TIME, labels, taken);
    families.number(&metric::BASELINE_SAMPLES, labels, f64::from(baseline.samples));
    families.number(&metric::BASELINE_INFO, &[labels[0], labels[1], baseline.source.as_str()], 1.0);
}

fn write_advice(families: &mut Families, group: &GroupStatus, engine: Option<&EngineName>, reason: AdviceReason) {
    let is_given =
        group.overlap.advice.iter().any(|advice| advice.reason == reason && advice.engine.as_ref() == engine);
    let labels = &[group.name.as_str(), engine.map_or("", |engine| engine.as_str()), reason.as_str()];
    families.number(&metric::SHARING_ADVICE, labels, flag(is_given));
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::time::Duration;

    use super::super::families;
    use super::*;
    use crate::export::testing;
    use crate::model::{Advice, BaselineSource, EngineSharing, Moment, OverlapStatus};

    const BOOT: f64 = 1_000_000_000.0;

    fn probed(name: &str, probe: ProbeState) -> EngineStatus {
        let sharing = EngineSharing { probe, kernel_busy: Duration::from_millis(250), ..EngineSharing::default() };
        EngineStatus { sharing, ..testing::engine(name) }
    }

    fn measured(name: &str, samples: u32, source: BaselineSource, taken: Taken) -> EngineStatus {
        let baseline = Baseline {
            engine: name.into(),
            running: 8.0,
            prompt_tokens: 512.0,
            generation_tokens: 128.0,
            tokens_per_second: 2600.0,
            samples,
            source,
            taken,
        };
        let sharing =
            EngineSharing { slowdown: Some(1.5), baseline: Some(baseline), baselines: 2, ..Default::default() };
        EngineStatus { sharing, ..testing::engine(name) }
    }

    fn group(engines: Vec<EngineStatus>, overlap: OverlapStatus) -> GroupStatus {
        GroupStatus { engines, overlap, ..testing::group("llms") }
    }

    /// The samples, without what the format says of them.
    fn samples(group: &GroupStatus) -> Vec<String> {
        let mut families = Families::of(metric::ALL);
        write(&mut families, group, BOOT);
        families::tests::samples(families)
    }

    #[test]
    fn a_group_without_probe_and_baseline_says_nothing_of_either() {
        let none: &[String] = &[];
        assert_eq!(samples(&group(vec![testing::engine("a"), testing::engine("b")], OverlapStatus::default())), none);
    }

    #[test]
    fn a_probes_sums_begin_at_0_for_as_many_clients_as_engines_are_probed() {
        let engines = vec![probed("a", ProbeState::Waiting), testing::engine("b")];
        let told = samples(&group(engines, OverlapStatus::default()));
        for series in [
            r#"mps_probe_sampled_seconds_total{group="llms"} 0"#,
            r#"mps_kernel_concurrency_seconds_total{group="llms",clients="0"} 0"#,
            r#"mps_kernel_concurrency_seconds_total{group="llms",clients="1"} 0"#,
            r#"mps_engine_probe_state{group="llms",engine="a",state="waiting"} 1"#,
            r#"mps_engine_probe_state{group="llms",engine="b",state="off"} 1"#,
        ] {
            assert!(told.iter().any(|line| line == series), "{series} is not in {told:#?}");
        }
        assert!(!told.iter().any(|line| line.contains(r#"clients="2""#)), "{told:#?}");
        assert!(!told.iter().any(|line| line.starts_with("mps_engine_kernel_busy") && line.contains("\"b\"")));
    }

    #[test]
    fn an_engine_of_several_clients_makes_more_series() {
        let by_clients = [400, 300, 200, 100].map(Duration::from_millis).to_vec();
        let overlap = OverlapStatus { sampled: Duration::from_secs(1), by_clients, ..OverlapStatus::default() };
        let told = samples(&group(vec![probed("a", ProbeState::Working)], overlap));
        assert!(told.contains(&r#"mps_kernel_concurrency_seconds_total{group="llms",clients="3"} 0.1"#.to_owned()));
        assert!(told.contains(&r#"mps_engine_kernel_busy_seconds_total{group="llms",engine="a"} 0.25"#.to_owned()));
    }

    #[test]
    fn a_baseline_has_its_age_and_samples_whoever_took_it() {
        let here = measured("a", 12, BaselineSource::Learnt, Taken::At(Moment::from_nanos(5_000_000_000)));
        let elsewhere = measured("b", 0, BaselineSource::Configured, Taken::Unix(1_795_000_000));
        let told = samples(&group(vec![here, elsewhere], OverlapStatus::default()));
        for series in [
            r#"mps_baseline_timestamp_seconds{group="llms",engine="a"} 1000000005"#,
            r#"mps_baseline_timestamp_seconds{group="llms",engine="b"} 1795000000"#,
            r#"mps_baseline_samples{group="llms",engine="a"} 12"#,
            r#"mps_baseline_info{group="llms",engine="b",source="configured"} 1"#,
            r#"mps_engine_slowdown_factor{group="llms",engine="a"} 1.5"#,
            r#"mps_sharing_advice_active{group="llms",engine="",reason="low_gain"} 0"#,
            r#"mps_sharing_advice_active{group="llms",engine="a",reason="slowdown"} 0"#,
        ] {
            assert!(told.iter().any(|line| line == series), "{series} is not in {told:#?}");
        }
    }

    #[test]
    fn advice_is_told_of_the_group_or_of_its_engine() {
        let engines = ["a", "b"].map(|name| measured(name, 3, BaselineSource::Study, Taken::Unix(1))).to_vec();
        let of = |reason, engine: Option<&str>| Advice {
            reason,
            engine: engine.map(Into::into),
            since: Moment::ZERO,
            value: 1.02,
        };
        let advice = vec![of(AdviceReason::LowGain, None), of(AdviceReason::Slowdown, Some("b"))];
        let told = samples(&group(engines, OverlapStatus { gain: Some(1.02), advice, ..OverlapStatus::default() }));
        let given: Vec<&String> = told.iter().filter(|line| line.starts_with("mps_sharing_advice_active")).collect();
        assert_eq!(
            given,
            [
                r#"mps_sharing_advice_active{group="llms",engine="",reason="low_gain"} 1"#,
                r#"mps_sharing_advice_active{group="llms",engine="a",reason="slowdown"} 0"#,
                r#"mps_sharing_advice_active{group="llms",engine="b",reason="slowdown"} 1"#,
            ]
        );
        assert!(told.contains(&r#"mps_throughput_gain{group="llms"} 1.02"#.to_owned()));
    }
}
