//! A chart's scale: where a value is, and which values get a line. Takes any finite number.

/// Lines of a linear axis, about.
const LINES: f64 = 4.0;
/// Decades of a logarithmic axis below which 2 and 5 get lines too.
const FEW_DECADES: i32 = 2;
/// More decades than these are not told apart.
const MOST_DECADES: i32 = 9;

/// A scale with its lines.
pub struct Axis {
    from: f64,
    to: f64,
    log: bool,
    /// Values with a line.
    pub ticks: Vec<f64>,
    /// A value on the axis, for people.
    pub told: fn(f64) -> String,
}

impl Axis {
    /// From 0 to a round number over all of `values`.
    pub fn linear(values: impl Iterator<Item = f64>, told: fn(f64) -> String) -> Axis {
        let most = values.filter(|value| value.is_finite()).fold(0.0, f64::max);
        let most = if most > 0.0 { most } else { 1.0 };
        let step = round(most / LINES);
        let count = (most / step).ceil().clamp(1.0, 4.0 * LINES);
        let ticks = (0..=count as u32).map(|at| f64::from(at) * step).collect();
        Axis { from: 0.0, to: count * step, log: false, ticks, told }
    }

    /// Whole decades around all of `values` that are over 0.
    pub fn log(values: impl Iterator<Item = f64>, told: fn(f64) -> String) -> Axis {
        let exponents = values.filter(|value| value.is_finite() && *value > 0.0).map(f64::log10);
        let (low, high) = exponents.fold((f64::MAX, f64::MIN), |(low, high), one| (low.min(one), high.max(one)));
        let (low, high) = if low <= high { (low.floor() as i32, high.ceil() as i32) } else { (0, 1) };
        let high = high.max(low + 1);
        let low = low.max(high - MOST_DECADES);
        let parts: &[f64] = if high - low <= FEW_DECADES { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let of = |exponent: i32| parts.iter().map(move |part| part * 10_f64.powi(exponent));
        let ticks = (low..high).flat_map(of).chain([10_f64.powi(high)]).collect();
        Axis { from: f64::from(low), to: f64::from(high), log: true, ticks, told }
    }

    /// Where a value is: 0 at the bottom, 1 at the top.
    pub fn at(&self, value: f64) -> f64 {
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
    fn a_logarithmic_axis_has_whole_decades_and_their_halves_where_there_is_room() {
        let log = |values: &[f64]| Axis::log(values.iter().copied(), |value| value.to_string());
        assert_eq!(log(&[0.02, 0.5]).ticks.len(), 7);
        assert_eq!(log(&[0.002, 0.5, 20.0]).ticks.len(), 6);
        assert_eq!((log(&[]).at(1.0), log(&[1.0, 10.0]).at(0.0), log(&[0.0, f64::NAN]).at(10.0)), (0.0, 0.0, 1.0));
        assert!(log(&[1e-300, 1e300]).ticks.len() <= 10);
    }
}
