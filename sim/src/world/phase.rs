//! The phases of a world.

use serde::{Deserialize, Serialize};

/// What the world is at. Each is entered once, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Brokers and clients come up.
    Start,
    /// No faults yet.
    Steady,
    /// Faults strike.
    Chaos,
    /// Faults have stopped: clients begin nothing new, and all that is under way must end.
    Heal,
    /// A fresh client reads everything back.
    ReadBack,
    /// It is over.
    Done,
}
