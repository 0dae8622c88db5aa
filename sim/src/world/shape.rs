//! What the workload may know of the world when it draws its plan.

use std::collections::BTreeMap;

/// The outline of a world.
#[derive(Clone, Debug)]
pub struct WorldShape {
    /// The settings of the first broker, by Kafka's names; one that is absent has its default.
    pub settings: BTreeMap<String, String>,
}

impl WorldShape {
    /// Whether topics that do not say otherwise promise no more than the page cache does.
    pub fn flush_async(&self) -> bool {
        self.settings.get("flush.mode").is_some_and(|mode| mode == "async")
    }

    /// Whether their records get the broker's time.
    pub fn append_time(&self) -> bool {
        self.settings.get("log.message.timestamp.type").is_some_and(|kind| kind == "LogAppendTime")
    }
}
