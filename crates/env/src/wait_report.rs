//! Who waits for what: the report that a simulation prints when an operation does not end.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
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

/// What a task waits for, put into words when somebody asks: of a world's waits hardly any is ever read.
pub(crate) enum What {
    Text(String),
    /// Something to be done with a peer.
    Peer(&'static str, SocketAddr),
    /// Something to be done with a file, by its full path.
    File(&'static str, Arc<str>),
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Peer(what, peer) => write!(f, "{what} {peer}"),
            Self::File(what, path) => write!(f, "disk: {what} {path}"),
        }
    }
}

/// All tasks of the current world, by node and by age; a task that waits for several things, once for each.
/// Empty in production, which keeps no such record.
pub fn snapshot() -> Vec<TaskWait> {
    #[cfg(madsim)]
    return crate::sim::try_world().map_or_else(Vec::new, |world| world.waits.snapshot(&world));
    #[cfg(not(madsim))]
    Vec::new()
}
