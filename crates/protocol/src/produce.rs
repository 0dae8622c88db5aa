//! Produce requests, read by hand (versions 3 to 13): the hot path in. Record batches and names stay slices of the frame,
//! so that a produced byte is not copied between the socket's buffer and the log. The `kafka-protocol` crate's decoder
//! is the oracle in the tests.

use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;

use crate::layout::ELEMENTS_MAX;
use crate::request::{RequestError, RequestHead};
use crate::types::{PartitionIndex, TopicId};
use crate::wire::{Reader, WireError};
use crate::ApiKey;

const FLEXIBLE_FROM: i16 = 9;
const TOPIC_IDS_FROM: i16 = 13;

/// A Produce request of any served version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProduceRequest {
    /// The transactional producer, if it is one.
    pub transactional_id: Option<StrBytes>,
    /// 0: no answer; 1: written by the leader; -1: by all in-sync replicas. Other values are the client's error.
    pub acks: i16,
    /// How long the client waits for the acknowledgements, in ms.
    pub timeout_ms: i32,
    /// What to append, by topic.
    pub topics: Vec<ProduceTopic>,
}

/// One topic's share of a Produce request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProduceTopic {
    /// Which topic.
    pub topic: TopicRef,
    /// What to append, by partition.
    pub partitions: Vec<ProducePartition>,
}

/// A topic as a client names it: by id from version 13 on (KIP-516).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TopicRef {
    /// By its name.
    Name(StrBytes),
    /// By its id.
    Id(TopicId),
}

/// One partition's share of a Produce request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProducePartition {
    /// Which partition.
    pub index: PartitionIndex,
    /// The record batch, unread: [`crate::batch::produced_batch`] checks it.
    pub records: Option<Bytes>,
}

impl TopicRef {
    /// Its name, if that is what it has, and its id, or none.
    pub fn name_or_id(&self) -> (Option<&str>, TopicId) {
        match self {
            TopicRef::Name(name) => (Some(name.as_str()), TopicId::NONE),
            TopicRef::Id(id) => (None, *id),
        }
    }

    /// The same, without a hold on the request's frame.
    pub fn into_owned(self) -> TopicRef {
        match self {
            TopicRef::Name(name) => TopicRef::Name(StrBytes::from_string(name.as_str().to_owned())),
            TopicRef::Id(id) => TopicRef::Id(id),
        }
    }
}

impl ProduceRequest {
    /// Reads the body of a Produce request of a served version.
    pub fn decode(version: i16, body: &Bytes) -> Result<ProduceRequest, WireError> {
        let flexible = version >= FLEXIBLE_FROM;
        let mut decoder = Decoder { reader: Reader::new(body), version, flexible, elements: 0 };
        decoder.request()
    }
}

impl RequestHead {
    /// Decodes the body of a Produce request.
    pub fn decode_produce(&self) -> Result<ProduceRequest, RequestError> {
        assert_eq!(self.key, ApiKey::Produce as i16, "a body decoded as another API's");
        let api = self.api()?;
        ProduceRequest::decode(self.version, &self.body).map_err(|error| RequestError::Body {
            key: api.key,
            version: self.version,
            reason: error.to_string(),
        })
    }
}

/// The first partition that a Produce request names, by the first bytes of its frame; `None` if they do not reach that far
/// or cannot be read.
pub fn first_partition(begins: &[u8]) -> Option<(TopicRef, PartitionIndex)> {
    let head = RequestHead::parse(Bytes::copy_from_slice(begins)).ok()?;
    if head.key != ApiKey::Produce as i16 || head.api().is_err() {
        return None;
    }
    let flexible = head.version >= FLEXIBLE_FROM;
    let reader = Reader::new(&head.body);
    let mut decoder = Decoder { reader, version: head.version, flexible, elements: 0 };
    let reader = &mut decoder.reader;
    reader.string(flexible).ok()?;
    reader.i16().ok()?;
    reader.i32().ok()?;
    reader.long_len(flexible).ok().flatten().filter(|topics| *topics > 0)?;
    let topic = decoder.topic_ref().ok()?;
    let reader = &mut decoder.reader;
    reader.long_len(flexible).ok().flatten().filter(|partitions| *partitions > 0)?;
    Some((topic, PartitionIndex(reader.i32().ok()?)))
}

struct Decoder<'a> {
    reader: Reader<'a>,
    version: i16,
    flexible: bool,
    elements: usize,
}

impl Decoder<'_> {
    fn request(&mut self) -> Result<ProduceRequest, WireError> {
        let request = ProduceRequest {
            transactional_id: self.reader.string(self.flexible)?,
            acks: self.reader.i16()?,
            timeout_ms: self.reader.i32()?,
            topics: self.array(Self::topic)?,
        };
        self.tags()?;
        Ok(request)
    }

    fn topic(&mut self) -> Result<ProduceTopic, WireError> {
        let topic = self.topic_ref()?;
        let topic = ProduceTopic { topic, partitions: self.array(Self::partition)? };
        self.tags()?;
        Ok(topic)
    }

    fn topic_ref(&mut self) -> Result<TopicRef, WireError> {
        Ok(if self.version >= TOPIC_IDS_FROM {
            TopicRef::Id(TopicId(self.reader.uuid()?))
        } else {
            TopicRef::Name(self.reader.string(self.flexible)?.ok_or(WireError::NegativeLength)?)
        })
    }

    fn partition(&mut self) -> Result<ProducePartition, WireError> {
        let index = PartitionIndex(self.reader.i32()?);
        let records = match self.reader.long_len(self.flexible)? {
            None => None,
            Some(len) => Some(self.reader.take_bytes(len)?),
        };
        self.tags()?;
        Ok(ProducePartition { index, records })
    }

    /// An array of elements that take at least three bytes each. Room is reserved for no more of them than the bytes
    /// that are left could hold.
    fn array<T>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<T, WireError>,
    ) -> Result<Vec<T>, WireError> {
        let len = self.reader.long_len(self.flexible)?.ok_or(WireError::NegativeLength)?;
        if len > self.reader.remaining() / 3 {
            return Err(WireError::Truncated);
        }
        self.elements += len;
        if self.elements > ELEMENTS_MAX {
            return Err(WireError::TooManyElements);
        }
        let mut all = Vec::with_capacity(len);
        for _ in 0..len {
            all.push(element(self)?);
        }
        Ok(all)
    }

    fn tags(&mut self) -> Result<(), WireError> {
        match self.flexible {
            true => self.reader.skip_tags(),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
