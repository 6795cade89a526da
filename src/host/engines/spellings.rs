//! What engines and libraries were seen to print, for the tests: errors, and what stands before a message.

use crate::model::Saying;

/// Spellings of "out of device memory", as each library has it.
const OUT_OF_MEMORY: &[&str] = &[
    // PyTorch.
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.56 GiB",
    "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 166.00 MiB (GPU 0; 8.00 GiB total capacity)",
    "torch.OutOfMemoryError: Allocation on device 0 would exceed allowed memory. (out of memory)",
    "OutOfMemoryError: CUDA out of memory.",
    "RuntimeError: CUDA out of memory. Tried to allocate 20.00 MiB",
    "RuntimeError: CUDA error: out of memory",
    "torch.AcceleratorError: CUDA error: out of memory",
    "RuntimeError: CUDA driver error: out of memory",
    "CUDA error: out of memory",
    "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "RuntimeError: cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "RuntimeError: cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`",
    // Triton's language.
    "RuntimeError: Triton Error [CUDA]: out of memory",
    "triton.runtime.errors.OutOfResources: Triton Error [CUDA]: out of memory",
    // vLLM.
    "CUDA Error: out of memory at /workspace/csrc/cumem_allocator.cpp:62",
    "RuntimeError: CUDA Error: out of memory at /workspace/csrc/cumem_allocator.cpp:163",
    "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing",
    "ValueError: Free memory on device cuda:0 (2.6/121.63 GiB) on startup is less than desired GPU memory utilization (0.08, 9.73 GiB).",
    "ValueError: Free memory on device (3.27/15.98 GiB) on startup is less than desired GPU memory utilization (0.9, 14.39 GiB).",
    "MQEngineDeadError: Engine loop is not running. Inspect the stacktrace to find the original error: OutOfMemoryError('CUDA out of memory. Tried to allocate 128.00 MiB.",
    // SGLang.
    "RuntimeError: Not enough memory. Please try to increase --mem-fraction-static.",
    "Exception: Capture cuda graph failed: CUDA out of memory. Tried to allocate 1.50 GiB.",
    // ggml.
    "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 144817.04 MiB on device 0: cudaMalloc failed: out of memory",
    "cudaMalloc failed: out of memory",
    "ggml_gallocr_reserve_n: failed to allocate CUDA0 buffer of size 292926534144",
    "llama_model_load: error loading model: unable to allocate CUDA0 buffer",
    "/llama.cpp/ggml/src/ggml-cuda/ggml-cuda.cu:88: CUDA error: out of memory",
    "Error: llama runner process has terminated: CUDA error: out of memory",
    // TensorRT and TensorRT-LLM.
    "[TensorRT-LLM][ERROR] CUDA runtime error in ::cudaMallocAsync(ptr, n, mMemPool->getPool(), mCudaStream->get()): out of memory (/tllmBuffers.h:125)",
    "[TensorRT-LLM][ERROR] [TensorRT-LLM][ERROR] CUDA runtime error in error: out of memory (/ipcUtils.cpp:48)",
    "RuntimeError: [TensorRT-LLM][ERROR] CUDA runtime error in cudaMalloc(&data, memoryCapacity): out of memory",
    "RuntimeError: Encountered an error in forwardAsync function: [TensorRT-LLM][ERROR] CUDA runtime error in ::cudaMallocAsync(ptr, n): out of memory",
    "[11/07/2025-17:42:27] [TRT] [E] [resizingAllocator.cpp::allocate::78] Error Code 1: Cuda Runtime (out of memory)",
    "[11/07/2025-17:42:32] [TRT] [E] [myelinResourceManager.cpp::allocate::196] Error Code 2: OutOfMemory (Requested size was 71603093760 bytes.)",
    "terminate called after throwing an instance of 'std::runtime_error'  what():  [TM][ERROR] CUDA runtime error: out of memory /opt/lmdeploy/a.cc:12",
    // CuPy, Numba, RMM.
    "cupy.cuda.memory.OutOfMemoryError: Out of memory allocating 8,000,000,000 bytes (allocated so far: 0 bytes).",
    "cupy_backends.cuda.api.runtime.CUDARuntimeError: cudaErrorMemoryAllocation: out of memory",
    "numba.cuda.cudadrv.driver.CudaAPIError: [2] Call to cuMemAlloc results in CUDA_ERROR_OUT_OF_MEMORY",
    "MemoryError: std::bad_alloc: out_of_memory: CUDA error at: /rmm/mr/device/cuda_memory_resource.hpp:69: cudaErrorMemoryAllocation out of memory",
    "std::bad_alloc: out_of_memory: CUDA error (failed to allocate 2778950720 bytes) at: /include/rmm/mr/device/x.hpp",
    // JAX.
    "jax.errors.JaxRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying to allocate 19.59GiB.",
    "jaxlib.xla_extension.XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying to allocate 33762398024 bytes.",
    "E1129 14:34:30.302810 12 cuda_driver.cc:1002] failed to alloc 8589934592 bytes: CUDA_ERROR_OUT_OF_MEMORY: out of memory",
    // NCCL.
    "host:12:34 [0] include/alloc.h:320 (ncclCuMemAlloc) NCCL WARN Cuda failure 2 'out of memory'",
    "host:12:34 [0] include/alloc.h:99 NCCL WARN Cuda failure 'out of memory'",
    // Others.
    "DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")",
    "CUDA failure 2: out of memory ; GPU=0 ; hostname=h ; file=cuda_call.cc ; line=129 ; expr=cudaMalloc((void**)&p, size);",
    "cudaErrorMemoryAllocation",
    "cuMemCreate: CUDA_ERROR_OUT_OF_MEMORY",
    "cuMemAlloc failed with error code CUDA_ERROR_OUT_OF_MEMORY",
];

/// Other fatal errors, as programs print them.
const FATAL: &[(&str, u32)] = &[
    ("torch.AcceleratorError: CUDA error: an illegal memory access was encountered", 700),
    ("RuntimeError: Triton Error [CUDA]: device-side assert triggered", 710),
    ("RuntimeError: Triton Error [CUDA]: misaligned address", 716),
    ("RuntimeError: CUDA error: unspecified launch failure", 719),
    ("NCCL WARN Cuda failure 700 'an illegal memory access was encountered'", 700),
    ("CUDA error at a.cu:12 code=719(cudaErrorLaunchFailure) \"cudaDeviceSynchronize()\"", 719),
    ("cuda runtime error (710) : device-side assert triggered at x.cu:1", 710),
    ("cuCtxSynchronize: CUDA_ERROR_ILLEGAL_ADDRESS", 700),
    ("RuntimeError: CUDA error: the MPS client has been terminated by the server", 810),
    (
        "CUDA error (/workspace/.deps/vllm-flash-attn-src/hopper/flash_fwd_launch_template.h:199): the MPS client has been terminated by the server",
        810,
    ),
    (
        "torch.AcceleratorError: CUDA error: the remote procedural call between the MPS server and the MPS client failed",
        806,
    ),
    ("MPS client failed to connect to the MPS control daemon or the MPS server", 805),
    ("cudaErrorMpsMaxClientsReached", 808),
    ("Search for `cudaErrorMpsRpcFailure' in https://docs.nvidia.com/ for more information.", 806),
    ("CUDA error: CUDA-capable device(s) is/are busy or unavailable", 46),
    ("CUDA error: uncorrectable ECC error encountered", 214),
    ("CUDA error: hardware stack error", 714),
    ("CUDA error: invalid program counter", 718),
    ("CUDA error 700: an illegal memory access was encountered", 700),
    ("cupy_backends.cuda.api.driver.CUDADriverError: CUDA_ERROR_LAUNCH_FAILED: unspecified launch failure", 719),
    ("numba.cuda.cudadrv.driver.CudaAPIError: [715] Call to cuMemcpyDtoH results in UNKNOWN_CUDA_ERROR", 715),
    (
        "[PG ID 0 PG GUID 0 Rank 0] Process group watchdog thread terminated with exception: CUDA error: an illegal memory access was encountered",
        700,
    ),
    ("RuntimeError: CUDA error: device-side assert triggered; said 'somebody'", 710),
];

/// What stands before a message of level ERROR, and before one without a level.
pub(super) const HEADS: &[&str] = &[
    "",
    "(EngineCore pid=1677) ",
    "(EngineCore pid=1677) ERROR 11-29 14:41:14 [core.py:1233] ",
    "(VllmWorker TP0 pid=12) ERROR 11-29 14:41:14 [multiproc_executor.py:596] ",
    "ERROR 03-19 10:55:18 [engine.py:158] ",
    "[2026-11-29 14:41:14 TP0] ",
    "[2026-11-29 14:41:14 DP0 TP1 EP1] Scheduler hit an exception: ",
    "[rank0]: ",
    "[rank0]:[E1129 14:41:14.302810055 ProcessGroupNCCL.cpp:1895] ",
    "[1,0]<stderr>:",
    "2026-11-29 14:41:14,123 - vllm.engine - ERROR - ",
    "2026-11-29 14:41:14.123 | ERROR    | worker:run:12 - ",
    "2026-11-29T14:41:14.123456Z ERROR text_generation_launcher: ",
    "2026-11-29T14:41:14.123456Z ERROR batch{batch_size=1}:prefill: text_generation_client: router/client/src/lib.rs:33: Server error: ",
    "ERROR:root:",
    "ERROR:    ",
    "1.06.520.077 E ",
    "[TensorRT-LLM][ERROR] ",
    "E1129 14:41:14.302810 12 model_lifecycle.cc:641] ",
    "Exception in thread Thread-3: ",
    "terminate called after throwing an instance of 'c10::Error'  what():  ",
    "\x1b[1;36m(EngineCore pid=7)\x1b[0;0m \x1b[31mERROR\x1b[0m 11-29 14:41:14 [core.py:12] ",
    "Capturing CUDA graphs (decode, FULL): 100%|##########| 35/35 [00:01<00:00, 30.12it/s]",
    "Loading safetensors checkpoint shards: 100% Completed | 4/4 [00:01<00:00, 2.85it/s](EngineCore pid=7) ERROR 11-29 14:41:14 [core.py:12] ",
    "..................................................",
];

/// What stands before a message of level INFO or below.
pub(super) const CHATTER: &[&str] = &[
    "INFO 11-29 14:30:01 [logger.py:41] ",
    "(APIServer pid=672) INFO 11-29 14:34:30 [logger.py:41] ",
    "(APIServer pid=672) DEBUG 11-29 14:34:30 [logger.py:41] ",
    "\x1b[1;36m(APIServer pid=7)\x1b[0;0m \x1b[32mINFO\x1b[0m 11-29 14:41:14 [logger.py:41] ",
    "[2026-11-29 14:41:14] INFO:     10.27.1.1:65179 - ",
    "INFO:     127.0.0.1:52012 - ",
    "INFO:uvicorn.access:",
    "DEBUG:vllm:",
    "2026-11-29 14:41:14,123 - sglang - INFO - ",
    "2026-11-29 14:41:14,123 INFO sglang.srt.managers: ",
    "2026-11-29 14:41:14.123 | INFO     | worker:run:12 - ",
    "2026-11-29 14:41:14.123 | \x1b[1mDEBUG   \x1b[0m | worker:run:12 - ",
    "2026-11-29T14:41:14.123456Z  INFO text_generation_router::server: router/src/server.rs:12: ",
    "2026-11-29T14:41:14.123456Z TRACE text_generation_router: ",
    "I1129 14:41:14.302810 12 http_server.cc:12] ",
    "[I 2026-11-29 14:41:14] ",
    "[TensorRT-LLM][INFO] ",
    "[11/07/2025-17:42:27] [TRT-LLM] [I] ",
    "0.05.583.299 I srv          main: ",
    "0.05.583.299 D srv  log_server_r: ",
    "time=2026-11-29T14:41:14.123Z level=INFO source=server.go:12 msg=",
    "host:12:34 [0] NCCL INFO ",
    "Capturing: 100%|#####| 35/35 [00:01<00:00, 30.12it/s]INFO 11-29 14:30:01 [logger.py:41] ",
    "[INFO] ",
    "info: ",
];

/// All errors, with what they say.
pub(super) fn fatal() -> Vec<(&'static str, Saying)> {
    let memory = OUT_OF_MEMORY.iter().map(|text| (*text, Saying::Error(2)));
    FATAL.iter().map(|(text, code)| (*text, Saying::Error(*code))).chain(memory).collect()
}
