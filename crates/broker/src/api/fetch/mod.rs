//! Fetch (key 1), versions 4 on: long poll with `min_bytes`, `max_bytes` and `max_wait_ms`, and fetch sessions (KIP-227).
//! Waits for a move of a published value with the request's deadline; there is no polling loop.

mod gather;
mod read;
pub(super) mod subscription;

use std::sync::{Arc, Mutex};

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
    fetch::{FetchResponse, FetchedTopic, NodeEndpoint},
    types::{LeaderEpoch, Offset, TopicId},
    ErrorCode,
};
use tokio::sync::watch;

use self::{
    gather::{told, Found, Gathered},
    subscription::{FetchSession, Key, Subscriptions, Wanted},
};
use super::{
    session::{lock, FetchSessions},
    Answer, Call, Context, Pace, Session,
};
use crate::{
    partition::{PartitionTable, ReadySet},
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
        let moved = {
            let mut locked = lock(&found);
            locked.advance(request.session_epoch)?;
            if locked.by_id != by_id {
                return Err(ErrorCode::FetchSessionTopicIdError);
            }
            locked.subscriptions.follow(ctx.partitions())
        };
        for slot in moved {
            pace.next().await;
            lock(&found).subscriptions.resolve(slot);
        }
        forget(&found, request, by_id, &mut pace).await;
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

/// Takes out of a session what the request no longer wants.
async fn forget(session: &Mutex<FetchSession>, request: &FetchRequest, by_id: bool, pace: &mut Pace) {
    for topic in &request.forgotten_topics_data {
        let name: Option<Arc<str>> = (!by_id).then(|| Arc::from(topic.topic.as_str()));
        for index in &topic.partitions {
            pace.next().await;
            let key = Key { name: name.clone(), id: TopicId(topic.topic_id), index: *index };
            lock(session).subscriptions.forget(&key);
        }
    }
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

/// Reads until enough is there or the deadline passes, then encodes.
async fn serve(
    ctx: Arc<Context>,
    answer: Answer,
    endpoint: Endpoint,
    target: Target,
    limits: Limits,
) -> Response {
    let ready = lock(&target.session).subscriptions.ready();
    // The clone has not seen the table: a change since the partitions were looked up counts.
    let mut watch = Watch { ready, table: ctx.partitions.clone(), stopping: ctx.stopping.clone() };
    let mut gathered = Gathered::default();
    let mut pace = Pace::default();
    loop {
        let enough = gathered.pass(&ctx, &target, limits).await;
        if enough || clock::now() >= limits.deadline {
            break;
        }
        let unresolved = lock(&target.session).subscriptions.has_unresolved();
        if !watch.moved(unresolved, limits.deadline).await {
            break;
        }
        let unresolved = lock(&target.session).subscriptions.follow_unresolved(ctx.partitions());
        for slot in unresolved {
            pace.next().await;
            lock(&target.session).subscriptions.resolve(slot);
        }
    }
    respond(&ctx, answer, endpoint, &target, gathered.found, gathered.bytes)
}

/// What a waiting Fetch wakes for.
struct Watch {
    ready: Arc<ReadySet>,
    table: watch::Receiver<Arc<PartitionTable>>,
    stopping: Shutdown,
}

impl Watch {
    /// Waits for a move of what is watched, or for another table if some partition is not in it; false at the deadline, or
    /// when the broker stops.
    async fn moved(&mut self, or_table: bool, deadline: Instant) -> bool {
        let (ready, table) = (&self.ready, &mut self.table);
        let moved = async {
            select! {
                _ = ready.moved() => {}
                // An error says that there will be no other table.
                Ok(()) = table.changed(), if or_table => {}
            }
        };
        let moved = clock::timeout_at(deadline, moved);
        select! {
            _ = self.stopping.signaled() => false,
            moved = task::wait(|| "records beyond the fetch offset".into(), moved) => moved.is_ok(),
        }
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
        session.subscriptions.tell(slot, told(&read));
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
