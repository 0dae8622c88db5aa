//! A run as data: the world, the faults with their times, the client mix. A seed draws it, a run executes it.
//!
//! Each part is drawn from a random stream of its own, so that a change in one leaves the others as they were.

mod config;
mod draw;
mod idle;
mod schedule;
mod valid;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use norn_env::sim::disk::Latency;
use norn_env::sim::net::NetConfig;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use config::broker_ip;

use crate::faults::Fault;
use crate::workload::Plan;

/// What a run executes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tape {
    /// Seeds the streams of the run itself: schedule, network, disk, buggify.
    pub seed: u64,
    pub world: World,
    /// In the order of their times.
    pub faults: Vec<Timed>,
    pub clients: Plan,
}

/// A fault and when it strikes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timed {
    /// Virtual time since the start of chaos.
    pub at_ms: u64,
    #[serde(flatten)]
    pub fault: Fault,
}

/// The world that clients and faults are in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct World {
    pub brokers: Vec<BrokerNode>,
    pub net: NetConfig,
    /// Whether the rare turns of `buggify!` are taken.
    pub buggify: bool,
    pub phases: Phases,
}

/// One broker: its host and its settings.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BrokerNode {
    /// By Kafka's names.
    pub config: BTreeMap<String, String>,
    pub clock_offset_ms: i64,
    pub clock_drift_ppm: i64,
    pub disk: DiskSpeed,
}

/// How fast a disk is, in microseconds, and how often its page cache has not what is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DiskSpeed {
    pub read_us: Range<u64>,
    pub write_us: Range<u64>,
    pub sync_us: Range<u64>,
    pub meta_us: Range<u64>,
    /// The part of operations that takes much longer.
    pub slow: f64,
    pub cold_reads: f64,
}

impl DiskSpeed {
    /// As the simulated disk wants it, `factor` times slower.
    pub fn latency(&self, factor: u32) -> Latency {
        let range = |us: &Range<u64>| {
            Duration::from_micros(us.start) * factor..Duration::from_micros(us.end) * factor
        };
        Latency {
            read: range(&self.read_us),
            write: range(&self.write_us),
            sync: range(&self.sync_us),
            meta: range(&self.meta_us),
            slow: self.slow,
        }
    }
}

/// How long the phases take, in virtual milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phases {
    pub start_ms: u64,
    pub steady_ms: u64,
    pub chaos_ms: u64,
    /// Everything that is under way when the faults stop must end within this.
    pub heal_ms_max: u64,
    /// The read-back must end within this.
    pub read_back_ms_max: u64,
}

/// Why a tape could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum TapeError {
    #[error("cannot read the tape {path}: {source}")]
    Read { path: String, source: std::io::Error },
    #[error("cannot write the tape to {path}: {source}")]
    Write { path: String, source: std::io::Error },
    #[error("{path} is not a tape: {source}")]
    Parse { path: String, source: serde_json::Error },
    #[error("the tape {path} cannot be executed: {}", what.join("; "))]
    Invalid { path: String, what: Vec<String> },
}

impl Tape {
    /// Reads a tape from a file. Fields that no tape has, and numbers of brokers, clients or topics that this one does not
    /// have, are errors: a run that left them out would not be the one that the file describes.
    pub fn load(path: &Path) -> Result<Self, TapeError> {
        let shown = path.display().to_string();
        let text = std::fs::read(path).map_err(|source| TapeError::Read { path: shown.clone(), source })?;
        let parsed = serde_json::from_slice(&text);
        let mut json: Value = parsed.map_err(|source| TapeError::Parse { path: shown.clone(), source })?;
        // A kept tape stands in its file beside what is expected of it.
        let kept = json.get_mut("tape").map(Value::take);
        Self::of_json(kept.unwrap_or(json), &shown)
    }

    /// The tape that a file at `path` holds as JSON.
    pub fn of_json(json: Value, path: &str) -> Result<Self, TapeError> {
        let path = path.to_owned();
        let parsed = serde_json::from_value(json.clone());
        let tape: Self = parsed.map_err(|source| TapeError::Parse { path: path.clone(), source })?;
        let what = [valid::unknown_fields(&json, &tape), tape.contradictions()].concat();
        if what.is_empty() {
            Ok(tape)
        } else {
            Err(TapeError::Invalid { path, what })
        }
    }

    /// Writes the tape to a file, for people to read and change.
    pub fn save(&self, path: &Path) -> Result<(), TapeError> {
        let text = serde_json::to_vec_pretty(self).map_err(std::io::Error::other);
        let saved = text.and_then(|text| std::fs::write(path, text));
        saved.map_err(|source| TapeError::Write { path: path.display().to_string(), source })
    }

    /// The same world and clients, without anything going wrong: not in the network of its own accord, either.
    pub fn without_faults(mut self) -> Self {
        self.faults.clear();
        self.world.net.heal();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_happens_in_an_idle_world_for_long() {
        let tape = Tape::idle(1);
        assert!(tape.faults.is_empty() && tape.clients.clients.is_empty() && !tape.world.buggify);
        assert!(tape.world.phases.chaos_ms > 1_000_000);
    }

    #[test]
    fn a_world_without_faults_has_a_network_without_faults() {
        let flaky = |seed: &u64| Tape::draw(*seed).world.net.loss > 0.0;
        let breaking = |seed: &u64| Tape::draw(*seed).world.net.reset_probability > 0.0;
        for seed in [(1..).find(flaky).unwrap_or_default(), (1..).find(breaking).unwrap_or_default()] {
            let tape = Tape::draw(seed).without_faults();
            assert!(tape.faults.is_empty());
            assert_eq!((tape.world.net.loss, tape.world.net.reset_probability), (0.0, 0.0));
        }
    }
}
