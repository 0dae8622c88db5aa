//! Marks in the code for the simulator.
