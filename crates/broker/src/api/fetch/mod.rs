//! Fetch (key 1), versions 4 on: long poll with `min_bytes`, `max_bytes` and `max_wait_ms`, and fetch sessions (KIP-227).
//! Waits for a move of a published value with the request's deadline; there is no polling loop.

mod read;
pub(super) mod subscription;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use kafka_protocol::messages::FetchRequest;
use norn_core::metadata::Endpoint;
use norn_env::{
    clock::{self, Instant},
    disk::File,
    task,
};
use norn_protocol::{
    fetch::{FetchResponse, FetchedPartition, FetchedTopic, NodeEndpoint},
    types::{LeaderEpoch, Offset, PartitionIndex, TopicId},
    ErrorCode,
};

use self::{
    read::{len, read},
    subscription::{FetchSession, Key, Subscriptions, Wanted},
};
use super::{Answer, Call, Context, Session};
use crate::server::{Reply, Response};

/// KIP-227: the epoch of a request that opens a session, and of one that wants none.
const INITIAL_EPOCH: i32 = 0;
const FINAL_EPOCH: i32 = -1;

pub(super) async fn handle(call: Call, session: &mut Session) -> Reply {
    let request: FetchRequest = match call.decode() {
        Ok(request) => request,
        Err(close) => return close,
    };
    let answer = call.answer();
    let limits = Limits {
        deadline: call.deadline(request.max_wait_ms),
        min_bytes: request.min_bytes.max(0) as u64,
        max_bytes: (request.max_bytes.max(0) as u64).min(call.ctx.config.network.fetch_max_bytes as u64),
    };
    let target = match target(&call, session, &request) {
        Ok(target) => target,
        Err(error) => return Reply::Ready(refuse(answer, error)),
    };
    let (ctx, endpoint) = (call.ctx.clone(), call.endpoint.clone());
    Reply::Waiting(Box::pin(async move { serve(ctx, answer, endpoint, target, limits).await }))
}

#[derive(Clone, Copy)]
struct Limits {
    deadline: Instant,
    min_bytes: u64,
    max_bytes: u64,
}

/// What a request reads: a session, incrementally or as it was just opened, or its own list.
struct Target {
    session: Arc<Mutex<FetchSession>>,
    /// The session id to answer with; 0 without a session.
    id: i32,
    incremental: bool,
}

fn target(call: &Call, session: &mut Session, request: &FetchRequest) -> Result<Target, ErrorCode> {
    let by_id = call.version >= 13;
    let wanted = request.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(move |p| {
            let name = (!by_id).then(|| Arc::from(topic.topic.as_str()));
            let key = Key { name, id: TopicId(topic.topic_id), index: p.partition };
            let leader_epoch = LeaderEpoch(p.current_leader_epoch);
            (key, Wanted { offset: Offset(p.fetch_offset), max_bytes: p.partition_max_bytes, leader_epoch })
        })
    });
    let incremental = call.version >= 7 && request.session_id != 0 && request.session_epoch > INITIAL_EPOCH;
    if incremental {
        let found = session.fetch_session(request.session_id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
        {
            let mut locked = found.lock().unwrap_or_else(PoisonError::into_inner);
            locked.advance(request.session_epoch)?;
            let subscriptions = &mut locked.subscriptions;
            subscriptions.follow(call.ctx.partitions());
            for topic in &request.forgotten_topics_data {
                for index in &topic.partitions {
                    let name = (!by_id).then(|| Arc::from(topic.topic.as_str()));
                    subscriptions.forget(&Key { name, id: TopicId(topic.topic_id), index: *index });
                }
            }
            wanted.for_each(|(key, wanted)| subscriptions.set(key, wanted));
        }
        return Ok(Target { session: found, id: request.session_id, incremental: true });
    }
    if call.version >= 7 && request.session_id != 0 {
        session.close_fetch_session(request.session_id);
    }
    let mut subscriptions = Subscriptions::new(call.ctx.partitions());
    wanted.for_each(|(key, wanted)| subscriptions.set(key, wanted));
    if call.version >= 7 && request.session_epoch == INITIAL_EPOCH && !request.topics.is_empty() {
        let opened = session.open_fetch_session(subscriptions);
        let id = opened.lock().unwrap_or_else(PoisonError::into_inner).id;
        return Ok(Target { session: opened, id, incremental: false });
    }
    debug_assert!(request.session_epoch >= FINAL_EPOCH || call.version < 7);
    Ok(Target { session: Arc::new(Mutex::new(FetchSession::new(0, subscriptions))), id: 0, incremental: false })
}

fn refuse(answer: Answer, error: ErrorCode) -> Response {
    encode(answer, FetchResponse { error: Some(error), ..FetchResponse::default() })
}

/// What was read, by slot.
type Found = BTreeMap<u32, (Key, FetchedPartition<File>)>;

/// Reads until enough is there or the deadline passes, then encodes.
async fn serve(ctx: Arc<Context>, answer: Answer, endpoint: Endpoint, target: Target, limits: Limits) -> Response {
    let ready = lock(&target.session).subscriptions.ready();
    let mut found = Found::new();
    let mut bytes = 0;
    loop {
        let pending = lock(&target.session).subscriptions.take_pending();
        let mut urgent = false;
        for slot in pending {
            let subscribed = {
                let locked = lock(&target.session);
                locked.subscriptions.get(slot).map(|s| (s.key.clone(), s.wanted, s.partition.clone(), s.told))
            };
            let Some((key, wanted, partition, told)) = subscribed else { continue };
            if let Some((_, earlier)) = found.remove(&slot) {
                bytes -= len(&earlier);
            }
            let read = match partition {
                Ok(partition) => {
                    let room = limits.max_bytes.saturating_sub(bytes);
                    read(&ctx, &partition.view(), &key, wanted, room, bytes == 0).await
                }
                Err(error) => FetchedPartition::failed(PartitionIndex(key.index), error),
            };
            let read_len = len(&read);
            bytes += read_len;
            urgent |= read.error.is_some();
            let changed = told != Some((read.high_watermark, read.log_start));
            let mut locked = lock(&target.session);
            if read_len > 0 || read.error.is_some() {
                locked.subscriptions.keep(slot);
                locked.subscriptions.served(slot);
            } else if wanted.offset < read.last_stable_offset {
                // There is data, but no room in this answer.
                locked.subscriptions.keep(slot);
            }
            // A full fetch answers each partition; an incremental one those with news.
            if !target.incremental || changed || read_len > 0 || read.error.is_some() {
                found.insert(slot, (key, read));
            }
        }
        let enough = urgent || bytes >= limits.min_bytes || bytes >= limits.max_bytes;
        if enough || clock::now() >= limits.deadline {
            break;
        }
        let moved = clock::timeout_at(limits.deadline, ready.moved());
        if task::wait(|| "records beyond the fetch offset".into(), moved).await.is_err() {
            break;
        }
    }
    respond(&ctx, answer, endpoint, &target, found, bytes)
}

fn lock(session: &Mutex<FetchSession>) -> std::sync::MutexGuard<'_, FetchSession> {
    session.lock().unwrap_or_else(PoisonError::into_inner)
}

fn respond(ctx: &Context, answer: Answer, endpoint: Endpoint, target: &Target, found: Found, bytes: u64) -> Response {
    let mut topics: Vec<FetchedTopic<File>> = vec![];
    let mut leader_told = false;
    let mut session = lock(&target.session);
    for (slot, (key, read)) in found {
        session.subscriptions.told(slot, (read.high_watermark, read.log_start));
        leader_told |= read.current_leader.is_some();
        if read.error.is_some() {
            ctx.metrics.fetch_failed();
        }
        let name = key.name.unwrap_or_else(|| Arc::from(""));
        match topics.last_mut().filter(|topic| topic.name == name && topic.id == key.id) {
            Some(topic) => topic.partitions.push(read),
            None => topics.push(FetchedTopic { name, id: key.id, partitions: vec![read] }),
        }
    }
    drop(session);
    ctx.metrics.fetched(bytes);
    let endpoints = if leader_told {
        // KIP-951: where the leader is that an error names.
        vec![NodeEndpoint { node: ctx.node, host: endpoint.host, port: endpoint.port.into(), rack: ctx.config.rack.clone() }]
    } else {
        vec![]
    };
    encode(answer, FetchResponse { session_id: target.id, topics, endpoints, ..FetchResponse::default() })
}

fn encode(answer: Answer, body: FetchResponse<File>) -> Response {
    match body.encode(answer.correlation, answer.version) {
        Ok(parts) => Response::parts(parts),
        Err(error) => Response::broken(error.to_string()),
    }
}
