//! Turns host readings into observations.
