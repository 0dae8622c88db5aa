//! Who waits for what: the report that a simulation prints when an operation does not end.

use std::time::Duration;

/// A task that has not ended, or one of the things that it waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskWait {
    pub node: u64,
    pub node_name: String,
    /// The name it was spawned with.
    pub task: String,
    pub task_id: u64,
    /// Where in the source it was spawned.
    pub spawned_at: String,
    /// As told to [`crate::task::wait`]; none if it waits without saying what for.
    pub waits_for: Option<String>,
    /// The virtual time at which the wait began, or at which the task last ran.
    pub since: Duration,
}

/// All tasks of the current world, by node and by age; a task that waits for several things, once for each.
/// Empty in production, which keeps no such record.
pub fn snapshot() -> Vec<TaskWait> {
    #[cfg(madsim)]
    return crate::sim::try_world().map_or_else(Vec::new, |world| world.waits.snapshot(&world));
    #[cfg(not(madsim))]
    Vec::new()
}
