//! What the handlers of the group APIs share: conversions, and handing an event to the group's coordinator.

use std::{collections::BTreeMap, sync::Arc};

use kafka_protocol::protocol::StrBytes;
use norn_core::{
    group::{Event, OffsetsResponse, Response, Slot},
    metadata::Image,
};
use norn_env::{
    clock::{Duration, Instant},
    select,
};
use norn_protocol::{types::PartitionIndex, ErrorCode};

use tokio::sync::oneshot;

use super::{Call, Context, Pace};
use crate::{
    coordinator::answer_by,
    server::{self, Reply},
};

/// Past this a coordinator that has not answered is given up on; clients retry COORDINATOR_NOT_AVAILABLE.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(30);

pub(super) fn text(from: &StrBytes) -> Arc<str> {
    Arc::from(from.as_str())
}

pub(super) fn maybe_text(from: &Option<StrBytes>) -> Option<Arc<str>> {
    from.as_ref().map(text)
}

pub(super) fn wire(from: &str) -> StrBytes {
    StrBytes::from_string(from.to_string())
}

pub(super) fn maybe_wire(from: &Option<Arc<str>>) -> Option<StrBytes> {
    from.as_deref().map(wire)
}

/// Hands an event to the coordinator of its group; `encode` makes the response of the answer, or of why there is none.
pub(super) async fn step(
    call: &Call,
    group_id: &str,
    answer_by_at: Instant,
    event: impl FnOnce(Slot) -> Event + Send + 'static,
    encode: impl FnOnce(Result<Response, ErrorCode>) -> server::Response + Send + 'static,
) -> Reply {
    let handed_over = match call.ctx.coordinators.of(group_id) {
        Ok(coordinator) => coordinator.step(call.received + ANSWER_MAX, event).await,
        Err(error) => Err(error),
    };
    match handed_over {
        Ok(answered) => {
            let mut stopping = call.ctx.stopping.clone();
            // Joins and syncs wait for other members, which a shutdown does not.
            let parked = answer_by_at > call.received + ANSWER_MAX;
            Reply::Waiting(Box::pin(async move {
                encode(select! {
                    answer = answer_by(answered, answer_by_at) => answer,
                    _ = stopping.signaled(), if parked => Err(ErrorCode::NotCoordinator),
                })
            }))
        }
        Err(error) => Reply::Ready(encode(Err(error))),
    }
}

/// Partitions of one request that a coordinator is given at once: about a millisecond of its work.
pub(super) const PARTITIONS_AT_ONCE: usize = 1024;

/// Hands the parts of a request to the coordinator of its group, in order.
pub(super) async fn step_each<E>(
    call: &Call,
    group_id: &str,
    events: Vec<E>,
) -> Vec<Result<oneshot::Receiver<Response>, ErrorCode>>
where
    E: FnOnce(Slot) -> Event + Send + 'static,
{
    let coordinator = call.ctx.coordinators.of(group_id);
    let mut handed_over = Vec::with_capacity(events.len());
    for event in events {
        handed_over.push(match &coordinator {
            Ok(coordinator) => coordinator.step(call.received + ANSWER_MAX, event).await,
            Err(error) => Err(*error),
        });
    }
    handed_over
}

/// The partitions of a request in parts that the coordinator is given at once; `T` is a topic with its share of one part.
pub(super) struct Parts<T> {
    parts: Vec<Vec<T>>,
    partitions: usize,
    bytes: usize,
}

/// Bytes of names and metadata in one part: with the rest of each record well below `message.max.bytes`.
const PART_BYTES_MAX: usize = 256 << 10;

impl<T> Default for Parts<T> {
    fn default() -> Self {
        Parts { parts: vec![], partitions: 0, bytes: 0 }
    }
}

impl<T> Parts<T> {
    /// The topic's share that takes its next partition, whose record has names and metadata of `bytes`. `begins`: whether
    /// the topic has none yet in the last part; then, and in a part that begins, `topic` makes one.
    pub fn share(&mut self, begins: &mut bool, bytes: usize, topic: impl FnOnce() -> T) -> Option<&mut T> {
        let full = self.partitions == PARTITIONS_AT_ONCE || self.bytes + bytes > PART_BYTES_MAX;
        if self.parts.is_empty() || full {
            self.parts.push(vec![]);
            (self.partitions, self.bytes, *begins) = (0, 0, true);
        }
        (self.partitions, self.bytes) = (self.partitions + 1, self.bytes + bytes);
        let part = self.parts.last_mut()?;
        if std::mem::take(begins) {
            part.push(topic());
        }
        part.last_mut()
    }

    pub fn finish(self) -> Vec<Vec<T>> {
        self.parts
    }
}

/// What the coordinator has answered to the parts of a request, by partition.
#[derive(Default)]
pub(super) struct Outcomes {
    of: BTreeMap<Arc<str>, BTreeMap<PartitionIndex, Option<ErrorCode>>>,
    /// Why a part has no answer.
    pub failed: Option<ErrorCode>,
}

impl Outcomes {
    pub async fn add(&mut self, response: OffsetsResponse) {
        let mut pace = Pace::default();
        for (topic, outcomes) in response.topics {
            let of_topic = self.of.entry(topic).or_default();
            for outcome in outcomes {
                pace.next().await;
                of_topic.insert(outcome.partition, outcome.error);
            }
        }
    }

    /// For each of these partitions of a topic, in their order, the error code of its outcome; those that do not exist were
    /// not handed over.
    pub async fn codes(
        &self,
        image: &Image,
        topic: &str,
        partitions: impl Iterator<Item = i32>,
        pace: &mut Pace,
    ) -> Vec<(i32, i16)> {
        let exists = image.topic_by_name(topic);
        let mut codes = Vec::with_capacity(partitions.size_hint().0);
        for index in partitions {
            pace.next().await;
            let partition = PartitionIndex(index);
            let error = match exists.and_then(|topic| topic.partition(partition)) {
                Some(_) => self.get(topic, partition),
                None => Some(ErrorCode::UnknownTopicOrPartition),
            };
            codes.push((index, error.map_or(0, |error| error.code())));
        }
        codes
    }

    fn get(&self, topic: &str, partition: PartitionIndex) -> Option<ErrorCode> {
        let answered = self.of.get(topic).and_then(|of_topic| of_topic.get(&partition)).copied();
        answered.unwrap_or(Some(self.failed.unwrap_or(ErrorCode::UnknownServerError)))
    }
}

/// The client's address as group descriptions show it.
pub(super) fn client_host(call: &Call) -> Arc<str> {
    Arc::from(format!("/{}", call.peer.ip()))
}

pub(super) fn client_id(call: &Call) -> Arc<str> {
    call.head.client_id.as_ref().map_or_else(|| Arc::from(""), text)
}

/// Reads each group at its coordinator, in the order asked; groups of one coordinator are read one after another.
pub(super) async fn look_each<T: Send + 'static>(
    ctx: &Context,
    deadline: Instant,
    groups: Vec<Arc<str>>,
    read: impl Fn(&norn_core::group::Coordinator, &str) -> T + Clone + Send + 'static,
) -> Vec<(Arc<str>, Result<T, ErrorCode>)> {
    let mut results = Vec::with_capacity(groups.len());
    let mut pace = Pace::default();
    for group in groups {
        pace.next().await;
        let result = match ctx.coordinators.of(&group) {
            Ok(coordinator) => {
                let (read, asked) = (read.clone(), group.clone());
                match coordinator.look(deadline, move |state| read(state, &asked)).await {
                    Ok(answered) => answer_by(answered, deadline).await.and_then(|looked| looked),
                    Err(error) => Err(error),
                }
            }
            Err(error) => Err(error),
        };
        results.push((group, result));
    }
    results
}
