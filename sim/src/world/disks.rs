//! What is on the disks in the end.

use std::time::Duration;

use norn_env::clock;
use norn_env::sim::DiskCtl;

use super::BrokerHost;
use crate::check::{Event, History, DELETED_FILES_LINGER};

/// Waits until the files of topics that were deleted must be gone, and notes which logs are there. `began` is the virtual
/// time at which the history began.
pub async fn look(brokers: &[BrokerHost], history: &History, began: Duration) {
    let deleted = history.with(|events| {
        let acked = events.iter().filter_map(|event| match event {
            Event::DeleteTopicAcked { at, .. } => Some(*at),
            _ => None,
        });
        acked.max()
    });
    let Some(deleted) = deleted else { return };
    let removed_after = brokers.iter().map(removed_after).max().unwrap_or_default();
    let ends = brokers.iter().flat_map(BrokerHost::ends).map(|end| end.saturating_sub(began));
    let last = ends.chain([deleted]).max().unwrap_or_default();
    let due = last + removed_after + DELETED_FILES_LINGER + Duration::from_secs(1);
    clock::sleep(due.saturating_sub(history.now())).await;
    let logs = brokers.iter().flat_map(logs).collect();
    history.record(Event::OnDisk { logs, removed_after, at: history.now() });
}

fn removed_after(broker: &BrokerHost) -> Duration {
    let delay = broker.spec.config.get("log.segment.delete.delay.ms").and_then(|ms| ms.parse().ok());
    Duration::from_millis(delay.unwrap_or(60_000))
}

/// The directories of all logs of a broker, each with its topic's id.
fn logs(broker: &BrokerHost) -> Vec<(String, String)> {
    let disks = DiskCtl::current();
    let mut logs = vec![];
    for file in disks.files(broker.key) {
        let Some(dir) = file.path.strip_suffix("/partition.metadata") else { continue };
        // What a start finds without its topic is kept, as Kafka does, for whoever wants it back.
        if dir.ends_with("-stray") {
            continue;
        }
        let bytes = disks.read_raw(broker.key, &file.path, 0, 256);
        let text = String::from_utf8_lossy(&bytes);
        let id = text.lines().find_map(|line| line.strip_prefix("topic_id: ")).unwrap_or_default();
        logs.push((dir.to_owned(), id.to_owned()));
    }
    logs
}
