//! `transformers serve`: Python's logging and uvicorn. It loads a model with its first request, so nothing before that
//! says that memory is allocated; with continuous batching the cache's line does.

use super::dialect::Dialect;

pub(super) const DIALECT: Dialect = Dialect {
    marks: &["PagedAttentionCache"],
    allocated: &[r"PagedAttentionCache initialized with "],
    out_of_memory: &[],
    quotes: &[],
};
