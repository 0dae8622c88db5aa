//! What clients record: facts about requests and their answers, never conclusions.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

/// A partition. Two topics of one name are told apart by the id, which is nil for topics that nobody deletes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tp {
    pub topic: Arc<str>,
    pub id: Uuid,
    pub partition: i32,
}

impl Tp {
    /// A partition of a topic that nobody deletes.
    pub fn new(topic: &Arc<str>, partition: i32) -> Self {
        Self { topic: topic.clone(), id: Uuid::nil(), partition }
    }
}

impl fmt::Display for Tp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)?;
        match self.id.is_nil() {
            true => Ok(()),
            false => write!(f, "[{}]", self.id),
        }
    }
}

/// What a record holds: which client wrote it, in which of its streams (numbered anew whenever it can no longer promise
/// an order), as the how-manieth. It names one record of the whole world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Content {
    pub client: u32,
    pub stream: u32,
    pub counter: u64,
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client {} stream {} record {}", self.client, self.stream, self.counter)
    }
}

/// A record as a reader got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub offset: i64,
    /// The leader epoch of its batch.
    pub epoch: i32,
    pub content: Content,
    /// Unix ms.
    pub timestamp: i64,
    /// Whether the batch says that this is when the broker appended it.
    pub appended: bool,
    /// The timestamp that its producer gave it, which its value holds.
    pub created: i64,
    /// A key or headers that are not those which a record of this content has, and which these are.
    pub odd: Option<Box<str>>,
}

/// A topic in a listing of all.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedTopic {
    pub name: Arc<str>,
    /// Nil in versions that do not tell.
    pub id: Uuid,
    pub partitions: Vec<i32>,
}

/// Who reads: a client, and which of its passes over a partition (numbered anew at each start and each seek).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reader {
    pub client: u32,
    pub pass: u32,
}

/// When a request was sent and when its answer was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub sent: Duration,
    pub done: Duration,
}

/// A time that ListOffsets looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskedTime {
    /// The first record that is not older (Unix ms).
    Since(i64),
    /// The record with the largest timestamp.
    Largest,
}

/// What may happen to a topic's records, known before any is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicFacts {
    /// `flush.mode=sync`: what was acknowledged or read survives the loss of power.
    pub sync: bool,
    /// Records leave at its start, by DeleteRecords (up to what was asked for) or by retention.
    pub trim: Trim,
    /// `message.timestamp.type=LogAppendTime`: records have the time of the broker, not that of their producer.
    pub append_time: bool,
}

/// How records leave a topic's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trim {
    /// Not at all.
    Never,
    /// By DeleteRecords.
    Records,
    /// By retention.
    Retention,
}

/// One thing that a client did or saw.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A topic of the plan.
    Topic { topic: Arc<str>, facts: TopicFacts },
    /// The faults have stopped.
    Healed { at: Duration },
    /// A produce was sent, of `count` records from `first` on. `idempotent`: the stream's sequences have no gap.
    Produced { tp: Tp, first: Content, count: u32, idempotent: bool, at: Duration },
    /// A produce was acknowledged; `base` is missing where the broker only said that it has the records already.
    /// `append_time` is what the broker says that it gave them.
    Acked { tp: Tp, first: Content, count: u32, base: Option<i64>, append_time: Option<i64>, span: Span },
    /// The oldest unacknowledged batch of an idempotent producer was refused for its sequence.
    SequenceRefused { tp: Tp, first: Content, error: String, at: Duration },
    /// Records came for a reader that stood at `position`; `hw` came with them.
    Read { reader: Reader, tp: Tp, position: i64, hw: i64, records: Vec<Seen>, span: Span },
    /// The final reading of a partition went from `start` to `end`.
    ReadBack { tp: Tp, start: i64, end: i64, at: Duration },
    /// The final reading has come to its end: what it did not find is not there.
    ReadBackEnded,
    /// The topic does not exist any more at the final reading.
    TopicMissing { topic: Arc<str>, at: Duration },
    /// Bytes came that are no record that anybody wrote.
    BadBytes { reader: Reader, tp: Tp, offset: i64, detail: String, span: Span },
    /// The broker said that what is at this offset is corrupt.
    Corrupt { reader: Reader, tp: Tp, offset: i64, span: Span },
    /// The broker said that this offset is out of range.
    OutOfRange { reader: Reader, tp: Tp, position: i64, span: Span },
    /// A client learned a partition's high watermark (or latest offset), and perhaps its start.
    Bounds { client: u32, tp: Tp, start: Option<i64>, hw: i64, span: Span },
    /// Someone was told that a partition starts here: as its earliest offset, or as what DeleteRecords left.
    Start { tp: Tp, start: i64, span: Span },
    /// ListOffsets found a record (offset, timestamp) by its time, or that there is none.
    TimeFound { tp: Tp, asked: AskedTime, found: Option<(i64, i64)>, span: Span },
    /// ListOffsets could not look for a time, since what is there is corrupt.
    TimeCorrupt { tp: Tp, span: Span },
    /// OffsetForLeaderEpoch told the largest epoch up to the asked one, and where that ends.
    EpochEnd { tp: Tp, asked: i32, found: Option<(i32, i64)>, span: Span },
    /// Someone asked that all before this offset be deleted.
    DeleteRecordsAsked { tp: Tp, before: i64 },
    /// Someone asked that the topic be deleted.
    DeleteTopicAsked { topic: Arc<str>, id: Uuid },
    /// It was acknowledged.
    DeleteTopicAcked { topic: Arc<str>, id: Uuid, at: Duration },
    /// Someone asked that a topic have so many partitions.
    PartitionsAsked { topic: Arc<str>, id: Uuid, count: i32 },
    /// It has them now, be it that it was created, be it that it grew.
    PartitionsAcked { topic: Arc<str>, id: Uuid, count: i32, at: Duration },
    /// All topics were listed.
    Listed { topics: Vec<ListedTopic>, span: Span },
    /// The logs that are on the disks, by their directories, with their topics' ids as displayed. What is deleted leaves
    /// `removed_after` later.
    OnDisk { logs: Vec<(String, String)>, removed_after: Duration, at: Duration },
    /// A change of a topic's setting was sent: to a value, or back to the default.
    SettingSent { change: u64, topic: Arc<str>, name: String, value: Option<String>, at: Duration },
    /// Its answer: acknowledged or refused.
    SettingDone { change: u64, acked: bool, at: Duration },
    /// The settings that a topic has of its own were described.
    SettingsDescribed { topic: Arc<str>, settings: BTreeMap<String, String>, span: Span },
    /// A member of a group was given these partitions in this generation.
    Assigned {
        group: Arc<str>,
        generation: i32,
        member: String,
        partitions: Vec<(String, i32)>,
        at: Duration,
    },
    /// The faults have stopped, and a member of the group has found its partitions to end here. A member may be found dead
    /// within `session`.
    GroupGoal { group: Arc<str>, ends: Vec<(Tp, i64)>, session: Duration, at: Duration },
    /// A commit was sent; generation -1 for one outside of a membership.
    CommitSent { commit: u64, group: Arc<str>, tp: Tp, offset: i64, generation: i32, at: Duration },
    /// Its answer: acknowledged or refused. A commit without this event may be in force or not.
    CommitDone { commit: u64, acked: bool, at: Duration },
    /// A group's committed offset was fetched; -1 if there is none.
    Committed { group: Arc<str>, tp: Tp, offset: i64, span: Span },
    /// Something that must end was begun.
    OpBegan { op: u64, client: u32, what: String, at: Duration },
    /// It has ended, well or because its client died.
    OpEnded { op: u64 },
    /// It was under way when the bound for it had passed; who waited for what then.
    OpOverdue { op: u64, at: Duration, waits: Vec<String> },
    /// No answer came by the client's deadline on a connection that was opened at `opened`.
    TimedOut { client: u32, what: String, opened: Duration, span: Span },
    /// Bytes came that are no answer to what was asked.
    Malformed { client: u32, detail: String, at: Duration },
    /// What is taken of a broker's budgets once all is idle.
    Permits { broker: usize, taken: Vec<(String, i64)>, at: Duration },
    /// Something that must stay below a limit.
    Gauge { name: &'static str, value: u64, limit: u64, at: Duration },
}

impl Event {
    /// Who waited for what when something was overdue, if this event is the first of its kind.
    pub fn waits_when_overdue(&self) -> Option<Vec<String>> {
        match self {
            Self::OpOverdue { waits, .. } if !waits.is_empty() => Some(waits.clone()),
            _ => None,
        }
    }
}
