//! The group protocol as scripts (input and expected outcome as text) and as properties of random runs.

mod model;
mod ops;
mod script;
mod scripts;
mod world;
