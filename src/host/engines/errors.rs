//! CUDA's errors and their spellings. Pure; it does not say who caused one, nor whether the words are an error or
//! only repeat one.

use std::sync::LazyLock;

use super::dialect::all;
use super::pattern::{Caught, Pattern, near_end};

/// One CUDA error: its code, its names in the two APIs, and texts that programs print for it.
struct CudaError {
    code: u32,
    /// Name after `cudaError`.
    runtime: &'static str,
    /// Name after `CUDA_ERROR_`.
    driver: &'static str,
    /// Text of `cudaGetErrorString`.
    text: &'static str,
}

const fn row(code: u32, runtime: &'static str, driver: &'static str, text: &'static str) -> CudaError {
    CudaError { code, runtime, driver, text }
}

/// The errors that say something about the device, a context or MPS. Codes as in driver_types.h.
const ERRORS: &[CudaError] = &[
    row(OUT_OF_MEMORY, "MemoryAllocation", "OUT_OF_MEMORY", "out of memory"),
    row(46, "DevicesUnavailable", "DEVICE_UNAVAILABLE", "CUDA-capable device(s) is/are busy or unavailable"),
    // As older releases have it.
    row(46, "DevicesUnavailable", "DEVICE_UNAVAILABLE", "all CUDA-capable devices are busy or unavailable"),
    row(214, "ECCUncorrectable", "ECC_UNCORRECTABLE", "uncorrectable ECC error encountered"),
    row(220, "NvlinkUncorrectable", "NVLINK_UNCORRECTABLE", "uncorrectable NVLink error detected"),
    row(700, "IllegalAddress", "ILLEGAL_ADDRESS", "an illegal memory access was encountered"),
    row(702, "LaunchTimeout", "LAUNCH_TIMEOUT", "the launch timed out and was terminated"),
    row(710, "Assert", "ASSERT", "device-side assert triggered"),
    row(714, "HardwareStackError", "HARDWARE_STACK_ERROR", "hardware stack error"),
    row(715, "IllegalInstruction", "ILLEGAL_INSTRUCTION", "an illegal instruction was encountered"),
    row(716, "MisalignedAddress", "MISALIGNED_ADDRESS", "misaligned address"),
    row(717, "InvalidAddressSpace", "INVALID_ADDRESS_SPACE", "operation not supported on global/shared address space"),
    row(718, "InvalidPc", "INVALID_PC", "invalid program counter"),
    row(719, "LaunchFailure", "LAUNCH_FAILED", "unspecified launch failure"),
    row(
        805,
        "MpsConnectionFailed",
        "MPS_CONNECTION_FAILED",
        "MPS client failed to connect to the MPS control daemon or the MPS server",
    ),
    row(
        806,
        "MpsRpcFailure",
        "MPS_RPC_FAILURE",
        "the remote procedural call between the MPS server and the MPS client failed",
    ),
    row(807, "MpsServerNotReady", "MPS_SERVER_NOT_READY", "MPS server is not ready to accept new MPS client requests"),
    row(
        808,
        "MpsMaxClientsReached",
        "MPS_MAX_CLIENTS_REACHED",
        "the hardware resources required to create MPS client have been exhausted",
    ),
    row(
        809,
        "MpsMaxConnectionsReached",
        "MPS_MAX_CONNECTIONS_REACHED",
        "the hardware resources required to support device connections have been exhausted",
    ),
    row(810, "MpsClientTerminated", "MPS_CLIENT_TERMINATED", "the MPS client has been terminated by the server"),
    row(811, "CdpNotSupported", "CDP_NOT_SUPPORTED", "the program is using CUDA Dynamic Parallelism"),
];

/// Device memory that ran out.
pub(super) const OUT_OF_MEMORY: u32 = 2;

/// Everyday words: errors of CUDA only where CUDA is named right before them.
const EVERYDAY: &[u32] = &[OUT_OF_MEMORY, 714, 716, 718];

/// What stands before a bare code. `code=2` alone is no CUDA error: programs exit with 2.
const CODE: &str =
    r"(?i:cuda(?: runtime| driver)? (?:error|failure)(?: code)?[:=]?[ =]?|CudaAPIError: )[(\[]?(\d{1,4})\b";

/// Every spelling of every error.
static SPELLED: LazyLock<Pattern> = LazyLock::new(|| {
    let texts: Vec<String> = ERRORS.iter().map(|error| regex::escape(error.text)).collect();
    let memory = all(|dialect| dialect.out_of_memory).join("|");
    Pattern::new(&format!(
        r"cudaError([A-Za-z0-9_]+)|CUDA_ERROR_([A-Z0-9_]+)|({memory})|({})|{CODE}|\bcode=[(]?(\d{{1,4}})\b",
        texts.join("|")
    ))
});

/// CUDA's own words between its name and the error's text: `CUDA error (a.cu:12): `, `Cuda failure 2 '`,
/// `cudaMalloc failed: `, `Triton Error [CUDA]: `. Within one sentence.
static LEAD: LazyLock<Pattern> = LazyLock::new(|| {
    Pattern::new(concat!(
        r"^(?:(?i:cuda)(?: [\w()]+){0,3}?[ _-](?i:error|fail|runtime|exception)(?:[^.]|\.\S)*?",
        r"|Triton Error \[CUDA\]",
        r"|cu[A-Za-z]\w*(?:\(.*\))?(?: \w+){0,4})",
        r#"[\s:('"=-]*$"#
    ))
});

/// Where such words may begin.
static LEADS_BEGIN: LazyLock<Pattern> = LazyLock::new(|| Pattern::new(r"(?i:\bcu[a-z])|Triton Error"));

/// Longest distance of a lead from its error's text.
const LONGEST_LEAD: usize = 320;

/// Error words in a text.
pub(super) struct FoundError {
    /// The error's code.
    pub code: u32,
    /// Where the words may begin: the error stands where an exception does if one of them does.
    pub begins: Vec<usize>,
}

/// Whether there are error words in `text` at all. Costs one pass.
pub(super) fn any_in(text: &str) -> bool {
    SPELLED.is_match(text)
}

/// All error words in `text`, as they come.
pub(super) fn errors_in(text: &str) -> impl Iterator<Item = FoundError> {
    SPELLED.capture_all(text).filter_map(move |caught| found(text, &caught))
}

fn found(text: &str, caught: &Caught) -> Option<FoundError> {
    let start = caught.range().start;
    let group = |index| caught.group(index);
    if let Some(name) = group(1) {
        return named(text, start, ERRORS.iter().find(|error| error.runtime == name)?);
    }
    if let Some(name) = group(2) {
        return named(text, start, ERRORS.iter().find(|error| error.driver == name)?);
    }
    if let Some(words) = group(3) {
        // A library's status may have CUDA's words before it; all others say themselves whose memory it is.
        let begins = if words.contains("ALLOC") { leads_or(text, start) } else { vec![start] };
        return Some(FoundError { code: OUT_OF_MEMORY, begins });
    }
    if let Some(words) = group(4) {
        return spoken(text, start, ERRORS.iter().find(|error| error.text == words)?);
    }
    let code = |index| group(index)?.parse().ok().filter(|code| ERRORS.iter().any(|error| error.code == *code));
    // The program's own code, with CUDA named somewhere.
    let bare = || code(6).filter(|code| *code > OUT_OF_MEMORY && mentions_cuda(text));
    match code(5) {
        Some(code) => Some(FoundError { code, begins: vec![start] }),
        None => Some(FoundError { code: bare()?, begins: leads_or(text, start) }),
    }
}

fn named(text: &str, start: usize, error: &CudaError) -> Option<FoundError> {
    Some(FoundError { code: error.code, begins: leads_or(text, start) })
}

fn spoken(text: &str, start: usize, error: &CudaError) -> Option<FoundError> {
    let begins = leads_or(text, start);
    let bare = begins == [start];
    (!bare || !EVERYDAY.contains(&error.code) && mentions_cuda(text)).then_some(FoundError { code: error.code, begins })
}

/// Where CUDA's own words before `start` begin, or `start` where there are none.
fn leads_or(text: &str, start: usize) -> Vec<usize> {
    let leads = leads(text, start);
    if leads.is_empty() { vec![start] } else { leads }
}

/// Where CUDA's own words before `end` begin, the nearest last.
fn leads(text: &str, end: usize) -> Vec<usize> {
    let (from, near) = near_end(&text[..end], LONGEST_LEAD);
    let begins = LEADS_BEGIN.find_all(near).map(|found| found.start);
    begins.filter(|at| LEAD.is_match(&near[*at..])).map(|at| from + at).collect()
}

fn mentions_cuda(text: &str) -> bool {
    text.as_bytes().windows(3).any(|three| three.eq_ignore_ascii_case(b"cud") || three == b"MPS")
}

#[cfg(test)]
pub(super) fn compiles() -> bool {
    [&SPELLED, &LEAD, &LEADS_BEGIN].iter().all(|pattern| pattern.compiles())
}
