//! Amounts as people read them: bytes, counts, ratios.

const GIB: f64 = (1u64 << 30) as f64;

/// `1.5 GiB`, `40.0 GiB`; less than one in MiB: `512 MiB`.
pub fn bytes(amount: u64) -> String {
    match amount {
        0 => "0".to_owned(),
        1..0x4000_0000 => format!("{} MiB", amount >> 20),
        _ => format!("{:.1} GiB", amount as f64 / GIB),
    }
}

/// `20.0/60.0 GiB`.
pub fn bytes_of(amount: u64, limit: u64) -> String {
    format!("{:.1}/{:.1} GiB", amount as f64 / GIB, limit as f64 / GIB)
}

/// A ratio: `1.62`; `?` for what is no number.
pub fn factor(number: f64) -> String {
    if number.is_finite() { format!("{number:.2}") } else { "?".to_owned() }
}

/// `3 engines`, `1 engine`.
pub fn plural(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_the_unit_that_people_use() {
        assert_eq!([0, 5 << 20, 3 << 29, 40 << 30].map(bytes), ["0", "5 MiB", "1.5 GiB", "40.0 GiB"]);
        assert_eq!(bytes_of(20 << 30, 60 << 30), "20.0/60.0 GiB");
        assert_eq!([1.618, f64::INFINITY].map(factor), ["1.62", "?"]);
        assert_eq!([0, 1, 2].map(|count| plural(count, "run")), ["0 runs", "1 run", "2 runs"]);
    }
}
