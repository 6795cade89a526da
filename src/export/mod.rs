//! What the outside sees: metrics, HTTP, log lines.
