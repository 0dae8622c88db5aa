//! The table as bytes, which the log stores beside its segments without looking into them.

use std::collections::BTreeMap;

use bytes::Bytes;
use norn_protocol::types::{Offset, ProducerId};

use super::entry::ProducerEntry;
use super::table::{ProducerTable, BATCHES_KEPT};
use crate::codec::{seal, unseal, DecodeError, Wire};

const VERSION: u16 = 2;

/// A snapshot that cannot be used. The caller takes an older one, or replays the whole log.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the producer snapshot cannot be read: {0}")]
pub struct SnapshotError(#[from] DecodeError);

impl Wire for ProducerTable {
    fn put(&self, out: &mut Vec<u8>) {
        self.end.put(out);
        self.producers.put(out);
    }

    fn take(input: &mut &[u8]) -> Result<Self, DecodeError> {
        let end = Offset::take(input)?;
        let producers = BTreeMap::<ProducerId, ProducerEntry>::take(input)?;
        for entry in producers.values() {
            let Some(newest) = entry.batches.back() else {
                return Err(DecodeError::Inconsistent("a producer without a batch"));
            };
            if entry.batches.len() > BATCHES_KEPT {
                return Err(DecodeError::Inconsistent("more batches of a producer than are kept"));
            }
            if newest.last_offset >= end {
                return Err(DecodeError::Inconsistent("a batch beyond the snapshot's end"));
            }
        }
        Ok(ProducerTable { producers, end })
    }
}

impl ProducerTable {
    /// The table as bytes, with version and CRC-32C.
    pub fn encode(&self) -> Bytes {
        seal(VERSION, self).into()
    }

    /// The table that these bytes hold.
    pub fn decode(bytes: &[u8]) -> Result<ProducerTable, SnapshotError> {
        Ok(unseal(VERSION, bytes)?)
    }
}
