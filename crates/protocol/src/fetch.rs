//! Fetch responses, written by hand (versions 4 to 18): the hot path out. A response becomes a list of parts: the bytes
//! around the records, and the records as they are, in memory or as a range of a file that goes to the socket without
//! entering this process. The `kafka-protocol` crate's encoder is the oracle in the tests.

use bytes::{BufMut, Bytes, BytesMut};

use crate::response::EncodeError;
use crate::topic::TopicName;
use crate::types::{ErrorCode, LeaderEpoch, NodeId, Offset, PartitionIndex, ProducerId, TopicId};
use crate::wire::put_uvarint;
use crate::ApiKey;

const LOG_START_FROM: i16 = 5;
const SESSIONS_FROM: i16 = 7;
const PREFERRED_REPLICA_FROM: i16 = 11;
const FLEXIBLE_FROM: i16 = 12;
const TOPIC_IDS_FROM: i16 = 13;
const ENDPOINTS_FROM: i16 = 16;

const SIZE_LEN: usize = 4;

/// A piece of a response, in the order of sending. `F` is how the caller names a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Part<F> {
    /// Bytes in memory.
    Bytes(Bytes),
    /// A range of a file.
    File {
        /// Which file.
        file: F,
        /// Where the range begins, in bytes.
        pos: u64,
        /// Its length, in bytes.
        len: u64,
    },
}

impl<F> Part<F> {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Part::Bytes(bytes) => bytes.len() as u64,
            Part::File { len, .. } => *len,
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A Fetch response; fields that a version lacks are left out of its encoding.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchResponse<F> {
    /// How long the client was held back for its quota, in ms.
    pub throttle_time_ms: i32,
    /// An error of the whole request, such as a fetch session's (from version 7).
    pub error: Option<ErrorCode>,
    /// The fetch session, 0 for none (from version 7).
    pub session_id: i32,
    /// What was fetched, by topic.
    pub topics: Vec<FetchedTopic<F>>,
    /// Where the leaders named in the partitions are (KIP-951, from version 16).
    pub endpoints: Vec<NodeEndpoint>,
}

impl<F> Default for FetchResponse<F> {
    fn default() -> Self {
        FetchResponse {
            throttle_time_ms: 0,
            error: None,
            session_id: 0,
            topics: Vec::new(),
            endpoints: Vec::new(),
        }
    }
}

/// One topic of a Fetch response.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchedTopic<F> {
    /// Its name (up to version 12).
    pub name: TopicName,
    /// Its id (from version 13).
    pub id: TopicId,
    /// What was fetched, by partition.
    pub partitions: Vec<FetchedPartition<F>>,
}

/// One partition of a Fetch response.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchedPartition<F> {
    /// Which partition.
    pub index: PartitionIndex,
    /// Why nothing could be read.
    pub error: Option<ErrorCode>,
    /// The offset below which records are committed.
    pub high_watermark: Offset,
    /// The offset below which no transaction is open.
    pub last_stable_offset: Offset,
    /// The first offset that is kept (from version 5).
    pub log_start: Offset,
    /// Where the fetcher's log and this one part: the largest epoch they share and its end (KIP-595, from version 12).
    pub diverging: Option<(LeaderEpoch, Offset)>,
    /// Who leads, if the fetcher was wrong about it (from version 12).
    pub current_leader: Option<(NodeId, LeaderEpoch)>,
    /// Aborted transactions in the range, with their first offsets; `None` if the fetcher reads uncommitted.
    pub aborted: Option<Vec<(ProducerId, Offset)>>,
    /// The replica to read from instead, or [`NodeId::NONE`] (KIP-392, from version 11).
    pub preferred_read_replica: NodeId,
    /// The record batches, whole but for the last.
    pub records: Vec<Part<F>>,
}

impl<F> FetchedPartition<F> {
    /// A partition that could not be read.
    pub fn failed(index: PartitionIndex, error: ErrorCode) -> Self {
        FetchedPartition {
            index,
            error: Some(error),
            high_watermark: Offset::NONE,
            last_stable_offset: Offset::NONE,
            log_start: Offset::NONE,
            diverging: None,
            current_leader: None,
            aborted: None,
            preferred_read_replica: NodeId::NONE,
            records: Vec::new(),
        }
    }

    fn records_len(&self) -> u64 {
        self.records.iter().map(Part::len).sum()
    }
}

/// How to reach a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeEndpoint {
    /// Which node.
    pub node: NodeId,
    /// Its advertised host.
    pub host: String,
    /// Its advertised port.
    pub port: i32,
    /// Its rack.
    pub rack: Option<String>,
}

impl<F> FetchResponse<F> {
    /// The response as it goes to the socket: the first part begins with the size, which counts all parts.
    pub fn encode(self, correlation: i32, version: i16) -> Result<Vec<Part<F>>, EncodeError> {
        let mut writer =
            Writer { buf: BytesMut::with_capacity(256), version, cuts: Vec::new(), records_len: 0 };
        writer.buf.put_i32(0);
        writer.buf.put_i32(correlation);
        if ApiKey::Fetch.response_header_version(version) >= 1 {
            writer.buf.put_u8(0); // no tagged fields
        }
        writer.response(self).and_then(|()| writer.finish()).map_err(|reason| EncodeError {
            key: ApiKey::Fetch,
            version,
            reason,
        })
    }
}

/// All that surrounds the records, in one buffer, and where the records belong in it.
struct Writer<F> {
    buf: BytesMut,
    version: i16,
    cuts: Vec<(usize, Vec<Part<F>>)>,
    records_len: u64,
}

impl<F> Writer<F> {
    fn flexible(&self) -> bool {
        self.version >= FLEXIBLE_FROM
    }

    fn response(&mut self, response: FetchResponse<F>) -> Result<(), String> {
        self.buf.put_i32(response.throttle_time_ms);
        if self.version >= SESSIONS_FROM {
            self.error(response.error);
            self.buf.put_i32(response.session_id);
        }
        self.array_len(Some(response.topics.len()))?;
        for topic in response.topics {
            self.topic(topic)?;
        }
        if self.flexible() {
            if self.version >= ENDPOINTS_FROM && !response.endpoints.is_empty() {
                put_uvarint(&mut self.buf, 1);
                self.endpoints(&response.endpoints)?;
            } else {
                self.no_tags();
            }
        }
        Ok(())
    }

    fn topic(&mut self, topic: FetchedTopic<F>) -> Result<(), String> {
        if self.version >= TOPIC_IDS_FROM {
            self.buf.put_slice(topic.id.0.as_bytes());
        } else {
            self.string(&topic.name)?;
        }
        self.array_len(Some(topic.partitions.len()))?;
        for partition in topic.partitions {
            self.partition(partition)?;
        }
        self.no_tags();
        Ok(())
    }

    fn partition(&mut self, partition: FetchedPartition<F>) -> Result<(), String> {
        self.buf.put_i32(partition.index.0);
        self.error(partition.error);
        self.buf.put_i64(partition.high_watermark.0);
        self.buf.put_i64(partition.last_stable_offset.0);
        if self.version >= LOG_START_FROM {
            self.buf.put_i64(partition.log_start.0);
        }
        self.array_len(partition.aborted.as_ref().map(Vec::len))?;
        for (producer, first) in partition.aborted.iter().flatten() {
            self.buf.put_i64(producer.0);
            self.buf.put_i64(first.0);
            self.no_tags();
        }
        if self.version >= PREFERRED_REPLICA_FROM {
            self.buf.put_i32(partition.preferred_read_replica.0);
        }
        let len = partition.records_len();
        let len = i32::try_from(len).map_err(|_| format!("{len} bytes of records for one partition"))?;
        match self.flexible() {
            true => put_uvarint(&mut self.buf, len as u32 + 1),
            false => self.buf.put_i32(len),
        }
        if len > 0 {
            self.records_len += len as u64;
            self.cuts.push((self.buf.len(), partition.records));
        }
        if self.flexible() {
            self.partition_tags(partition.diverging, partition.current_leader);
        }
        Ok(())
    }

    /// Tag 0: where the logs diverge; tag 1: who leads. Both are an epoch with its own empty tagged fields.
    fn partition_tags(
        &mut self,
        diverging: Option<(LeaderEpoch, Offset)>,
        leader: Option<(NodeId, LeaderEpoch)>,
    ) {
        put_uvarint(&mut self.buf, u32::from(diverging.is_some()) + u32::from(leader.is_some()));
        if let Some((epoch, end)) = diverging {
            put_uvarint(&mut self.buf, 0);
            put_uvarint(&mut self.buf, 13);
            self.buf.put_i32(epoch.0);
            self.buf.put_i64(end.0);
            self.no_tags();
        }
        if let Some((node, epoch)) = leader {
            put_uvarint(&mut self.buf, 1);
            put_uvarint(&mut self.buf, 9);
            self.buf.put_i32(node.0);
            self.buf.put_i32(epoch.0);
            self.no_tags();
        }
    }

    /// Tag 0 of the response, whose size goes before it.
    fn endpoints(&mut self, endpoints: &[NodeEndpoint]) -> Result<(), String> {
        let outer = std::mem::take(&mut self.buf);
        self.array_len(Some(endpoints.len()))?;
        for endpoint in endpoints {
            self.buf.put_i32(endpoint.node.0);
            self.string(&endpoint.host)?;
            self.buf.put_i32(endpoint.port);
            match &endpoint.rack {
                None => put_uvarint(&mut self.buf, 0),
                Some(rack) => self.string(rack)?,
            }
            self.no_tags();
        }
        let inner = std::mem::replace(&mut self.buf, outer);
        put_uvarint(&mut self.buf, 0);
        put_uvarint(&mut self.buf, inner.len() as u32);
        self.buf.extend_from_slice(&inner);
        Ok(())
    }

    fn error(&mut self, error: Option<ErrorCode>) {
        self.buf.put_i16(error.map_or(0, |error| error.code()));
    }

    fn string(&mut self, text: &str) -> Result<(), String> {
        let len = i16::try_from(text.len()).map_err(|_| format!("a string of {} bytes", text.len()))?;
        match self.flexible() {
            true => put_uvarint(&mut self.buf, len as u32 + 1),
            false => self.buf.put_i16(len),
        }
        self.buf.put_slice(text.as_bytes());
        Ok(())
    }

    fn array_len(&mut self, len: Option<usize>) -> Result<(), String> {
        let len = match len {
            None => -1,
            Some(len) => i32::try_from(len).map_err(|_| format!("an array of {len} elements"))?,
        };
        match self.flexible() {
            true => put_uvarint(&mut self.buf, (len + 1) as u32),
            false => self.buf.put_i32(len),
        }
        Ok(())
    }

    fn no_tags(&mut self) {
        if self.flexible() {
            self.buf.put_u8(0);
        }
    }

    fn finish(&mut self) -> Result<Vec<Part<F>>, String> {
        let size = (self.buf.len() - SIZE_LEN) as u64 + self.records_len;
        let size = i32::try_from(size).map_err(|_| format!("{size} bytes are larger than a frame"))?;
        self.buf[..SIZE_LEN].copy_from_slice(&size.to_be_bytes());
        let around = std::mem::take(&mut self.buf).freeze();
        let mut parts = Vec::with_capacity(2 * self.cuts.len() + 1);
        let mut at = 0;
        for (cut, records) in self.cuts.drain(..) {
            parts.push(Part::Bytes(around.slice(at..cut)));
            parts.extend(records.into_iter().filter(|part| !part.is_empty()));
            at = cut;
        }
        if at < around.len() {
            parts.push(Part::Bytes(around.slice(at..)));
        }
        Ok(parts)
    }
}

#[cfg(test)]
mod tests;
