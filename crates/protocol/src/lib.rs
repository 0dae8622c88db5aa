//! Speaks Kafka's protocol: frames, request and response headers, the table of API versions, record batches, and the
//! two hot codecs (Produce requests in, Fetch responses out). Everything is bytes in, values out: no runtime, no clock,
//! no I/O, so that the broker, its tools and the simulator's clients share it.
//!
//! The other messages are encoded and decoded by the `kafka-protocol` crate; [`layout`] stands between that crate and
//! bytes from the network, because its decoders reserve memory by lengths they have not checked.

pub mod batch;
pub mod client;
pub mod compression;
pub mod fetch;
pub mod frame;
pub mod layout;
pub mod produce;
pub mod request;
pub mod response;
pub mod topic;
pub mod types;
pub mod versions;
mod wire;

pub use kafka_protocol::messages::{self, ApiKey};
pub use kafka_protocol::protocol::StrBytes;
pub use kafka_protocol::ResponseError as ErrorCode;
pub use types::{
    BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionIndex, ProducerEpoch, ProducerId, Sequence, TopicId,
};
