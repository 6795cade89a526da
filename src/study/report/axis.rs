//! A chart's scale: where a value is, and which values get a line. Takes any finite number.

/// Lines of a linear axis, about.
const LINES: f64 = 4.0;
/// Decades of a logarithmic axis below which 2 and 5 get lines too.
const FEW_DECADES: f64 = 2.0;
/// Number of decades above which they are not told apart.
const MOST_DECADES: f64 = 9.0;
/// What rounding may take from a value.
const HAIR: f64 = 1e-9;

/// A scale with its lines.
pub(super) struct Axis {
    from: f64,
    to: f64,
    log: bool,
    /// Values with a line.
    pub ticks: Vec<f64>,
    /// A value on the axis, for people.
    pub told: fn(f64) -> String,
}

impl Axis {
    /// An axis from 0 to a round number over all of `values`.
    pub(super) fn linear(values: impl Iterator<Item = f64>, told: fn(f64) -> String) -> Axis {
        let most = values.filter(|value| value.is_finite()).fold(0.0, f64::max);
        let most = if most > 0.0 { most } else { 1.0 };
        let step = round(most / LINES);
        let count = (most / step).ceil().clamp(1.0, 4.0 * LINES);
        let ticks = (0..=count as u32).map(|at| f64::from(at) * step).collect();
        Axis { from: 0.0, to: count * step, log: false, ticks, told }
    }

    /// Around all of `values` that are over 0, from 1, 2 or 5 times a power of ten to another.
    pub(super) fn log(values: impl Iterator<Item = f64>, told: fn(f64) -> String) -> Axis {
        let exponents = values.filter(|value| value.is_finite() && *value > 0.0).map(f64::log10);
        let (low, high) = exponents.fold((f64::MAX, f64::MIN), |(low, high), one| (low.min(one), high.max(one)));
        let (low, high) = if low <= high { (low.max(high - MOST_DECADES), high) } else { (0.0, 1.0) };
        let steps = (low.floor() as i32 - 1..=high.ceil() as i32 + 1).flat_map(|at| [1, 2, 5].map(|part| (part, at)));
        let steps: Vec<(i32, f64)> = steps.map(|(part, at)| (part, f64::from(part).log10() + f64::from(at))).collect();
        let from = steps.iter().rev().map(|step| step.1).find(|at| *at <= low + HAIR).unwrap_or(low);
        let to = steps.iter().map(|step| step.1).find(|at| *at >= high - HAIR && *at > from).unwrap_or(high);
        let shown = |(part, at): &(i32, f64)| (from..=to).contains(at) && (*part == 1 || to - from <= FEW_DECADES);
        let ticks = steps.iter().filter(|step| shown(step)).map(|step| 10_f64.powf(step.1)).collect();
        Axis { from, to, log: true, ticks, told }
    }

    /// Where a value is: 0 at the bottom, 1 at the top.
    pub(super) fn at(&self, value: f64) -> f64 {
        let value = if self.log { value.max(f64::MIN_POSITIVE).log10() } else { value };
        ((value - self.from) / (self.to - self.from)).clamp(0.0, 1.0)
    }
}

/// 1, 2, 2.5 or 5 times a power of ten, at least `step`.
fn round(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    let parts = [1.0, 2.0, 2.5, 5.0];
    let round = parts.into_iter().map(|part| part * power).find(|round| *round >= step * 0.999);
    let round = round.unwrap_or(10.0 * power);
    if round.is_finite() && round > 0.0 { round } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::figures::short_time;

    fn linear(most: f64) -> Vec<f64> {
        Axis::linear([most].into_iter(), |value| value.to_string()).ticks
    }

    #[test]
    fn a_linear_axis_has_round_lines_over_all_values() {
        assert_eq!(linear(1.85), [0.0, 0.5, 1.0, 1.5, 2.0]);
        assert_eq!(linear(31.0), [0.0, 10.0, 20.0, 30.0, 40.0]);
        assert_eq!(linear(0.0), linear(f64::NAN));
        assert!([1e-300, 1e300].iter().all(|most| linear(*most).iter().all(|tick| tick.is_finite())));
    }

    #[test]
    fn a_logarithmic_axis_is_as_long_as_its_values_and_has_lines_at_2_and_5_where_there_is_room() {
        let log = |values: &[f64]| Axis::log(values.iter().copied(), short_time);
        let lines = |values: &[f64]| log(values).ticks.iter().map(|tick| short_time(*tick)).collect::<Vec<_>>();
        assert_eq!(lines(&[0.003, 0.04]), ["2 ms", "5 ms", "10 ms", "20 ms", "50 ms"]);
        assert_eq!(lines(&[0.003, 20.0]), ["10 ms", "100 ms", "1 s", "10 s"]);
        assert_eq!(lines(&[0.01, 0.01]), ["10 ms", "20 ms"]);
        assert_eq!((log(&[]).at(1.0), log(&[1.0, 10.0]).at(0.0), log(&[0.0, f64::NAN]).at(10.0)), (0.0, 0.0, 1.0));
        assert!((1..=10).contains(&log(&[1e-300, 1e300]).ticks.len()));
    }
}
