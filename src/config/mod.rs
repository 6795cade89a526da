//! The TOML shape with its defaults, its check, and the policy made from it.
