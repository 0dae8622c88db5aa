//! The end of a shutdown: the metadata and the data directories close, each for itself, so that one that hangs costs no other
//! its clean-shutdown marker.

use futures::{future::join_all, FutureExt};
use norn_env::{
    clock::{self, Duration, Instant},
    task::{self, Handle},
};
use norn_log::dir::{Health, LogDir};
use norn_quorum::{Quorum, QuorumExit};
use tracing::{info, warn};

use crate::{lifecycle::BrokerError, partition::Ended};

/// How long metadata and data directories may take to close; the partitions before them have a bound of their own. What is
/// not closed by then is recovered at the next start.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// How many logs a message names.
const NAMED_MAX: usize = 10;

/// Closes the metadata and the directories after the partitions have `ended`, and says how the whole shutdown went.
///
/// Each directory whose logs were all closed in good order gets its marker. A log that went offline while it was open, or
/// hangs, costs its own directory the marker, whose other logs are recovered with it: the journal that they share is played.
/// A log that could not even be opened costs nobody anything: only itself is checked at the next start.
///
/// # Errors
/// [`BrokerError::Unclean`] for what failed or hung while it was closed, not for logs that had been offline before.
pub(crate) async fn close(
    ended: Ended,
    quorum: Quorum,
    quorum_task: Handle<QuorumExit>,
    dirs: &[LogDir],
    began: Instant,
) -> Result<(), BrokerError> {
    let Ended { offline, mut failed } = ended;
    let deadline = clock::now() + CLOSE_TIMEOUT;
    let (first, others) = dirs.split_first().expect("a broker has a data directory");
    // The metadata are in the first, whose lock holds until they are closed.
    let first = async {
        let quorum = close_quorum(quorum, quorum_task, deadline).await;
        [quorum, close_dir(first, deadline).await]
    };
    let others = others.iter().map(|dir| close_dir(dir, deadline).map(|closed| [Ok(()), closed]).boxed());
    let closed = join_all([first.boxed()].into_iter().chain(others)).await;
    failed.extend(closed.into_iter().flatten().filter_map(Result::err));
    if !offline.is_empty() {
        let named: Vec<&str> = offline.iter().take(NAMED_MAX).map(String::as_str).collect();
        warn!("{} logs are offline and were left as they are: {}", offline.len(), named.join(", "));
    }
    if failed.is_empty() {
        info!("clean shutdown in {:?}", clock::now() - began);
        Ok(())
    } else {
        Err(BrokerError::Unclean(failed.join("; ")))
    }
}

async fn close_quorum(
    quorum: Quorum,
    quorum_task: Handle<QuorumExit>,
    deadline: Instant,
) -> Result<(), String> {
    let closed = async {
        quorum.close().await;
        quorum_task.await
    };
    match task::wait(|| "the metadata quorum to close".into(), clock::timeout_at(deadline, closed)).await {
        Ok(Ok(Ok(()))) => Ok(()),
        Ok(Ok(Err(error))) => Err(error.to_string()),
        Ok(Err(_)) => Err("the metadata quorum was stopped".into()),
        Err(_) => Err(format!("the metadata quorum did not close within {CLOSE_TIMEOUT:?}")),
    }
}

/// Closes one directory; one that is offline stays as it is.
async fn close_dir(dir: &LogDir, deadline: Instant) -> Result<(), String> {
    if *dir.health().borrow() != Health::Online {
        return Ok(());
    }
    let root = dir.disk().root().display();
    let closed = clock::timeout_at(deadline, dir.close());
    match task::wait(|| format!("the data directory {root} to close"), closed).await {
        Ok(Ok(closed)) => {
            if !closed.marked {
                warn!("{root} is closed without a clean-shutdown marker: the next start recovers its logs");
            }
            Ok(())
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("the data directory {root} did not close within {CLOSE_TIMEOUT:?}")),
    }
}
