//! Nothing to build beside the crate yet.

fn main() {}
