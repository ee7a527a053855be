//! The simulation, seen from outside.
