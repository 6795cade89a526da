//! What an engine's output seems to say. A word, never a fact: any user that may send a prompt can have an engine print
//! it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::words::words;

/// One thing that a line of output was recognized as. The line itself is not kept: users' text may stand in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Saying {
    /// A CUDA error, by its code: 700 for an illegal address, 2 for device memory that ran out, however it is spelled.
    Error(u32),
    /// Everything that the engine holds on the GPU is allocated: its weights and its KV cache.
    Allocated,
    /// It wants numbers in CUDA_VISIBLE_DEVICES and found a UUID.
    WantsGpuByIndex,
}

/// Where a line stands in the file that an engine's output goes to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinePlace {
    /// The file's name, without its directory.
    pub file: String,
    /// The line's first byte, counted from the file's beginning at the time of reading; of a line of more than 64 KiB
    /// the first byte of the part in which it was.
    pub byte: u64,
}

impl fmt::Display for LinePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.file, self.byte)
    }
}

words!(
    /// How an error line of an engine ended that no fact confirmed.
    Doubt {
        /// The same client was seen listed and at work after it.
        Refuted = "refuted",
        /// Nothing that was seen within a minute decided it.
        Undecided = "undecided",
    }
);

/// CUDA's name for an error code, as `cudaGetErrorName` has it; `None`: it is none that matters here.
pub fn cuda_name(code: u32) -> Option<&'static str> {
    Some(match code {
        2 => "cudaErrorMemoryAllocation",
        46 => "cudaErrorDevicesUnavailable",
        214 => "cudaErrorECCUncorrectable",
        220 => "cudaErrorNvlinkUncorrectable",
        700 => "cudaErrorIllegalAddress",
        702 => "cudaErrorLaunchTimeout",
        710 => "cudaErrorAssert",
        714 => "cudaErrorHardwareStackError",
        715 => "cudaErrorIllegalInstruction",
        716 => "cudaErrorMisalignedAddress",
        717 => "cudaErrorInvalidAddressSpace",
        718 => "cudaErrorInvalidPc",
        719 => "cudaErrorLaunchFailure",
        805 => "cudaErrorMpsConnectionFailed",
        806 => "cudaErrorMpsRpcFailure",
        807 => "cudaErrorMpsServerNotReady",
        808 => "cudaErrorMpsMaxClientsReached",
        809 => "cudaErrorMpsMaxConnectionsReached",
        810 => "cudaErrorMpsClientTerminated",
        811 => "cudaErrorCdpNotSupported",
        _ => return None,
    })
}

/// A CUDA error for people: `CUDA error 700 (cudaErrorIllegalAddress)`.
pub fn cuda_words(code: u32) -> String {
    cuda_name(code).map_or_else(|| format!("CUDA error {code}"), |name| format!("CUDA error {code} ({name})"))
}
