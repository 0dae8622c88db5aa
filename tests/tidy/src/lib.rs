//! What the tree promises about itself, checked by `cargo test`: who depends on whom, what may know of the two
//! builds, words that have a better replacement, lengths, probes, and the commands that documents name.
//!
//! Each check is a function from text (or `cargo metadata`) to the list of what breaks its rule, beside a test that
//! shows it break; `tests/tree.rs` runs all of them over the tree.

// Reads the tree it is part of; no broker runs here.
#![allow(clippy::disallowed_methods, reason = "a test of files")]

pub mod builds;
pub mod code;
pub mod deps;
pub mod documents;
pub mod lengths;
pub mod probes;
pub mod source;
pub mod words;

use std::fmt;

/// One broken rule, with its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// `path:line`, a path, or the name of a package.
    pub at: String,
    /// What is wrong, and what to do in its place.
    pub what: String,
}

impl Violation {
    pub fn new(at: impl Into<String>, what: impl Into<String>) -> Violation {
        Violation { at: at.into(), what: what.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.what)
    }
}
