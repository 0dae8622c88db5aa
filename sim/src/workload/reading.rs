//! Reading partitions from positions on, as consumers do, and writing down all that comes.

use std::collections::BTreeMap;

use norn_env::clock::Duration;
use norn_protocol::client::topic_name;
use norn_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use norn_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use norn_protocol::messages::{ListOffsetsRequest, OffsetForLeaderEpochRequest};
use norn_protocol::ApiKey;
use uuid::Uuid;

use super::actor::Actor;
use super::errors::{passes, CORRUPT_MESSAGE, OFFSET_OUT_OF_RANGE};
use crate::check::{AskedTime, Event, Reader, Span, Tp};
use crate::client::{decode_batches, Appetite, CallError, Connection, Fetched, Fetcher};

/// ListOffsets' names for the ends of a partition.
pub const LATEST: i64 = -1;
pub const EARLIEST: i64 = -2;
/// ... and for the record with the largest timestamp, from version 7 on.
pub const MAX_TIMESTAMP: i64 = -3;

/// Where a reader stands in a partition.
#[derive(Clone, Debug)]
pub struct Place {
    pub tp: Tp,
    pub position: i64,
    pub pass: u32,
}

/// Positions in partitions, and the fetches of one connection.
pub struct Reading {
    pub places: BTreeMap<(String, i32), Place>,
    fetcher: Option<Fetcher>,
    sessions: bool,
    /// Where the position is gone, goes on at the first record that is left; else now and then behind the last.
    all: bool,
}

/// What a poll did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Polled {
    pub records: usize,
    /// The metadata is old: ask anew.
    pub stale: bool,
}

impl Reading {
    /// Reads nothing yet.
    pub fn new(sessions: bool) -> Self {
        Self { places: BTreeMap::new(), fetcher: None, sessions, all: false }
    }

    /// Reads nothing yet, and will leave out nothing that is there.
    pub fn of_all() -> Self {
        Self { all: true, ..Self::new(false) }
    }

    /// Reads this partition from `position` on.
    pub fn seek(&mut self, actor: &mut Actor, tp: &Tp, position: i64) {
        let place = Place { tp: tp.clone(), position, pass: actor.new_pass() };
        self.places.insert((tp.topic.to_string(), tp.partition), place);
    }

    /// A new connection has no session, and perhaps another version.
    pub fn reconnected(&mut self) {
        self.fetcher = None;
    }

    /// One fetch, and what comes of it.
    pub async fn poll(
        &mut self,
        actor: &mut Actor,
        connection: &Connection,
        appetite: Appetite,
    ) -> Result<Polled, CallError> {
        let mut fetcher = match self.fetcher.take() {
            Some(fetcher) => fetcher,
            None => {
                let floor = actor.fetch_floor();
                Fetcher::new(actor.cluster.version(connection, ApiKey::Fetch as i16, floor)?, self.sessions)
            }
        };
        let mut want = BTreeMap::new();
        for (key, place) in &self.places {
            let Some(topic) = actor.cluster.topic(&key.0) else { continue };
            let id = if place.tp.id.is_nil() { topic.id } else { place.tp.id };
            want.insert(key.clone(), (id, place.position));
        }
        let by_id = fetcher.version() >= 13;
        if want.len() < self.places.len() || by_id && want.values().any(|(id, _)| id.is_nil()) {
            return Ok(Polled { records: 0, stale: true });
        }
        let pending = connection.send_at(fetcher.version(), &fetcher.request(&want, appetite)).await?;
        let deadline = actor.cluster.deadline() + Duration::from_millis(appetite.max_wait_ms.max(0) as u64);
        let (response, span) = pending.answer(deadline).await?;
        let mut polled = Polled::default();
        match fetcher.take(response) {
            Ok(fetched) => {
                for part in fetched {
                    self.take(actor, connection, part, span, &want, &mut polled).await?;
                }
                self.fetcher = Some(fetcher);
            }
            Err(error) => {
                if !passes(error) {
                    actor.surprise(format!("a fetch was answered with error {error}"));
                }
                polled.stale = true;
            }
        }
        Ok(polled)
    }

    async fn take(
        &mut self,
        actor: &mut Actor,
        connection: &Connection,
        part: Fetched,
        span: Span,
        asked: &BTreeMap<(String, i32), (Uuid, i64)>,
        polled: &mut Polled,
    ) -> Result<(), CallError> {
        let key = (part.topic.clone(), part.partition);
        let Some(place) = self.places.get_mut(&key).filter(|_| asked.contains_key(&key)) else {
            actor.surprise(format!(
                "a fetch brought {}-{}, which was not asked for",
                part.topic, part.partition
            ));
            return Ok(());
        };
        let (tp, position) = (place.tp.clone(), place.position);
        let reader = Reader { client: actor.cluster.client(), pass: place.pass };
        match part.error {
            0 => {
                let start = (part.log_start >= 0).then_some(part.log_start);
                actor.saw_bounds(&tp, start, part.high_watermark, span);
                let decoded = decode_batches(&part.records, position);
                polled.records += decoded.records.len();
                if let Some(last) = decoded.records.last() {
                    place.position = last.offset + 1;
                    let (hw, records) = (part.high_watermark, decoded.records);
                    actor.record(Event::Read { reader, tp: tp.clone(), position, hw, records, span });
                    actor.cluster.worked();
                }
                if let Some((offset, detail)) = decoded.bad {
                    let next = place.position;
                    let offset = offset.max(next);
                    actor.record(Event::BadBytes { reader, tp: tp.clone(), offset, detail, span });
                    self.seek(actor, &tp, offset + 1);
                }
            }
            OFFSET_OUT_OF_RANGE => {
                actor.record(Event::OutOfRange { reader, tp: tp.clone(), position, span });
                let end = if self.all || actor.cluster.dice().chance(0.8) { EARLIEST } else { LATEST };
                if let Some(offset) = list_offset(actor, connection, &tp, end).await? {
                    self.seek(actor, &tp, offset);
                }
            }
            CORRUPT_MESSAGE => {
                actor.record(Event::Corrupt { reader, tp: tp.clone(), offset: position, span });
                self.seek(actor, &tp, position + 1);
            }
            error if passes(error) => polled.stale = true,
            error => {
                actor.surprise(format!("a fetch of {tp} was answered with error {error}"));
                polled.stale = true;
            }
        }
        Ok(())
    }
}

/// An offset by timestamp, or one of the ends; none if the broker cannot say now, or there is none.
pub async fn list_offset(
    actor: &mut Actor,
    connection: &Connection,
    tp: &Tp,
    timestamp: i64,
) -> Result<Option<i64>, CallError> {
    let part = ListOffsetsPartition::default().with_partition_index(tp.partition).with_timestamp(timestamp);
    let of_topic = ListOffsetsTopic::default().with_name(topic_name(&tp.topic)).with_partitions(vec![part]);
    let request = |_| {
        ListOffsetsRequest::default()
            .with_replica_id(norn_protocol::messages::BrokerId(-1))
            .with_topics(vec![of_topic])
    };
    let floor = if timestamp == MAX_TIMESTAMP { 7 } else { 1 };
    let (response, span) = actor.cluster.call(connection, floor, request).await?;
    let answers: Vec<_> = response.topics.iter().flat_map(|topic| &topic.partitions).collect();
    let [answer] = answers[..] else {
        actor.surprise(format!("ListOffsets of {tp} was answered for {} partitions", answers.len()));
        return Ok(None);
    };
    match answer.error_code {
        0 => {}
        error if passes(error) => return Ok(None),
        CORRUPT_MESSAGE => {
            actor.record(Event::TimeCorrupt { tp: tp.clone(), span });
            return Ok(None);
        }
        error => {
            actor.surprise(format!("ListOffsets of {tp} at {timestamp} was answered with error {error}"));
            return Ok(None);
        }
    }
    let found = (answer.offset >= 0).then_some((answer.offset, answer.timestamp));
    let asked = match timestamp {
        MAX_TIMESTAMP => Some(AskedTime::Largest),
        time => (time >= 0).then_some(AskedTime::Since(time)),
    };
    match (timestamp, asked) {
        (_, Some(asked)) => actor.record(Event::TimeFound { tp: tp.clone(), asked, found, span }),
        (LATEST, _) => actor.saw_bounds(tp, None, answer.offset, span),
        _ => actor.record(Event::Start { tp: tp.clone(), start: answer.offset, span }),
    }
    Ok((answer.offset >= 0).then_some(answer.offset))
}

/// Where an epoch ended, or the last one before it.
pub async fn epoch_end(
    actor: &mut Actor,
    connection: &Connection,
    tp: &Tp,
    epoch: i32,
) -> Result<(), CallError> {
    let part = OffsetForLeaderPartition::default()
        .with_partition(tp.partition)
        .with_current_leader_epoch(-1)
        .with_leader_epoch(epoch);
    let of_topic =
        OffsetForLeaderTopic::default().with_topic(topic_name(&tp.topic)).with_partitions(vec![part]);
    let request = |_| {
        let consumer = norn_protocol::messages::BrokerId(-1);
        OffsetForLeaderEpochRequest::default().with_replica_id(consumer).with_topics(vec![of_topic])
    };
    let (response, span) = actor.cluster.call(connection, 2, request).await?;
    for answer in response.topics.iter().flat_map(|topic| &topic.partitions) {
        match answer.error_code {
            0 => {
                let found = (answer.end_offset >= 0).then_some((answer.leader_epoch, answer.end_offset));
                actor.record(Event::EpochEnd { tp: tp.clone(), asked: epoch, found, span });
            }
            error if passes(error) => {}
            error => {
                actor.surprise(format!("OffsetForLeaderEpoch of {tp} was answered with error {error}"));
            }
        }
    }
    Ok(())
}

/// The latest offset of a partition: asked for until there is an answer.
pub async fn latest(actor: &mut Actor, tp: &Tp) -> i64 {
    end_of(actor, tp, LATEST).await
}

/// The earliest offset of a partition: asked for until there is an answer.
pub async fn earliest(actor: &mut Actor, tp: &Tp) -> i64 {
    end_of(actor, tp, EARLIEST).await
}

async fn end_of(actor: &mut Actor, tp: &Tp, which: i64) -> i64 {
    loop {
        let (connection, _) = actor.cluster.leader(&tp.topic, tp.partition).await;
        if let Ok(Some(offset)) = list_offset(actor, &connection, tp, which).await {
            return offset;
        }
        actor.cluster.forget(&tp.topic);
        actor.cluster.pause().await;
    }
}

/// Reads on until every place is at its `ends`; tries again whatever happens.
pub async fn read_to(actor: &mut Actor, reading: &mut Reading, ends: &BTreeMap<(String, i32), i64>) {
    // As much as the slowest of networks brings before the client gives up.
    let appetite =
        Appetite { max_wait_ms: 500, min_bytes: 1, max_bytes: 1 << 20, partition_max_bytes: 1 << 20 };
    reading.reconnected();
    while let Some(behind) = behind(reading, ends) {
        let (connection, _) = actor.cluster.leader(&behind.topic, behind.partition).await;
        for (topic, _) in reading.places.keys() {
            if actor.cluster.topic(topic).is_none() {
                // What it says shows when the topic is asked for.
                let _ = actor.cluster.refresh(topic, false).await;
            }
        }
        while self::behind(reading, ends).is_some() {
            match reading.poll(actor, &connection, appetite).await {
                Ok(Polled { stale: false, .. }) => {}
                _ => {
                    let topics: Vec<String> = reading.places.keys().map(|(topic, _)| topic.clone()).collect();
                    topics.iter().for_each(|topic| actor.cluster.forget(topic));
                    reading.reconnected();
                    actor.cluster.pause().await;
                    break;
                }
            }
        }
    }
}

fn behind(reading: &Reading, ends: &BTreeMap<(String, i32), i64>) -> Option<Tp> {
    let mut places = reading.places.iter();
    let behind = places.find(|(key, place)| ends.get(*key).is_some_and(|end| place.position < *end));
    behind.map(|(_, place)| place.tp.clone())
}
