//! Where the image and the disks do not agree on which logs there are: logs that are missing, and strays that the image
//! does not know.

use std::collections::BTreeMap;

use norn_core::metadata::Image;
use norn_log::{dir::LogDir, LogId, Retired};
use norn_protocol::types::{NodeId, TopicId};
use tracing::warn;

/// The logs of a node's partitions, as the image has them, that were not found.
pub(crate) fn missing(image: &Image, node: NodeId, found: &BTreeMap<LogId, usize>) -> Vec<LogId> {
    let logs = image.topics().flat_map(|topic| {
        let here = topic.partitions().filter(|(_, partition)| partition.replicas.contains(&node));
        here.map(|(index, _)| LogId { topic: topic.name.clone(), partition: index.0, topic_id: topic.id })
    });
    logs.filter(|log| !found.contains_key(log)).collect()
}

/// The logs that were found and whose topics the image does not have, with the data directory of each.
pub(super) fn strays(image: &Image, found: &BTreeMap<LogId, usize>) -> Vec<(LogId, usize)> {
    let unknown = |log: &LogId| image.topic(log.topic_id).is_none();
    found.iter().filter(|(log, _)| unknown(log)).map(|(log, dir)| (log.clone(), *dir)).collect()
}

/// Takes directories that do not tell whose log they are for those of the node's partitions whose logs are in none that
/// does; gives the others.
pub(crate) fn adopt(
    image: &Image,
    node: NodeId,
    found: &mut BTreeMap<LogId, usize>,
    unidentified: Vec<(LogId, usize)>,
) -> Vec<(LogId, usize)> {
    let missing = missing(image, node, found).into_iter();
    let mut missing: BTreeMap<String, LogId> = missing.map(|log| (log.dir_name(), log)).collect();
    let mut others = vec![];
    for (log, dir) in unidentified {
        match missing.remove(&log.dir_name()) {
            Some(known) => {
                found.insert(known, dir);
            }
            None => others.push((log, dir)),
        }
    }
    others
}

/// Frees the name of a log whose topic is not known, and keeps its files, as Kafka does: only an operator can tell a topic
/// whose deletion a crash cut off from records that are still wanted, beside metadata that are not theirs.
pub(super) async fn set_aside(dir: &LogDir, log: &LogId) {
    let root = dir.disk().root().display();
    match dir.retire_log(log, Retired::Stray).await {
        Ok(Some(name)) if log.topic_id == TopicId::NONE => warn!(
            "{root}/{name} is a stray: a log called {log}, of which its partition.metadata, missing or damaged, does not \
             tell the topic. It is not used; remove it when nobody wants its records"
        ),
        Ok(Some(name)) => warn!(
            "{root}/{name} is a stray: the log of {log}, whose topic id {} the metadata do not have. Its topic was deleted \
             shortly before a crash, or the metadata are not those of this log. It is not used; remove it when nobody \
             wants its records",
            log.topic_id
        ),
        Ok(None) => {}
        Err(cause) => warn!("{root}/{log} is a stray, its topic is not in the metadata: {cause}"),
    }
}
