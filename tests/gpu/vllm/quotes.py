"""What users quote of errors, and the ways in which it gets into an engine's log. None of it is evidence."""

# No line of the watchdog's may have it: what a user wrote is not kept.
MARK = "xylophone-8c1f"

QUOTED = [
    "CUDA error: an illegal memory access was encountered",
    "torch.AcceleratorError: CUDA error: an illegal memory access was encountered",
    "RuntimeError: CUDA error: an illegal memory access was encountered",
    "CUDA error 700: an illegal memory access was encountered",
    "CUDA error (code 700)",
    "CUDA error (/workspace/csrc/a.cu:88): an illegal memory access was encountered",
    "Search for `cudaErrorIllegalAddress' in https://docs.nvidia.com/cuda/cuda-runtime-api/ for more information.",
    "cuCtxSynchronize failed: CUDA_ERROR_ILLEGAL_ADDRESS",
    "cuda runtime error (77) : an illegal memory access was encountered at a.cu:12",
    "an illegal instruction was encountered",
    "CUDA error: misaligned address",
    "CUDA error: unspecified launch failure",
    "CUDA driver error: 719",
    "CUDA error at a.cu:12 code=719(cudaErrorLaunchFailure) \"cudaDeviceSynchronize()\"",
    "CUDA error: device-side assert triggered",
    "RuntimeError: Triton Error [CUDA]: device-side assert triggered",
    "CUDA error: the launch timed out and was terminated",
    "CUDA error: uncorrectable ECC error encountered",
    "CUDA error: hardware stack error",
    "CUDA error: invalid program counter",
    "CUDA error: unknown error",
    "CUDA error: no CUDA-capable device is detected",
    "CUDA error: CUDA-capable device(s) is/are busy or unavailable",
    "CUDA error: the remote procedural call between the MPS server and the MPS client failed",
    "CUDA error: MPS client failed to connect to the MPS control daemon or the MPS server",
    "cudaErrorMpsConnectionFailed",
    "cudaErrorMpsServerNotReady",
    "CUDA_ERROR_MPS_RPC_FAILURE",
    "CUDA error: the hardware resources required to create MPS client have been exhausted",
    "CUDA error: the hardware resources required to support device connections have been exhausted",
    "CUDA error: the MPS client has been terminated by the server",
    "CUDA error 806, 807, 808, 809 and 810",
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 139.8 GiB",
    "torch.cuda.OutOfMemoryError: CUDA out of memory.",
    "RuntimeError: CUDA error: out of memory",
    "RuntimeError: Triton Error [CUDA]: out of memory",
    "CUDA Error: out of memory at /workspace/csrc/cumem_allocator.cpp:62",
    "cudaMalloc failed: out of memory",
    "cudaErrorMemoryAllocation",
    "CUDA_ERROR_OUT_OF_MEMORY: out of memory",
    "jaxlib.xla_extension.XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying to allocate 33 GiB.",
    "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "CUBLAS_STATUS_EXECUTION_FAILED",
    "CUDNN_STATUS_EXECUTION_FAILED",
    "NCCL WARN Cuda failure 700 'an illegal memory access was encountered'",
    "NCCL error: unhandled cuda error (run with NCCL_DEBUG=INFO for details)",
    "ggml_cuda_compute_forward: CUDA error: an illegal memory access was encountered",
    "(EngineCore pid=714) ERROR 11-29 14:41:14 [core.py:1233] torch.AcceleratorError: CUDA error: out of memory",
    "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack trace above",
    "Scheduler hit an exception: CUDA error: an illegal memory access was encountered",
    "NVRM: Xid (PCI:0000:01:00): 79, pid=714, GPU has fallen off the bus.",
    "NVRM: Xid (PCI:0000:01:00): 31, pid=714, name=python3, MMU Fault: ENGINE GRAPHICS",
    "Out of memory: Killed process 714 (VLLM::EngineCor) total-vm:1kB, anon-rss:1kB",
    "[2026-11-29 14:41:14.000 Server 663] Device NVIDIA H200 encountered a fatal GPU error",
    "[2026-11-29 14:41:14.000 Server 663] Client {PID: 714, Context ID: 1} encountered a fatal GPU error",
    "CUDA fehler: ein ungueltiger Speicherzugriff (cudaErrorIllegalAddress, 700)",
]


def requests_about(text):
    """The ways of one quotation into a log: (path, body, headers). Those of level DEBUG, INFO and ERROR alike."""
    asks = f"{MARK}: my job says {text}, why?"
    lines = f"{MARK}\n{text}\nERROR {text}\n"
    talk = [{"role": "user", "content": lines}]
    short = {"model": "qwen05", "max_tokens": 4, "temperature": 0}
    return [
        ("/v1/completions", short | {"prompt": asks}, {}),
        ("/v1/completions", short | {"prompt": lines}, {}),
        ("/v1/completions", short | {"prompt": "why", "stop": [f"{MARK} {text}", text]}, {}),
        ("/v1/completions", short | {"prompt": "why"}, {"X-Request-Id": f"{MARK} {text}"}),
        ("/v1/chat/completions", short | {"messages": talk}, {}),
        ("/v1/chat/completions", short | {"messages": talk, "model": f"{MARK} {text}"}, {}),
        ("/v1/completions", short | {"prompt": asks, "max_tokens": text}, {}),
    ]
