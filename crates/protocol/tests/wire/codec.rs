//! Requests of every API and version, written from the layouts with random content, and the codec of each by its key.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages as m;
use kafka_protocol::protocol::{Decodable, Encodable, Request};
use norn_protocol::layout::{self, Field, Kind};
use norn_protocol::request::{RequestError, RequestHead};
use norn_protocol::ApiKey;

/// A stream of numbers from a seed (splitmix64).
pub struct Entropy(pub u64);

impl Entropy {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// The body of a valid request. No field is null, no tagged field has its default, so that the crate writes it back as
/// it is.
pub fn body(key: ApiKey, version: i16, seed: u64) -> Bytes {
    write(key, version, seed, false)
}

/// As [`body`], with strings of any bytes.
pub fn body_with_any_strings(key: ApiKey, version: i16, seed: u64) -> Bytes {
    write(key, version, seed, true)
}

fn write(key: ApiKey, version: i16, seed: u64, any_strings: bool) -> Bytes {
    let flexible = key.request_header_version(version) >= 2;
    let entropy = Entropy(seed);
    let mut writer = Writer { buf: BytesMut::new(), version, flexible, entropy, any_strings };
    writer.structure(layout::request(key).expect("every API of the table has a layout"));
    writer.buf.freeze()
}

/// A frame without its size: header version 1 or 2, then `body`.
pub fn frame(key: ApiKey, version: i16, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.put_i16(key as i16);
    frame.put_i16(version);
    frame.put_i32(1);
    frame.put_i16(-1);
    if key.request_header_version(version) >= 2 {
        frame.put_u8(0);
    }
    frame.put_slice(body);
    frame
}

struct Writer {
    buf: BytesMut,
    version: i16,
    flexible: bool,
    entropy: Entropy,
    /// Whether strings hold any bytes, and not letters only.
    any_strings: bool,
}

impl Writer {
    fn structure(&mut self, fields: &[Field]) {
        let (tagged, plain): (Vec<&Field>, Vec<&Field>) =
            fields.iter().filter(|field| field.is_in(self.version)).partition(|field| field.tag.is_some());
        plain.iter().for_each(|field| self.value(field.kind));
        if self.flexible {
            self.tags(tagged);
        }
    }

    fn tags(&mut self, mut known: Vec<&Field>) {
        known.retain(|_| self.entropy.below(2) == 0);
        known.sort_by_key(|field| field.tag);
        let unknown = self.entropy.below(3);
        self.uvarint(known.len() as u32 + unknown as u32);
        for field in known {
            let outer = std::mem::take(&mut self.buf);
            self.value(field.kind);
            let inner = std::mem::replace(&mut self.buf, outer);
            self.uvarint(field.tag.unwrap());
            self.uvarint(inner.len() as u32);
            self.buf.put_slice(&inner);
        }
        for i in 0..unknown {
            self.uvarint(100 + 1000 * i as u32);
            let len = self.entropy.below(4);
            self.uvarint(len as u32);
            self.bytes(len);
        }
    }

    fn value(&mut self, kind: Kind) {
        match kind {
            Kind::Fixed(1) => self.buf.put_u8(self.entropy.below(2) as u8),
            Kind::Fixed(len) => self.bytes(len as u64),
            Kind::Str => {
                let len = self.entropy.below(12);
                self.length(len, true);
                for _ in 0..len {
                    let any = self.any_strings && self.entropy.below(2) == 0;
                    let byte =
                        if any { self.entropy.below(256) } else { u64::from(b'a') + self.entropy.below(26) };
                    self.buf.put_u8(byte as u8);
                }
            }
            Kind::Bytes => {
                let len = self.entropy.below(200);
                self.length(len, false);
                self.bytes(len);
            }
            Kind::List(element) => {
                let len = self.array();
                (0..len).for_each(|_| self.value(*element));
            }
            Kind::Struct(fields) => self.structure(fields),
            Kind::Nullable(fields) => {
                self.buf.put_i8(1);
                self.structure(fields);
            }
            Kind::Structs(fields) => {
                let len = self.array();
                (0..len).for_each(|_| self.structure(fields));
            }
        }
    }

    fn array(&mut self) -> u64 {
        let len = self.entropy.below(4);
        self.length(len, false);
        len
    }

    fn length(&mut self, len: u64, short: bool) {
        match (self.flexible, short) {
            (true, _) => self.uvarint(len as u32 + 1),
            (false, true) => self.buf.put_i16(len as i16),
            (false, false) => self.buf.put_i32(len as i32),
        }
    }

    fn bytes(&mut self, len: u64) {
        for _ in 0..len {
            self.buf.put_u8(self.entropy.below(256) as u8);
        }
    }

    fn uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.buf.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.buf.put_u8(value as u8);
    }
}

/// Decodes and encodes with the crate alone; what was not read comes with it.
fn recode_as<R: Request>(version: i16, mut body: Bytes) -> Result<(Bytes, Bytes), String> {
    let request = <R as Decodable>::decode(&mut body, version).map_err(|error| error.to_string())?;
    let mut again = BytesMut::new();
    <R as Encodable>::encode(&request, &mut again, version).map_err(|error| error.to_string())?;
    Ok((again.freeze(), body))
}

macro_rules! for_each_api {
    ($($name:ident => $request:ident),* $(,)?) => {
        /// What the crate makes of a body: the same request written again, and the bytes it left.
        pub fn recode(key: ApiKey, version: i16, body: Bytes) -> Result<(Bytes, Bytes), String> {
            match key {
                $(ApiKey::$name => recode_as::<m::$request>(version, body),)*
                other => panic!("{other:?} is in the table and not here"),
            }
        }

        /// Decodes a body as its handler would, and drops it.
        pub fn decode(head: &RequestHead) -> Result<(), RequestError> {
            match ApiKey::try_from(head.key) {
                $(Ok(ApiKey::$name) => head.decode_body::<m::$request>().map(drop),)*
                other => panic!("{other:?} is in the table and not here"),
            }
        }
    };
}

for_each_api! {
    Produce => ProduceRequest,
    Fetch => FetchRequest,
    ListOffsets => ListOffsetsRequest,
    Metadata => MetadataRequest,
    OffsetCommit => OffsetCommitRequest,
    OffsetFetch => OffsetFetchRequest,
    FindCoordinator => FindCoordinatorRequest,
    JoinGroup => JoinGroupRequest,
    Heartbeat => HeartbeatRequest,
    LeaveGroup => LeaveGroupRequest,
    SyncGroup => SyncGroupRequest,
    DescribeGroups => DescribeGroupsRequest,
    ListGroups => ListGroupsRequest,
    ApiVersions => ApiVersionsRequest,
    CreateTopics => CreateTopicsRequest,
    DeleteTopics => DeleteTopicsRequest,
    DeleteRecords => DeleteRecordsRequest,
    InitProducerId => InitProducerIdRequest,
    OffsetForLeaderEpoch => OffsetForLeaderEpochRequest,
    DescribeAcls => DescribeAclsRequest,
    CreateAcls => CreateAclsRequest,
    DeleteAcls => DeleteAclsRequest,
    DescribeConfigs => DescribeConfigsRequest,
    DescribeLogDirs => DescribeLogDirsRequest,
    CreatePartitions => CreatePartitionsRequest,
    DeleteGroups => DeleteGroupsRequest,
    AlterConfigs => AlterConfigsRequest,
    ElectLeaders => ElectLeadersRequest,
    IncrementalAlterConfigs => IncrementalAlterConfigsRequest,
    AlterPartitionReassignments => AlterPartitionReassignmentsRequest,
    ListPartitionReassignments => ListPartitionReassignmentsRequest,
    OffsetDelete => OffsetDeleteRequest,
    DescribeClientQuotas => DescribeClientQuotasRequest,
    DescribeUserScramCredentials => DescribeUserScramCredentialsRequest,
    DescribeQuorum => DescribeQuorumRequest,
    UpdateFeatures => UpdateFeaturesRequest,
    DescribeCluster => DescribeClusterRequest,
    DescribeProducers => DescribeProducersRequest,
    ListConfigResources => ListConfigResourcesRequest,
    DescribeTopicPartitions => DescribeTopicPartitionsRequest,
}
