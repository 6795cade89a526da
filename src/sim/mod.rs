//! The simulated GPU, NVML library, MPS control daemon and engines behind `demo` and the tests.
