//! llama.cpp's server and what is built on ggml: `0.00.129.365 I srv  main: message`, in older ones the message alone.
//! `--verbose` repeats requests and answers.

use super::dialect::Dialect;

pub(super) const DIALECT: Dialect = Dialect {
    marks: &["buffer size", "model loaded", "server is listening", "server: listening", "to allocate"],
    allocated: &[
        r"CUDA\d+ (?:KV|RS) buffer size\s*=",
        r"main: model loaded",
        r"(?:main: )?server is listening on ",
        r"llama[_ ]server: listening on ",
    ],
    out_of_memory: &[r"(?:failed|unable) to allocate CUDA\d+ buffer"],
    quotes: &[
        r"(?:srv\s+)?(?:log_server_r\w*|operator\(\)|update_slots|process_single_task): (?:request|response)\b",
        r"(?:request|response|Parsed message|Grammar|Prompt|prompt): ",
    ],
};
