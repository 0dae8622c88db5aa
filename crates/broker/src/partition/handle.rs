//! How the rest of the broker reaches a partition: its published value for reading, its queue for everything else.

use std::sync::Arc;

use norn_core::{
    metadata::{is_internal, TopicConfig},
    producer::ProducerState,
    replica::Acks,
};
use norn_env::{
    clock::{self, Instant},
    task,
};
use norn_log::{LogId, ReadError};
use norn_protocol::{
    batch::Batch,
    types::{LeaderEpoch, Offset, ProducerId, TopicId},
    ErrorCode,
};
use tokio::sync::{mpsc, oneshot};
use tracing::error;

use super::{
    published::{Published, ReadySet, View},
    read_faults::{News, ReadFaults},
};

/// Requests that may wait for one partition's task; past this its producers' connections stop reading.
pub(super) const QUEUE_LEN: usize = 1024;

/// Who appends, which decides what is checked.
#[derive(Debug)]
pub(crate) enum Origin {
    Client,
    /// A coordinator of this broker, loaded in this leader epoch. Its appends are rejected in any other epoch, and once a
    /// later coordinator of the same epoch has announced itself.
    Coordinator {
        epoch: LeaderEpoch,
        incarnation: CoordinatorIncarnation,
    },
}

/// Orders the coordinators that this process starts for a partition, also those within one leader epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CoordinatorIncarnation(pub u64);

/// One validated batch to be appended.
#[derive(Debug)]
pub(crate) struct Produce {
    pub batch: Batch,
    pub acks: Acks,
    pub deadline: Instant,
    pub origin: Origin,
    pub reply: oneshot::Sender<Result<Produced, ErrorCode>>,
}

/// Where a batch lies, once it is as durable as its `acks` asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Produced {
    pub base_offset: Offset,
    /// With `message.timestamp.type=LogAppendTime`.
    pub log_append_time: Option<i64>,
    pub log_start: Offset,
}

/// What a partition's task is sent.
#[derive(Debug)]
pub(super) enum Message {
    Produce(Produce),
    DeleteRecords {
        before: Offset,
        reply: oneshot::Sender<Result<Offset, ErrorCode>>,
    },
    /// Asks for the states of producers with ids above `after`, by rising id.
    DescribeProducers {
        after: Option<ProducerId>,
        reply: oneshot::Sender<Result<Vec<ProducerState>, ErrorCode>>,
    },
    /// A coordinator is about to load the log. The reply is the log end up to which it loads: no append of an earlier
    /// incarnation follows it.
    Announce {
        epoch: LeaderEpoch,
        incarnation: CoordinatorIncarnation,
        reply: oneshot::Sender<Result<Offset, ErrorCode>>,
    },
    /// The image has a newer state of this partition.
    Assigned(Arc<norn_core::metadata::Partition>),
    Configured(Box<TopicConfig>),
    /// The broker shuts down: sync, snapshot, close.
    Close,
    /// The topic was deleted: close without any of that.
    Remove,
}

/// The way to one partition's task.
#[derive(Debug)]
pub(crate) struct Partition {
    topic: Arc<str>,
    topic_id: TopicId,
    index: i32,
    dir: usize,
    pub(super) queue: mpsc::Sender<Message>,
    published: Arc<Published>,
    read_faults: ReadFaults,
}

/// A partition is equal to itself alone: one that was opened anew is another.
impl PartialEq for Partition {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Partition {
    /// `dir`: which of the open data directories its log is in.
    pub(super) fn new(
        log: &LogId,
        dir: usize,
        queue: mpsc::Sender<Message>,
        published: Arc<Published>,
    ) -> Self {
        let LogId { topic, topic_id, partition: index } = log.clone();
        Partition { topic, topic_id, index, dir, queue, published, read_faults: ReadFaults::default() }
    }

    pub fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    pub fn topic_id(&self) -> TopicId {
        self.topic_id
    }

    pub fn index(&self) -> i32 {
        self.index
    }

    /// Which of the open data directories its log is in.
    pub fn dir(&self) -> usize {
        self.dir
    }

    /// Whether clients may not write to it.
    pub fn is_internal(&self) -> bool {
        is_internal(&self.topic)
    }

    pub fn view(&self) -> Arc<View> {
        self.published.view()
    }

    /// Logs that a place of the log cannot be read, once for each.
    pub fn log_read_fault(&self, fault: &ReadError) {
        let (topic, index) = (&self.topic, self.index);
        match self.read_faults.note(fault) {
            News::New => error!(%topic, partition = index, "{fault}"),
            News::Last => {
                error!(%topic, partition = index, "{fault}; more such places of this log are not logged")
            }
            News::Known => {}
        }
    }

    pub fn watch(&self, set: &Arc<ReadySet>, slot: u32) {
        self.published.watch(set, slot);
    }

    pub fn unwatch(&self, set: &Arc<ReadySet>, slot: u32) {
        self.published.unwatch(set, slot);
    }

    /// Hands a batch to the task. Waits while its queue is full; REQUEST_TIMED_OUT if that lasts past the deadline.
    pub async fn produce(&self, produce: Produce, deadline: Instant) -> Result<(), ErrorCode> {
        self.send(Message::Produce(produce), deadline).await
    }

    /// Asks for the log start to move up; the new log start comes through the receiver.
    pub async fn delete_records(
        &self,
        before: Offset,
        deadline: Instant,
    ) -> Result<oneshot::Receiver<Result<Offset, ErrorCode>>, ErrorCode> {
        let (reply, answered) = oneshot::channel();
        self.send(Message::DeleteRecords { before, reply }, deadline).await?;
        Ok(answered)
    }

    /// The states of some producers with ids above `after`, by rising id; none if there are no more. REQUEST_TIMED_OUT past
    /// the deadline.
    pub async fn producers(
        &self,
        after: Option<ProducerId>,
        deadline: Instant,
    ) -> Result<Vec<ProducerState>, ErrorCode> {
        let (reply, answered) = oneshot::channel();
        self.send(Message::DescribeProducers { after, reply }, deadline).await?;
        let name = || format!("the producers of {}-{}", self.topic, self.index);
        match task::wait(name, clock::timeout_at(deadline, answered)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(ErrorCode::NotLeaderOrFollower),
            Err(_) => Err(ErrorCode::RequestTimedOut),
        }
    }

    /// Announces a coordinator, in order with the appends of earlier ones; the log end comes through the receiver.
    pub async fn announce(
        &self,
        epoch: LeaderEpoch,
        incarnation: CoordinatorIncarnation,
        deadline: Instant,
    ) -> Result<oneshot::Receiver<Result<Offset, ErrorCode>>, ErrorCode> {
        let (reply, answered) = oneshot::channel();
        self.send(Message::Announce { epoch, incarnation, reply }, deadline).await?;
        Ok(answered)
    }

    pub(super) async fn send(&self, message: Message, deadline: Instant) -> Result<(), ErrorCode> {
        let message = match self.queue.try_send(message) {
            Ok(()) => return Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(ErrorCode::NotLeaderOrFollower),
            Err(mpsc::error::TrySendError::Full(message)) => message,
        };
        let name = || format!("room in the queue of {}-{}", self.topic, self.index);
        match task::wait(name, clock::timeout_at(deadline, self.queue.send(message))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(ErrorCode::NotLeaderOrFollower),
            Err(_) => Err(ErrorCode::RequestTimedOut),
        }
    }
}
