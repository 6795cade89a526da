//! Everybody else: PyTorch, TensorRT-LLM, Triton, Text Generation Inference, JAX, CuPy, RMM, ONNX Runtime, cuBLAS.

use super::dialect::Dialect;

pub(super) const DIALECT: Dialect = Dialect {
    marks: &[
        "MPS",
        "_ALLOC",
        "RESOURCE_EXHAUSTED",
        "out_of_memory",
        "OutOfMemory",
        "in paged KV cache",
        "max batch total tokens",
        "invalid literal",
        "for requested buffer",
        "Not enough memory",
        "parsing \"",
    ],
    allocated: &[
        r"(?:\[MemUsageChange\] )?Allocated [\d.]+ \wi?B for max tokens in paged KV cache",
        r"Setting max batch total tokens to \d+",
    ],
    out_of_memory: &[
        r"\b(?:torch|cuda|cupy|c10)\b[\w.:]*OutOfMemoryError\b",
        r"\bOutOfMemoryError: (?:CUDA|Out of memory allocating|Allocation on device)",
        r"(?i:CUDA) out of memory\b",
        r"(?i:CUDA) OOM\b",
        r"RESOURCE_EXHAUSTED: (?:Out of memory|OOM|Failed to allocate)",
        r"\bCU(?:BLAS|BLASLT|DNN|SPARSE|SOLVER|FFT|RAND)_(?:STATUS_)?(?:INTERNAL_ERROR_DEVICE_)?ALLOC(?:ATION)?_FAILED",
        r"\b(?:std::bad_alloc|rmm::bad_alloc|rmm::out_of_memory): (?:out_of_memory: )?(?:CUDA error|RMM failure)",
        r"Error Code \d+: OutOfMemory\b",
        r"\bin \w+ function: OutOfMemory\b",
        r"Failed to allocate memory for requested buffer of size",
        r"Not enough memory to handle \d+ (?:prefill|total) tokens",
    ],
    quotes: &[
        r"(?i:user|assistant|system|question|answer|prompts?|completion|inputs?|outputs?|generated(?: text)?|query)\s*[:=]\s",
        r"(?i:received|got|new|incoming) (?:chat |completion |generation )?(?:request|prompt|message)\b",
    ],
};
