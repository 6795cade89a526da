//! What is recommended, in words and as data.
