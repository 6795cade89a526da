//! The kernel probe: a library of its own, loaded by an engine's CUDA, that records kernels in windows
//! and tells their times over a unix socket. The watchdog embeds it and shares its wire format; nothing else.

pub mod wire;

/// The library, as engines load it.
pub const LIBRARY: &[u8] = &[];
