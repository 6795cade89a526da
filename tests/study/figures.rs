//! The arithmetic, against answers worked out by hand.
