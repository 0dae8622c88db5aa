//! One client connection.
//!
//! Owns its socket, the order of replies and its idle deadline. Requests are handed to their owners in the order of
//! arrival: while an owner's queue is full, or a request first has to create its topic, the connection reads no further.
//! Only the waiting for replies is concurrent. Ends when the peer closes, sends what cannot be understood, is idle for
//! `connections.max.idle.ms`, or the broker shuts down; replies that are still owed get a short while to leave.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use norn_core::metadata::Endpoint;
use norn_env::{
    clock,
    net::{ReadHalf, Stream},
    select,
    task::{self, Shutdown},
};
use norn_protocol::frame::FrameReader;
use tokio::sync::{mpsc, Semaphore};
use tracing::{debug, info};

use super::replies::{send_all, Queued, Reply};
use crate::api::{self, Context, Session};

/// Bytes of requests that wait for their replies on one connection, so that a peer that sends and never reads holds no
/// more than this. A larger request takes all of it. Of a Produce nothing is held here: its records are with their
/// partitions, which have permits of their own for them.
const HELD_BYTES_MAX: u32 = 1 << 20;

/// How long replies that are owed may take to leave after the last request was read.
const DRAIN: Duration = Duration::from_secs(5);

/// Stands for "never" where `connections.max.idle.ms` is -1; longer than any process runs.
const NEVER: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Serves one connection to its end.
pub(super) async fn serve(
    stream: Stream,
    peer: SocketAddr,
    endpoint: Endpoint,
    ctx: &Arc<Context>,
    shutdown: Shutdown,
) {
    let idle = ctx.config.network.connections_max_idle.unwrap_or(NEVER);
    let (rd, wr) = stream.split();
    let (tx, rx) = mpsc::channel(ctx.config.network.queued_max_requests);
    let session = Session::new(peer, endpoint, ctx.fetch_session_slots.clone());
    let reading = read_all(rd, tx, session, ctx, shutdown);
    let mut sending = std::pin::pin!(send_all(wr, rx, idle));
    let read_end = select! {
        end = &mut sending => {
            debug!(%peer, "connection closed: {end}");
            return;
        }
        end = reading => end,
    };
    match &read_end {
        ReadEnd::Malformed(why) => info!(%peer, "connection closed: {why}"),
        other => debug!(%peer, "no more requests: {other}"),
    }
    if clock::timeout_at(clock::now() + DRAIN, sending).await.is_err() {
        debug!(%peer, "connection closed with replies owed: the peer did not take them within {DRAIN:?}");
    }
}

#[derive(Debug, thiserror::Error)]
enum ReadEnd {
    #[error("the peer closed it")]
    Eof,
    #[error("{0}")]
    Malformed(String),
    #[error("idle for connections.max.idle.ms")]
    Idle,
    #[error("the broker is shutting down")]
    Shutdown,
    #[error("the sending side ended")]
    SenderGone,
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Reads requests and hands them over until the connection ends. The queue's end tells the sending side to finish.
async fn read_all(
    mut rd: ReadHalf,
    queue: mpsc::Sender<Queued>,
    mut session: Session,
    ctx: &Arc<Context>,
    mut shutdown: Shutdown,
) -> ReadEnd {
    let mut frames = FrameReader::new(ctx.config.network.socket_request_max_bytes);
    let holding = Arc::new(Semaphore::new(HELD_BYTES_MAX as usize));
    loop {
        let frame = match frames.next() {
            Err(error) => return ReadEnd::Malformed(error.to_string()),
            Ok(Some(frame)) => frame,
            Ok(None) => {
                let deadline = clock::now() + ctx.config.network.connections_max_idle.unwrap_or(NEVER);
                let read = select! {
                    _ = shutdown.signaled() => return ReadEnd::Shutdown,
                    read = task::wait(|| "the peer's next request".into(), clock::timeout_at(deadline, rd.read_buf(frames.buf()))) => read,
                };
                match read {
                    Ok(Ok(0)) => return ReadEnd::Eof,
                    Ok(Ok(_)) => continue,
                    Ok(Err(error)) => return error.into(),
                    // A long poll that still waits is not idleness.
                    Err(_) if holding.available_permits() < HELD_BYTES_MAX as usize => continue,
                    Err(_) => return ReadEnd::Idle,
                }
            }
        };
        let timer = ctx.metrics.request_started(frame.get(..2));
        let holds = if api::is_produce(&frame) { 1 } else { frame.len() };
        let holds = u32::try_from(holds).unwrap_or(u32::MAX).clamp(1, HELD_BYTES_MAX);
        let room = holding.clone().acquire_many_owned(holds);
        let held = task::wait(|| "the peer to take earlier replies".into(), room).await;
        let held = held.expect("the semaphore is never closed");
        let memory = ctx.request_memory.take(frame.len()).await;
        let reply = api::dispatch(frame, memory, &mut session, ctx).await;
        let last = match &reply {
            Reply::Close(why) => Some(why.clone()),
            _ => None,
        };
        if queue.send(Queued { reply, timer, _held: held }).await.is_err() {
            return ReadEnd::SenderGone;
        }
        if let Some(why) = last {
            return ReadEnd::Malformed(why);
        }
    }
}
