//! Wiring: builds everything, spawns everything, runs the core loop, drains.
