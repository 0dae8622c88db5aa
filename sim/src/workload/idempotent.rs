//! An idempotent producer: batches carry sequences, several requests are in flight, and each batch is sent again, the same
//! as before, until it is acknowledged. When the broker refuses the next sequence, the producer starts over with a new id
//! and new streams, and what was not acknowledged is left with an unknown outcome.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use norn_env::clock;
use norn_protocol::compression::Compression;
use norn_protocol::messages::{InitProducerIdRequest, ProduceRequest};
use norn_protocol::{ApiKey, ProducerEpoch, ProducerId, Sequence};

use super::actor::Actor;
use super::errors::{is_about_sequence, passes, DUPLICATE_SEQUENCE};
use super::plan::Role;
use crate::check::{Content, Event, OpGuard, Span, Tp};
use crate::client::{
    encode_batch, produce_request, BatchSpec, CallError, Connection, Pending, ProduceAnswer, Sequenced,
};

/// Kafka's limit of requests in flight that keeps the order.
const WINDOW_MAX: usize = 5;
/// How long the broker may wait for replicas.
const TIMEOUT_MS: i32 = 3_000;

/// A partition with the producer's place in it.
struct Lane {
    tp: Tp,
    stream: u32,
    next: u64,
}

/// A batch until it is acknowledged.
#[derive(Clone)]
struct Batch {
    /// The order in which batches were made.
    number: u64,
    lane: usize,
    first: Content,
    count: u32,
    bytes: Bytes,
    /// Open while the batch is.
    _op: Arc<OpGuard>,
}

type Flight<'a> = VecDeque<(Pending<'a, ProduceRequest>, Vec<Batch>)>;

/// What became of a session over one connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// All is acknowledged, and there is no more to do.
    Done,
    /// The connection, the leader or the sequence is gone: try again.
    Again,
    /// The broker refuses the sequence.
    StartOver,
}

struct Producer<'a> {
    actor: &'a mut Actor,
    lanes: Vec<Lane>,
    id: (ProducerId, ProducerEpoch),
    todo: VecDeque<Batch>,
    made: u64,
}

/// Produces until the faults have stopped, and then until all is acknowledged.
pub async fn run(actor: &mut Actor) {
    loop {
        let id = init(actor).await;
        let Role::Idempotent { topics, .. } = actor.me.role.clone() else { return };
        let mut lanes = vec![];
        for tp in actor.partitions(&topics) {
            lanes.push(Lane { tp, stream: actor.new_stream(), next: 0 });
        }
        let mut producer = Producer { actor, lanes, id, todo: VecDeque::new(), made: 0 };
        if producer.live().await {
            return;
        }
    }
}

/// A producer id: asked for until there is one.
async fn init(actor: &mut Actor) -> (ProducerId, ProducerEpoch) {
    let _op = actor.begin("get a producer id");
    loop {
        let connection = actor.cluster.any().await;
        let request = |_| {
            InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(60_000)
        };
        if let Ok((response, _)) = actor.cluster.call(&connection, 0, request).await {
            if !matches!(response.error_code, 0 | 14 | 15 | 16 | 41) && !passes(response.error_code) {
                actor.surprise(format!("InitProducerId was answered with error {}", response.error_code));
            }
            if response.error_code == 0 {
                actor.cluster.worked();
                return (ProducerId(response.producer_id.0), ProducerEpoch(response.producer_epoch));
            }
        }
        actor.cluster.pause().await;
    }
}

impl Producer<'_> {
    /// Whether it came to its end; else it must start over.
    async fn live(&mut self) -> bool {
        loop {
            if self.todo.is_empty() {
                if !self.actor.works() {
                    return true;
                }
                self.make();
            }
            let Some(lane) = self.todo.front().map(|batch| batch.lane) else { continue };
            let tp = self.lanes[lane].tp.clone();
            let (connection, id) = self.actor.cluster.leader(&tp.topic, tp.partition).await;
            match self.session(&connection, &tp.topic, id).await {
                End::Done => {}
                End::Again => self.actor.cluster.pause().await,
                End::StartOver => return false,
            }
        }
    }

    /// Makes the next batch of a random lane.
    fn make(&mut self) {
        let Role::Idempotent { records_max, padding_max, .. } = self.actor.me.role else { return };
        let dice = self.actor.cluster.dice().clone();
        let lane = dice.below(self.lanes.len() as u64) as usize;
        let count = dice.range(1..records_max + 1) as u32;
        let compression = compression(&dice, self.actor.plan.zstd);
        let at = &mut self.lanes[lane];
        let first = Content { client: self.actor.cluster.client(), stream: at.stream, counter: at.next };
        let (id, epoch) = self.id;
        let base = Sequence(at.next as i32);
        at.next += u64::from(count);
        let bytes = encode_batch(&BatchSpec {
            first,
            count,
            padding: dice.range(0..padding_max + 1) as usize,
            compression,
            producer: Some(Sequenced { id, epoch, base }),
            timestamp: clock::wall_ms(),
            scatter_ms: scatter_ms(&dice),
        });
        let tp = at.tp.clone();
        let op = Arc::new(self.actor.begin(format!("produce {first} to {tp}")));
        let at = self.actor.history().now();
        self.actor.record(Event::Produced { tp, first, count, idempotent: true, at });
        self.made += 1;
        self.todo.push_back(Batch { number: self.made, lane, first, count, bytes, _op: op });
    }

    /// Sends and takes answers over one connection, in one version, to the partitions of one topic.
    async fn session(&mut self, connection: &Connection, topic: &str, id: uuid::Uuid) -> End {
        let Role::Idempotent { window, acks, .. } = self.actor.me.role else { return End::Done };
        let floor = if self.actor.plan.zstd { 7 } else { 3 };
        let Ok(mut version) = self.actor.cluster.version(connection, ApiKey::Produce as i16, floor) else {
            return End::Again;
        };
        if id.is_nil() {
            version = version.min(12);
        }
        let mut flight: Flight<'_> = VecDeque::new();
        let mut failed: Vec<Batch> = vec![];
        let mut end = End::Done;
        loop {
            // After a failure nothing more is sent before all that is in flight is answered.
            while failed.is_empty() && flight.len() < window.min(WINDOW_MAX) {
                if self.todo.is_empty() && self.actor.works() && self.actor.cluster.dice().chance(0.7) {
                    self.make();
                }
                let batches = self.take_for(topic);
                if batches.is_empty() {
                    break;
                }
                let parts =
                    batches.iter().map(|batch| (self.lanes[batch.lane].tp.partition, batch.bytes.clone()));
                let request = produce_request(version, acks, TIMEOUT_MS, (topic, id), parts.collect());
                match connection.send_at(version, &request).await {
                    Ok(pending) => flight.push_back((pending, batches)),
                    Err(_) => {
                        failed.extend(batches);
                        end = End::Again;
                    }
                }
            }
            let Some((pending, batches)) = flight.pop_front() else { break };
            let deadline = self.actor.cluster.deadline();
            match pending.answer(deadline).await {
                Ok((response, span)) => {
                    let answers = ProduceAnswer::all(&response);
                    for batch in batches {
                        if let Err((batch, why)) = self.settle(batch, &answers, span, &failed) {
                            failed.push(batch);
                            end = match (end, why) {
                                (End::StartOver, _) | (_, End::StartOver) => End::StartOver,
                                _ => End::Again,
                            };
                        }
                    }
                }
                Err(error) => {
                    failed.extend(batches);
                    if !matches!(end, End::StartOver) {
                        end = End::Again;
                    }
                    if matches!(error, CallError::Lost) {
                        connection.close();
                    }
                }
            }
            if failed.is_empty() {
                self.actor.think().await;
            }
        }
        self.todo.extend(failed);
        self.todo.make_contiguous().sort_by_key(|batch| batch.number);
        if matches!(end, End::Again) {
            self.actor.cluster.forget(topic);
        }
        end
    }

    /// The next batches for a topic, of different partitions, as long as none of another topic comes first.
    fn take_for(&mut self, topic: &str) -> Vec<Batch> {
        let mut batches: Vec<Batch> = vec![];
        let mut lanes = BTreeSet::new();
        while let Some(next) = self.todo.front() {
            if *self.lanes[next.lane].tp.topic != *topic || !lanes.insert(next.lane) {
                break;
            }
            batches.extend(self.todo.pop_front());
        }
        batches
    }

    /// Takes in what the broker says of a batch; gives it back if it must be sent again.
    fn settle(
        &self,
        batch: Batch,
        answers: &[ProduceAnswer],
        span: Span,
        failed: &[Batch],
    ) -> Result<(), (Batch, End)> {
        let tp = &self.lanes[batch.lane].tp;
        let Some(answer) = answers.iter().find(|answer| answer.partition == tp.partition) else {
            self.actor.surprise(format!("a produce to {tp} was answered without that partition"));
            return Err((batch, End::Again));
        };
        let acked = |base| {
            let (first, count) = (batch.first, batch.count);
            let append_time = (answer.append_time >= 0).then_some(answer.append_time);
            Event::Acked { tp: tp.clone(), first, count, base, append_time, span }
        };
        // Behind a batch that failed the sequence cannot be right.
        let is_next = !failed.iter().any(|other| other.lane == batch.lane);
        match answer.error {
            0 => {
                self.actor.record(acked((answer.base_offset >= 0).then_some(answer.base_offset)));
                Ok(())
            }
            DUPLICATE_SEQUENCE => {
                self.actor.record(acked(None));
                Ok(())
            }
            error if is_about_sequence(error) && is_next => {
                let (tp, first, at) = (tp.clone(), batch.first, span.done);
                let error = format!("error {error}");
                self.actor.record(Event::SequenceRefused { tp, first, error, at });
                Err((batch, End::StartOver))
            }
            error if is_about_sequence(error) || passes(error) => Err((batch, End::Again)),
            error => {
                self.actor.surprise(format!(
                    "a produce of {} to {tp} was answered with error {error}",
                    batch.first
                ));
                Err((batch, End::Again))
            }
        }
    }
}

/// How far the timestamps of a batch are apart.
pub fn scatter_ms(dice: &norn_env::sim::Stream) -> u64 {
    if dice.chance(0.3) {
        dice.range(1..5_000)
    } else {
        0
    }
}

/// Some codec.
pub fn compression(dice: &norn_env::sim::Stream, zstd: bool) -> Compression {
    let codecs = if zstd { 5 } else { 4 };
    match dice.chance(0.5) {
        true => Compression::None,
        false => Compression::ALL[dice.below(codecs) as usize],
    }
}
