//! Finds CUDA's errors in a line of an engine's output. Pure; it does not say who caused one.

/// One CUDA error: its code, its names in the two APIs, and texts that programs print for it.
struct CudaError {
    code: u32,
    /// After `cudaError`.
    runtime: &'static str,
    /// After `CUDA_ERROR_`.
    driver: &'static str,
    /// `cudaGetErrorString`; with what stands before it where the words alone are everyday ones.
    texts: &'static [&'static str],
}

const fn row(code: u32, runtime: &'static str, driver: &'static str, texts: &'static [&'static str]) -> CudaError {
    CudaError { code, runtime, driver, texts }
}

/// The errors that say something about the device, a context or MPS. Codes as in driver_types.h.
const ERRORS: &[CudaError] = &[
    row(2, "MemoryAllocation", "OUT_OF_MEMORY", &["CUDA out of memory", "CUDA error: out of memory"]),
    row(46, "DevicesUnavailable", "DEVICE_UNAVAILABLE", &["CUDA-capable device(s) is/are busy or unavailable"]),
    row(214, "ECCUncorrectable", "ECC_UNCORRECTABLE", &["uncorrectable ECC error encountered"]),
    row(220, "NvlinkUncorrectable", "NVLINK_UNCORRECTABLE", &["uncorrectable NVLink error detected"]),
    row(700, "IllegalAddress", "ILLEGAL_ADDRESS", &["an illegal memory access was encountered"]),
    row(702, "LaunchTimeout", "LAUNCH_TIMEOUT", &["the launch timed out and was terminated"]),
    row(710, "Assert", "ASSERT", &["device-side assert triggered"]),
    row(714, "HardwareStackError", "HARDWARE_STACK_ERROR", &["CUDA error: hardware stack error"]),
    row(715, "IllegalInstruction", "ILLEGAL_INSTRUCTION", &["an illegal instruction was encountered"]),
    row(716, "MisalignedAddress", "MISALIGNED_ADDRESS", &["CUDA error: misaligned address"]),
    row(
        717,
        "InvalidAddressSpace",
        "INVALID_ADDRESS_SPACE",
        &["operation not supported on global/shared address space"],
    ),
    row(718, "InvalidPc", "INVALID_PC", &["CUDA error: invalid program counter"]),
    row(719, "LaunchFailure", "LAUNCH_FAILED", &["unspecified launch failure"]),
    row(
        805,
        "MpsConnectionFailed",
        "MPS_CONNECTION_FAILED",
        &["MPS client failed to connect to the MPS control daemon or the MPS server"],
    ),
    row(
        806,
        "MpsRpcFailure",
        "MPS_RPC_FAILURE",
        &["the remote procedural call between the MPS server and the MPS client failed"],
    ),
    row(
        807,
        "MpsServerNotReady",
        "MPS_SERVER_NOT_READY",
        &["MPS server is not ready to accept new MPS client requests"],
    ),
    row(
        808,
        "MpsMaxClientsReached",
        "MPS_MAX_CLIENTS_REACHED",
        &["the hardware resources required to create MPS client have been exhausted"],
    ),
    row(
        809,
        "MpsMaxConnectionsReached",
        "MPS_MAX_CONNECTIONS_REACHED",
        &["the hardware resources required to support device connections have been exhausted"],
    ),
    row(810, "MpsClientTerminated", "MPS_CLIENT_TERMINATED", &["the MPS client has been terminated by the server"]),
    row(811, "CdpNotSupported", "CDP_NOT_SUPPORTED", &["the program is using CUDA Dynamic Parallelism"]),
];

/// What stands before a bare code. `code=2` alone is no CUDA error: programs exit with 2.
const CODE_LEADS: &[&str] =
    &["code=", "CUDA error ", "CUDA error: ", "CUDA error code ", "Cuda failure ", "cuda runtime error "];

/// The code of the CUDA error that `line` reports, 700 for an illegal address; `None`: it reports
/// none that matters here. Lines without "cuda" or "MPS" cost one pass.
pub fn error_in(line: &str) -> Option<u32> {
    if !mentions_cuda(line.as_bytes()) {
        return None;
    }
    by_name(line).or_else(|| by_text(line)).or_else(|| by_code(line))
}

fn mentions_cuda(line: &[u8]) -> bool {
    line.windows(3).any(|three| three.eq_ignore_ascii_case(b"cud") || three == b"MPS")
}

fn by_name(line: &str) -> Option<u32> {
    let runtime = names_after(line, "cudaError").find_map(|name| ERRORS.iter().find(|error| error.runtime == name));
    let driver = || names_after(line, "CUDA_ERROR_").find_map(|name| ERRORS.iter().find(|error| error.driver == name));
    runtime.or_else(driver).map(|error| error.code)
}

/// The rest of each identifier that begins with `lead`.
fn names_after<'a>(line: &'a str, lead: &'a str) -> impl Iterator<Item = &'a str> {
    line.match_indices(lead).map(move |(at, _)| {
        let rest = &line[at + lead.len()..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        &rest[..end]
    })
}

fn by_text(line: &str) -> Option<u32> {
    ERRORS.iter().find(|error| error.texts.iter().any(|text| line.contains(text))).map(|error| error.code)
}

fn by_code(line: &str) -> Option<u32> {
    CODE_LEADS.iter().find_map(|lead| {
        line.match_indices(lead).find_map(|(at, _)| {
            let code = number(&line[at + lead.len()..])?;
            let known = ERRORS.iter().any(|error| error.code == code);
            (known && (code > 2 || *lead != "code=")).then_some(code)
        })
    })
}

/// The number at the start, in parentheses or not.
fn number(text: &str) -> Option<u32> {
    let text = text.strip_prefix('(').unwrap_or(text);
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_error_that_a_recorded_client_printed_is_found() {
        let recordings = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/recordings");
        let mut printed = 0;
        for scenario in std::fs::read_dir(recordings).unwrap() {
            let Ok(story) = std::fs::read_to_string(scenario.unwrap().path().join("story.txt")) else { continue };
            for line in story.lines().filter(|line| line.contains("code=")) {
                let code = line.split("code=").nth(1).unwrap().split(' ').next().unwrap();
                assert_eq!(error_in(line), code.parse().ok(), "{line}");
                printed += 1;
            }
        }
        assert!(printed >= 19, "{printed}");
    }

    #[test]
    fn errors_are_found_as_engines_print_them() {
        for (line, code) in [
            ("torch.AcceleratorError: CUDA error: an illegal memory access was encountered", 700),
            ("(EngineCore_0 pid=12) ERROR RuntimeError: Triton Error [CUDA]: device-side assert triggered", 710),
            ("RuntimeError: CUDA error: unspecified launch failure", 719),
            ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total", 2),
            ("CUDA error: out of memory", 2),
            ("NCCL WARN Cuda failure 700 'an illegal memory access was encountered'", 700),
            ("CUDA error at a.cu:12 code=719(cudaErrorLaunchFailure) \"cudaDeviceSynchronize()\"", 719),
            ("cuda runtime error (710) : device-side assert triggered at x.cu:1", 710),
            ("cuCtxSynchronize: CUDA_ERROR_ILLEGAL_ADDRESS", 700),
            ("RuntimeError: CUDA error: the MPS client has been terminated by the server", 810),
            ("MPS client failed to connect to the MPS control daemon or the MPS server", 805),
            ("cudaErrorMpsMaxClientsReached", 808),
        ] {
            assert_eq!(error_in(line), Some(code), "{line}");
        }
    }

    #[test]
    fn harmless_lines_raise_no_alarm() {
        for line in [
            "",
            "INFO Capturing CUDA graphs (decode, FULL): 100%|##########| 35/35",
            "INFO torch 2.9.0, cuda 13.0, driver 580.159.04",
            "If out-of-memory error occurs during cudagraph capture, consider decreasing gpu_memory_utilization",
            "    except torch.cuda.OutOfMemoryError:",
            "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.",
            "CUDA kernel errors might be asynchronously reported at some other API call",
            "For debugging consider passing CUDA_LAUNCH_BLOCKING=1",
            "ERROR cuda worker exited with code=2",
            "worker exited with code=700",
            "cudaErrorIllegalAddressSpaceOfSomeLaterRelease",
            "an illegal memory access was encountered in the CPU path",
            "INFO CUDA error handling enabled",
            "200 OK",
        ] {
            assert_eq!(error_in(line), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in ".*", lead in prop::sample::select(CODE_LEADS), tail in "\\PC*") {
            error_in(&line);
            error_in(&format!("cuda {lead}{tail}"));
            error_in(&format!("cudaError{tail} CUDA_ERROR_{line}"));
        }
    }
}
