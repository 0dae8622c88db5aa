//! The one bound for decompressing and decoding records on a node: on processor time and on memory together.

use norn_env::{
    budget::{Budget, Permit},
    task,
};
use norn_protocol::batch::{Batch, HEADER_LEN, UNPACKED_MAX};
use norn_protocol::compression::{Compression, Decompressor};

/// Memory of all decoders at once, in bytes.
const BYTES: usize = 256 << 20;
/// What each decoder counts at least, so that at most eight run at once: Kafka's `num.io.threads`.
const BYTES_MIN: usize = BYTES / 8;

/// A batch up to this length is begun on the executor, in bytes.
const BEGUN_HERE_MAX: usize = 16 << 10;
/// What is unpacked on the executor before the rest is moved off it, in bytes: some tens of microseconds.
const UNPACKED_HERE_MAX: u64 = 64 << 10;
/// Records that are not compressed and looked into on the executor, in bytes: mostly they are passed over.
const PLAIN_HERE_MAX: usize = 1 << 20;

/// Permits to decode batches. Cheap to clone; all clones share one bound.
#[derive(Clone, Debug)]
pub struct Decoding {
    memory: Budget,
}

impl Default for Decoding {
    fn default() -> Self {
        Decoding { memory: Budget::new("the memory to decode records in", BYTES as u64) }
    }
}

impl Decoding {
    /// Runs `work` on a batch. It is told how many bytes it may unpack, and gives `None` where that is too few: then it
    /// runs again from the start, off the executor, with a permit and [`UNPACKED_MAX`]. `None` at the end: the batch
    /// unpacks to more than that.
    ///
    /// The caller puts a deadline on it. Work that has begun off the executor keeps its permit until it ends.
    pub async fn run<T, F>(&self, batch: &Batch, work: F) -> Option<T>
    where
        T: Send + 'static,
        F: Fn(u64) -> Option<T> + Send + 'static,
    {
        let len = batch.bytes.len();
        let codec = batch.header.compression().unwrap_or_default();
        let here = match codec {
            Compression::None if len <= PLAIN_HERE_MAX => Some(len as u64),
            Compression::None => None,
            _ => Some(UNPACKED_HERE_MAX).filter(|_| len <= BEGUN_HERE_MAX),
        };
        let here = here.filter(|_| !norn_env::buggify!("a small batch is decoded off the executor", 0.2));
        if let Some(done) = here.and_then(&work) {
            return Some(done);
        }
        norn_env::sometimes!("records are decoded off the executor");
        let permit = self.permit(Decompressor::memory(codec, &batch.bytes.slice(HEADER_LEN..))).await;
        task::blocking("decode records", move || {
            let _permit = permit;
            work(UNPACKED_MAX)
        })
        .await
    }

    async fn permit(&self, memory: usize) -> Permit {
        self.memory.take(memory.max(BYTES_MIN)).await
    }

    /// What the decoders have taken.
    pub fn memory(&self) -> &Budget {
        &self.memory
    }
}
