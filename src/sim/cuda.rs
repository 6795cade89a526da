//! CUDA's errors, with the names and texts that the runtime has for them. Decides nothing.

/// A CUDA error by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CudaError(pub u32);

impl CudaError {
    /// `cudaErrorMemoryAllocation`: the caller's alone.
    pub(crate) const OUT_OF_MEMORY: CudaError = CudaError(2);
    /// `cudaErrorDevicesUnavailable`: the server takes no more clients.
    pub(crate) const DEVICES_UNAVAILABLE: CudaError = CudaError(46);
    /// `cudaErrorNoDevice`: CUDA_VISIBLE_DEVICES names no GPU that is there.
    pub(crate) const NO_DEVICE: CudaError = CudaError(100);
    /// CUDA's `cudaErrorIllegalAddress`.
    pub(crate) const ILLEGAL_ADDRESS: CudaError = CudaError(700);
    /// `cudaErrorLaunchFailure`: a trap.
    pub(crate) const LAUNCH_FAILURE: CudaError = CudaError(719);
    /// `cudaErrorMpsRpcFailure`: the server is gone.
    pub(crate) const MPS_RPC_FAILURE: CudaError = CudaError(806);
    /// `cudaErrorMpsServerNotReady`: the server handles a fault.
    pub(crate) const MPS_SERVER_NOT_READY: CudaError = CudaError(807);
    /// CUDA's `cudaErrorMpsClientTerminated`.
    pub(crate) const MPS_CLIENT_TERMINATED: CudaError = CudaError(810);
    /// `cudaErrorUnknown`: the GPU is gone.
    pub(crate) const UNKNOWN: CudaError = CudaError(999);

    /// Name of the error by `cudaGetErrorName`.
    pub(crate) fn name(self) -> &'static str {
        self.words().0
    }

    /// Text of the error by `cudaGetErrorString`.
    pub(crate) fn text(self) -> &'static str {
        self.words().1
    }

    fn words(self) -> (&'static str, &'static str) {
        match self.0 {
            2 => ("cudaErrorMemoryAllocation", "out of memory"),
            46 => ("cudaErrorDevicesUnavailable", "CUDA-capable device(s) is/are busy or unavailable"),
            100 => ("cudaErrorNoDevice", "no CUDA-capable device is detected"),
            700 => ("cudaErrorIllegalAddress", "an illegal memory access was encountered"),
            719 => ("cudaErrorLaunchFailure", "unspecified launch failure"),
            806 => (
                "cudaErrorMpsRpcFailure",
                "the remote procedural call between the MPS server and the MPS client failed",
            ),
            807 => ("cudaErrorMpsServerNotReady", "MPS server is not ready to accept new MPS client requests"),
            810 => ("cudaErrorMpsClientTerminated", "the MPS client has been terminated by the server"),
            _ => ("cudaErrorUnknown", "unknown error"),
        }
    }
}
