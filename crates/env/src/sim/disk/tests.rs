//! The faults of the simulated disk.
