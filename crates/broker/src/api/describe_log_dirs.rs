//! DescribeLogDirs (key 35): the data directories, the size of the logs in them, and the space of their volumes (KIP-827).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kafka_protocol::messages::{
    describe_log_dirs_response::{DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic},
    DescribeLogDirsRequest, DescribeLogDirsResponse, TopicName,
};
use norn_core::replica::offset_lag;
use norn_env::{clock::Duration, disk::Space};
use norn_protocol::{types::TopicId, ErrorCode};

use super::{group::wire, Call, Pace, Session};
use crate::{
    data_dirs::DataDir,
    partition::{Partition, PartitionTable},
    server::Reply,
};

/// How long the disks may take to tell the space of their volumes; what is not told by then is unknown.
const SPACE_TIMEOUT: Duration = Duration::from_secs(5);

/// `DescribeLogDirsResponse.UNKNOWN_VOLUME_BYTES`
const UNKNOWN_BYTES: i64 = -1;

/// What each open data directory holds of what was asked for, by topic.
type Logs = BTreeMap<usize, BTreeMap<Arc<str>, Vec<DescribeLogDirsPartition>>>;

pub(super) async fn handle(call: Call, _session: &mut Session) -> Reply {
    let request: DescribeLogDirsRequest = match call.decode() {
        Ok(request) => request,
        Err(close) => return close,
    };
    let mut logs = described(&call.ctx.partitions(), &request).await;
    let (answer, ctx) = (call.answer(), call.ctx.clone());
    let deadline = call.received + SPACE_TIMEOUT;
    Reply::Waiting(Box::pin(async move {
        let mut results = vec![];
        for dir in ctx.data_dirs.iter() {
            let space = dir.space(deadline).await;
            results.push(result(dir, space, &mut logs));
        }
        answer.respond(&DescribeLogDirsResponse::default().with_results(results))
    }))
}

/// The partitions that the request names, each once, or all if it names none.
async fn described(table: &PartitionTable, request: &DescribeLogDirsRequest) -> Logs {
    let (mut logs, mut pace) = (Logs::new(), Pace::default());
    let Some(topics) = &request.topics else {
        for partition in table.iter() {
            pace.next().await;
            add(&mut logs, partition);
        }
        return logs;
    };
    let mut seen = BTreeSet::new();
    for topic in topics {
        for index in &topic.partitions {
            pace.next().await;
            let found = table.resolve(Some(topic.topic.as_str()), TopicId::NONE, *index).ok();
            if let Some(partition) = found.filter(|found| seen.insert((found.topic_id(), *index))) {
                add(&mut logs, &partition);
            }
        }
    }
    logs
}

fn add(logs: &mut Logs, partition: &Partition) {
    let view = partition.view();
    let described = DescribeLogDirsPartition::default()
        .with_partition_index(partition.index())
        .with_partition_size(i64::try_from(view.log.size()).unwrap_or(i64::MAX))
        .with_offset_lag(offset_lag(!view.is_offline(), view.high_watermark, view.log_end));
    let topics = logs.entry(partition.dir()).or_default();
    topics.entry(partition.topic().clone()).or_default().push(described);
}

fn result(dir: &DataDir, space: Option<Space>, logs: &mut Logs) -> DescribeLogDirsResult {
    let result = DescribeLogDirsResult::default()
        .with_log_dir(wire(dir.path()))
        .with_total_bytes(UNKNOWN_BYTES)
        .with_usable_bytes(UNKNOWN_BYTES);
    let Some(at) = dir.online() else {
        return result.with_error_code(ErrorCode::KafkaStorageError.code());
    };
    let bytes =
        |of: fn(Space) -> u64| space.map_or(UNKNOWN_BYTES, |s| i64::try_from(of(s)).unwrap_or(i64::MAX));
    let topics = logs.remove(&at).unwrap_or_default().into_iter().map(|(topic, partitions)| {
        DescribeLogDirsTopic::default().with_name(TopicName(wire(&topic))).with_partitions(partitions)
    });
    result
        .with_topics(topics.collect())
        .with_total_bytes(bytes(|space| space.total))
        .with_usable_bytes(bytes(|space| space.usable))
}
