//! Gathers what a Fetch answers: passes over the partitions that moved, and says when there is enough. Which errors end the
//! wait follows Kafka's `KafkaApis.handleFetchRequest` (what is not here waits with the others), `ReplicaManager.fetchMessages`
//! (what the client must act on) and `DelayedFetch.tryComplete` (what arises while it waits).

use std::{collections::BTreeMap, sync::Arc};

use norn_core::replica::fetch_answers_at_once;
use norn_env::disk::File;
use norn_protocol::{fetch::FetchedPartition, types::PartitionIndex, ErrorCode};

use super::{
    read::{available, len, read},
    subscription::{Key, Subscription, Told, Wanted},
    Limits, Target,
};
use crate::{
    api::{session::lock, Context, Pace},
    partition::Partition,
};

/// What was read, by slot.
pub(super) type Found = BTreeMap<u32, (Key, FetchedPartition<File>)>;

/// What one request has found so far.
#[derive(Default)]
pub(super) struct Gathered {
    pub found: Found,
    /// Bytes of records in `found`.
    pub bytes: u64,
    /// Partitions in `found` that have an error.
    failed: usize,
    /// Whether the request has waited.
    waited: bool,
    pace: Pace,
}

/// What one pass has met.
#[derive(Default)]
struct Pass {
    /// Bytes that could be read, those that do not fit included.
    there: u64,
    /// An error that the client learns at once.
    urgent: bool,
    /// An error that the client does not know yet.
    news: bool,
}

impl Gathered {
    /// Looks at what moved since the last pass; true if that is enough for an answer.
    pub async fn pass(&mut self, ctx: &Context, target: &Target, limits: Limits) -> bool {
        let pending = lock(&target.session).subscriptions.take_pending();
        let mut pass = Pass::default();
        for slot in pending {
            self.pace.next().await;
            let current = lock(&target.session).subscriptions.current(slot);
            if let Some(subscription) = current {
                self.visit(ctx, target, limits, slot, subscription, &mut pass).await;
            }
        }
        // Where nothing could come of waiting, the client is told what it does not know, as by Kafka.
        let hopeless = self.failed > 0 && self.failed == lock(&target.session).subscriptions.len();
        self.waited = true;
        pass.urgent
            || (hopeless && pass.news)
            || pass.there >= limits.min_bytes
            || self.bytes >= limits.max_bytes
    }

    async fn visit(
        &mut self,
        ctx: &Context,
        target: &Target,
        limits: Limits,
        slot: u32,
        subscription: Subscription,
        pass: &mut Pass,
    ) {
        let before = self.take_back(slot);
        let room = limits.max_bytes.saturating_sub(self.bytes);
        let Subscription { key, wanted, partition, .. } = &subscription;
        let (read, has) = look(ctx, partition, key, *wanted, room, self.bytes == 0).await;
        // What has data stays pending, so that each pass counts all of it.
        pass.there = pass.there.saturating_add(has);
        let read_len = len(&read);
        self.bytes += read_len;
        if let Some(error) = read.error {
            self.failed += 1;
            // A client that knows it already would only ask again, as fast as it can.
            let is_news = !subscription.knows(error);
            let arose = self.waited && before.flatten() != Some(error);
            pass.news |= is_news;
            pass.urgent |= is_news && (arose || (!self.waited && fetch_answers_at_once(error)));
        }
        {
            let mut locked = lock(&target.session);
            if read_len > 0 || read.error.is_some() {
                locked.subscriptions.served(slot);
            }
            if read_len > 0 {
                locked.subscriptions.keep(slot);
            } else if read.error.is_none() && wanted.offset < read.last_stable_offset {
                // There is data, but no room in this answer.
                locked.subscriptions.keep(slot);
                if self.bytes > 0 {
                    pass.there = pass.there.saturating_add(room.min(wanted.max_bytes));
                }
            }
        }
        // A full fetch answers each partition; an incremental one those with news.
        let changed = subscription.told != Some(told(&read));
        if !target.incremental || changed || read_len > 0 || read.error.is_some() {
            self.found.insert(slot, (subscription.key, read));
        }
    }

    /// Takes back what an earlier pass found; gives its error.
    fn take_back(&mut self, slot: u32) -> Option<Option<ErrorCode>> {
        let (_, earlier) = self.found.remove(&slot)?;
        self.bytes -= len(&earlier);
        self.failed -= usize::from(earlier.error.is_some());
        Some(earlier.error)
    }
}

/// What a client learns from the answer of one partition, its records aside.
pub(super) fn told(read: &FetchedPartition<File>) -> Told {
    Told { error: read.error, high_watermark: read.high_watermark, log_start: read.log_start }
}

/// What there is for the client of one partition, and how much it has in all.
async fn look(
    ctx: &Context,
    partition: &Result<Arc<Partition>, ErrorCode>,
    key: &Key,
    wanted: Wanted,
    room: u64,
    whole_first: bool,
) -> (FetchedPartition<File>, u64) {
    match partition {
        Ok(partition) => {
            let view = partition.view();
            let is_deleted = || ctx.controller.image().topic(partition.topic_id()).is_none();
            if view.unavailable.is_some() && is_deleted() {
                // The partition has ended before the table goes without it.
                let error = ErrorCode::UnknownTopicOrPartition;
                return (FetchedPartition::failed(PartitionIndex(key.index), error), 0);
            }
            let read = read(ctx, partition, &view, key, wanted, room, whole_first).await;
            let has = available(&read, view.high_watermark_at, wanted);
            (read, has)
        }
        Err(error) => (FetchedPartition::failed(PartitionIndex(key.index), *error), 0),
    }
}
