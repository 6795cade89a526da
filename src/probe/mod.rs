//! The kernel probe: a library of its own (`lib/`), loaded by an engine's CUDA, that records kernels in windows
//! and tells their times over a unix socket. The watchdog embeds it and shares its wire format; nothing else.

#[cfg(test)]
#[path = "lib/cover.rs"]
mod cover;
pub mod wire;

/// The library, as it is unpacked for engines: `libmpswarden_probe.so`.
pub const LIBRARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/libmpswarden_probe.so"));
