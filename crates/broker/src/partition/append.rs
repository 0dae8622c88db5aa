//! What happens to Produce requests at their partition, in this order: check, assign offsets, append with one write, then
//! wait. Nothing that can fail stands between assigning an offset and appending it, and nothing changes before the verdict.

use norn_core::{
    metadata::TimestampSource,
    producer::Verdict,
    replica::{Acks, Event},
    Millis,
};
use norn_env::clock::{self, Duration};
use norn_protocol::{
    batch::Batch,
    types::{LeaderEpoch, Offset},
    ErrorCode,
};

use super::{
    actor::{Actor, Waiting},
    handle::{CoordinatorIncarnation, Origin, Produce, Produced},
};

/// A request whose records are in the log, or are about to be.
struct Accepted {
    request: Produce,
    first: Offset,
    last: Offset,
    log_append_time: Option<i64>,
}

impl Actor {
    /// Appends what can be appended of `requests`, in their order, and answers or parks each.
    pub(super) async fn append(&mut self, requests: Vec<Produce>) {
        let Some(epoch) = self.replica.leads_in().filter(|_| !self.failed) else {
            let error =
                if self.failed { ErrorCode::KafkaStorageError } else { ErrorCode::NotLeaderOrFollower };
            requests.into_iter().for_each(|request| refuse(request, error));
            return;
        };
        let now = clock::wall_ms();
        let stamp = (self.config.message_timestamp_type == TimestampSource::LogAppendTime).then_some(now);
        let mut end = self.log.end();
        let mut batches: Vec<(Batch, Offset)> = Vec::with_capacity(requests.len());
        let mut accepted = Vec::with_capacity(requests.len());
        for request in requests {
            if let Origin::Coordinator { epoch: loaded_in, incarnation } = request.origin {
                // Not in the log that a later coordinator has loaded, so it must not come after.
                if loaded_in != epoch || self.coordinator != Some(incarnation) {
                    refuse(request, ErrorCode::NotLeaderOrFollower);
                    continue;
                }
            }
            let header = request.batch.header;
            // A client's batch was validated when it came; its coordinator's can only be too large.
            let too_large = request.batch.bytes.len() > self.config.max_message_bytes.max(0) as usize;
            let size = if too_large { Err(ErrorCode::MessageTooLarge) } else { Ok(()) };
            if let Err(error) = self.replica.admit(request.acks).and(size) {
                refuse(request, error);
                continue;
            }
            match self.producers.check(&header, end) {
                Verdict::Refused(error) => refuse(request, error),
                Verdict::Duplicate { first, last, timestamp } => {
                    norn_env::sometimes!("duplicate batch answered from the window");
                    let log_append_time = stamp.map(|_| timestamp.0);
                    accepted.push(Accepted { request, first, last, log_append_time });
                }
                Verdict::New => {
                    let mut placed = header;
                    placed.base_offset = end;
                    placed.max_timestamp = stamp.unwrap_or(header.max_timestamp);
                    self.producers.record(&placed, Millis(now));
                    let (first, last) = (end, placed.last_offset());
                    end = placed.next_offset();
                    batches.push((request.batch.clone(), first));
                    accepted.push(Accepted { request, first, last, log_append_time: stamp });
                }
            }
        }
        if !batches.is_empty() {
            match self.log.append(&batches, epoch, stamp).await {
                Ok(()) => self.appended(&batches).await,
                Err(cause) => {
                    self.storage_failed(&cause.to_string());
                    self.follow().await;
                    accepted.into_iter().for_each(|one| refuse(one.request, ErrorCode::KafkaStorageError));
                    return;
                }
            }
        }
        for one in accepted {
            let Accepted { request, first, last, log_append_time } = one;
            if request.acks == Acks::None {
                let log_start = self.log.start();
                // Nobody waits for it.
                let _ = request.reply.send(Ok(Produced { base_offset: first, log_append_time, log_start }));
                continue;
            }
            let slot = self.slot(Waiting { reply: request.reply, log_append_time });
            let event = Event::Await { slot, acks: request.acks, first, last, deadline: request.deadline };
            self.replica.step(event, clock::now(), &mut self.actions);
        }
        self.follow().await;
    }

    /// Notes a coordinator that is about to load the log up to the returned end.
    pub(super) fn announce(
        &mut self,
        epoch: LeaderEpoch,
        incarnation: CoordinatorIncarnation,
    ) -> Result<Offset, ErrorCode> {
        if self.failed {
            return Err(ErrorCode::KafkaStorageError);
        }
        if self.replica.leads_in() != Some(epoch) {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        self.coordinator = self.coordinator.max(Some(incarnation));
        Ok(self.log.end())
    }

    /// Batches are in the log.
    async fn appended(&mut self, batches: &[(Batch, Offset)]) {
        if norn_env::buggify!("a write is slow to be told of") {
            clock::sleep(Duration::from_millis(20)).await;
        }
        let records = batches.iter().map(|(batch, _)| batch.header.record_count.max(0) as u64).sum();
        let bytes = batches.iter().map(|(batch, _)| batch.bytes.len() as u64).sum();
        let first = batches.first().map(|(_, first)| first.0);
        tracing::debug!(log = %self.id, first, end = %self.log.end(), records, bytes, "records appended");
        self.metrics.produced(records, bytes);
        self.step(Event::Appended { end: self.log.end() }).await;
        if self.log.snapshot_due() {
            self.snapshot_producers().await;
        }
    }

    /// Keeps the producers' state beside the log, which bounds what recovery has to walk through.
    async fn snapshot_producers(&mut self) {
        if let Err(cause) = self.log.store_producer_snapshot(self.producers.encode()).await {
            self.storage_failed(&cause.to_string());
            self.follow().await;
        }
    }
}

fn refuse(request: Produce, error: ErrorCode) {
    // The producer may have gone.
    let _ = request.reply.send(Err(error));
}
