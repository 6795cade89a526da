//! The simulated GPU, NVML library, MPS control daemon and engines behind `demo` and the tests.

/// Plays a simulated program, if the arguments ask for one.
pub fn dispatch(_argv: &[std::ffi::OsString]) -> Option<std::process::ExitCode> {
    None
}
