//! One data directory: its lock, journal, sync rounds and health.
