//! One file for each outside system. Parsing is pure, I/O thin; roots and paths are injected.
