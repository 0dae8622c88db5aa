//! Fetch (key 1), versions 4 on: long poll with `min_bytes`, `max_bytes` and `max_wait_ms`, and fetch sessions (KIP-227).
//! Waits for a move of a published value with the request's deadline; there is no polling loop.

mod read;
pub(super) mod subscription;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use kafka_protocol::messages::{
    fetch_request::{FetchPartition, FetchTopic},
    FetchRequest,
};
use norn_core::metadata::Endpoint;
use norn_env::{
    clock::{self, Instant},
    disk::File,
    select,
    task::{self, Shutdown},
};
use norn_protocol::{
    fetch::{FetchResponse, FetchedPartition, FetchedTopic, NodeEndpoint},
    types::{LeaderEpoch, Offset, PartitionIndex, TopicId},
    ErrorCode,
};

use self::{
    read::{available, len, read},
    subscription::{FetchSession, Key, Subscriptions, Wanted},
};
use super::{
    session::{lock, FetchSessions},
    Answer, Call, Context, Pace, Session,
};
use crate::{
    partition::{Partition, ReadySet},
    server::{Reply, Response},
};

/// KIP-227: the epoch of a request that opens a session, and of one that wants none.
const INITIAL_EPOCH: i32 = 0;
const FINAL_EPOCH: i32 = -1;

/// Topics are named by id from this version on.
const TOPIC_IDS_SINCE: i16 = 13;

/// Partitions that a session may hold; a client with more goes without one.
const SESSION_PARTITIONS_MAX: usize = 100_000;

pub(super) async fn handle(call: Call, session: &mut Session) -> Reply {
    let request: FetchRequest = match call.decode() {
        Ok(request) => request,
        Err(close) => return close,
    };
    let answer = call.answer();
    let max_bytes = (request.max_bytes.max(0) as u64).min(call.ctx.config.network.fetch_max_bytes as u64);
    let limits = Limits {
        deadline: call.deadline(request.max_wait_ms),
        min_bytes: (request.min_bytes.max(0) as u64).min(max_bytes),
        max_bytes,
    };
    let (ctx, endpoint, sessions) = (call.ctx.clone(), call.endpoint.clone(), session.fetch_sessions());
    // The session is looked at when its turn comes, not on arrival: replies are made one after another, so that two
    // requests of one session never change it under each other.
    Reply::Waiting(Box::pin(async move {
        match target(&ctx, answer.version, &sessions, &request).await {
            Ok(target) => serve(ctx, answer, endpoint, target, limits).await,
            Err(error) => refuse(answer, error),
        }
    }))
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

async fn target(
    ctx: &Context,
    version: i16,
    sessions: &Mutex<FetchSessions>,
    request: &FetchRequest,
) -> Result<Target, ErrorCode> {
    let by_id = version >= TOPIC_IDS_SINCE;
    let wanted = wanted(request, by_id);
    let mut pace = Pace::default();
    // Before version 7 the request has no epoch, and the decoder gives the final one.
    if !matches!(request.session_epoch, INITIAL_EPOCH | FINAL_EPOCH) {
        let found = lock(sessions).get(request.session_id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
        {
            let mut locked = lock(&found);
            locked.advance(request.session_epoch)?;
            if locked.by_id != by_id {
                return Err(ErrorCode::FetchSessionTopicIdError);
            }
            locked.subscriptions.follow(ctx.partitions());
        }
        for topic in &request.forgotten_topics_data {
            let name: Option<Arc<str>> = (!by_id).then(|| Arc::from(topic.topic.as_str()));
            for index in &topic.partitions {
                pace.next().await;
                let key = Key { name: name.clone(), id: TopicId(topic.topic_id), index: *index };
                lock(&found).subscriptions.forget(&key);
            }
        }
        for (key, wanted) in wanted {
            pace.next().await;
            lock(&found).subscriptions.set(key, wanted);
        }
        if lock(&found).subscriptions.len() > SESSION_PARTITIONS_MAX {
            // The client starts over with all that it wants, and gets an answer without a session.
            lock(sessions).close(request.session_id);
            return Err(ErrorCode::FetchSessionIdNotFound);
        }
        return Ok(Target { session: found, id: request.session_id, incremental: true });
    }
    if request.session_id != 0 {
        lock(sessions).close(request.session_id);
    }
    let mut subscriptions = Subscriptions::new(ctx.partitions());
    for (key, wanted) in wanted {
        pace.next().await;
        subscriptions.set(key, wanted);
    }
    let opens = request.session_epoch == INITIAL_EPOCH
        && !request.topics.is_empty()
        && subscriptions.len() <= SESSION_PARTITIONS_MAX;
    let session = if opens {
        lock(sessions).open(subscriptions, by_id)
    } else {
        Arc::new(Mutex::new(FetchSession::once(subscriptions)))
    };
    let id = lock(&session).id;
    Ok(Target { session, id, incremental: false })
}

fn wanted(request: &FetchRequest, by_id: bool) -> Vec<(Key, Wanted)> {
    let of_topic = |topic: &FetchTopic| {
        let (name, id) = ((!by_id).then(|| Arc::from(topic.topic.as_str())), TopicId(topic.topic_id));
        let of_partition = move |p: &FetchPartition| {
            let wanted = Wanted {
                offset: Offset(p.fetch_offset),
                max_bytes: p.partition_max_bytes.max(0) as u64,
                leader_epoch: LeaderEpoch(p.current_leader_epoch),
            };
            (Key { name: name.clone(), id, index: p.partition }, wanted)
        };
        topic.partitions.iter().map(of_partition).collect::<Vec<_>>()
    };
    request.topics.iter().flat_map(of_topic).collect()
}

fn refuse(answer: Answer, error: ErrorCode) -> Response {
    encode(answer, FetchResponse { error: Some(error), ..FetchResponse::default() })
}

/// What was read, by slot.
type Found = BTreeMap<u32, (Key, FetchedPartition<File>)>;

/// Reads until enough is there or the deadline passes, then encodes.
async fn serve(
    ctx: Arc<Context>,
    answer: Answer,
    endpoint: Endpoint,
    target: Target,
    limits: Limits,
) -> Response {
    let ready = lock(&target.session).subscriptions.ready();
    let mut stopping = ctx.stopping.clone();
    let mut found = Found::new();
    let mut bytes = 0;
    let mut pace = Pace::default();
    loop {
        let pending = lock(&target.session).subscriptions.take_pending();
        // What has data stays pending, so that this counts all of it.
        let (mut urgent, mut there) = (false, 0_u64);
        for slot in pending {
            pace.next().await;
            let subscribed = {
                let locked = lock(&target.session);
                locked.subscriptions.get(slot).map(|s| (s.key.clone(), s.wanted, s.partition.clone(), s.told))
            };
            let Some((key, wanted, partition, told)) = subscribed else { continue };
            if let Some((_, earlier)) = found.remove(&slot) {
                bytes -= len(&earlier);
            }
            let room = limits.max_bytes.saturating_sub(bytes);
            let (read, has) = look(&ctx, partition, &key, wanted, room, bytes == 0).await;
            there = there.saturating_add(has);
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
                if bytes > 0 {
                    there = there.saturating_add(room.min(wanted.max_bytes));
                }
            }
            // A full fetch answers each partition; an incremental one those with news.
            if !target.incremental || changed || read_len > 0 || read.error.is_some() {
                found.insert(slot, (key, read));
            }
        }
        let enough = urgent || there >= limits.min_bytes || bytes >= limits.max_bytes;
        if enough || clock::now() >= limits.deadline {
            break;
        }
        if !has_moved(&ready, &mut stopping, limits.deadline).await {
            break;
        }
    }
    respond(&ctx, answer, endpoint, &target, found, bytes)
}

/// Waits for a move of what is watched; false at the deadline, or when the broker stops.
async fn has_moved(ready: &ReadySet, stopping: &mut Shutdown, deadline: Instant) -> bool {
    let moved = clock::timeout_at(deadline, ready.moved());
    select! {
        _ = stopping.signaled() => false,
        moved = task::wait(|| "records beyond the fetch offset".into(), moved) => moved.is_ok(),
    }
}

/// What there is for the client of one partition, and how much it has in all.
async fn look(
    ctx: &Context,
    partition: Result<Arc<Partition>, ErrorCode>,
    key: &Key,
    wanted: Wanted,
    room: u64,
    whole_first: bool,
) -> (FetchedPartition<File>, u64) {
    match partition {
        Ok(partition) => {
            let view = partition.view();
            let read = read(ctx, &view, key, wanted, room, whole_first).await;
            let has = available(&read, view.high_watermark_at, wanted);
            (read, has)
        }
        Err(error) => (FetchedPartition::failed(PartitionIndex(key.index), error), 0),
    }
}

fn respond(
    ctx: &Context,
    answer: Answer,
    endpoint: Endpoint,
    target: &Target,
    found: Found,
    bytes: u64,
) -> Response {
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
        vec![NodeEndpoint {
            node: ctx.node,
            host: endpoint.host,
            port: endpoint.port.into(),
            rack: ctx.config.rack.clone(),
        }]
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
