//! Amounts of memory in the core's sentences.

/// Bytes as people write them.
pub(crate) fn gib(bytes: u64) -> String {
    format!("{:.2} GiB", bytes as f64 / f64::from(1 << 30))
}
