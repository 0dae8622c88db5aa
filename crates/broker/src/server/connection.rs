//! One client connection.
//!
//! Owns its socket, the order of replies and its idle deadline. Requests are handed to their owners in the order of
//! arrival: while an owner's queue is full, or a request first has to create its topic, the connection reads no further.
//! Only the waiting for replies is concurrent. Ends when the peer closes, sends what cannot be understood, is idle for
//! `connections.max.idle.ms` or slow with what others wait for, or the broker shuts down; replies that are still owed get
//! a short while to leave.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use norn_core::metadata::Endpoint;
use norn_env::{
    clock,
    net::{ReadHalf, Stream},
    rand, select,
    task::{self, Shutdown},
};
use norn_protocol::frame::FrameReader;
use tokio::sync::{mpsc, OwnedSemaphorePermit};
use tracing::{debug, info};

use super::{
    admission::{Arriving, Held, Unsent, WHOLE_WITHIN},
    replies::{send_all, Queued, Reply, SendEnd},
};
use crate::{
    api::{self, Context, Memory, Session},
    budgets::charged,
};

/// Those who are late with a request while others wait are cut off one by one within this time.
const CUT_WITHIN_MS: u64 = 2000;

/// The bytes of a large Produce within which it has named its first partition, unless that is not known here.
const TELLS_WITHIN: usize = 1024;

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
    let mut sending = std::pin::pin!(send_all(wr, rx, idle, ctx.budgets.responses()));
    let read_end = select! {
        end = &mut sending => {
            match &end {
                // It answers nothing, so the log is where a client's operator finds the reason.
                SendEnd::Closed(_) => info!(%peer, "connection closed: {end}"),
                other => debug!(%peer, "connection closed: {other}"),
            }
            return;
        }
        end = reading => end,
    };
    match &read_end {
        ReadEnd::Malformed(_) | ReadEnd::Slow { .. } | ReadEnd::NoRoom { .. } | ReadEnd::Cut { .. } => {
            info!(%peer, "connection closed: {read_end}")
        }
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
    #[error("the peer closed it in the middle of a request, after {received} bytes of it")]
    Cut { received: usize },
    #[error("{0}")]
    Malformed(String),
    #[error("idle for connections.max.idle.ms")]
    Idle,
    #[error(
        "a request of {len} bytes was slow to come while others waited for the memory that it holds \
         (queued.max.request.bytes)"
    )]
    Slow { len: usize },
    #[error("a request of {len} bytes waited for {WHOLE_WITHIN:?} for {of} (queued.max.request.bytes)")]
    NoRoom { len: usize, of: String },
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
    let (holding, unsent) = (Held::new(), Unsent::new());
    let mut reading: Option<Arriving> = None;
    loop {
        let frame = match frames.next() {
            Err(error) => return ReadEnd::Malformed(error.to_string()),
            Ok(Some(frame)) => frame,
            Ok(None) => {
                if reading.is_none() {
                    reading = match begin_large(&frames, &holding, ctx, &mut shutdown).await {
                        Ok(begun) => begun,
                        Err(end) => return end,
                    };
                }
                match read_some(&mut rd, &mut frames, reading.as_ref(), ctx, &mut shutdown).await {
                    Ok(()) => continue,
                    // A long poll that still waits is not idleness.
                    Err(ReadEnd::Idle) if holding.owes_replies(reading.as_ref()) => continue,
                    Err(end) => return end,
                }
            }
        };
        let timer = ctx.metrics.request_started(frame.get(..2));
        let (held, frame, memory) = admit(frame, reading.take(), &holding, ctx).await;
        let reply = api::dispatch(frame, memory, &mut session, ctx).await;
        let response = match &reply {
            Reply::Ready(response) => Some(unsent.charge(response.memory(), ctx.budgets.responses()).await),
            _ => None,
        };
        let last = match &reply {
            Reply::Close(why) => Some(why.clone()),
            _ => None,
        };
        if queue.send(Queued { reply, timer, _held: held, response }).await.is_err() {
            return ReadEnd::SenderGone;
        }
        if let Some(why) = last {
            return ReadEnd::Malformed(why);
        }
    }
}

/// Waits until there is room to read the large request that has begun to come; `None` while there is none, or its first
/// bytes do not tell yet whose room it takes.
async fn begin_large(
    frames: &FrameReader,
    holding: &Held,
    ctx: &Context,
    shutdown: &mut Shutdown,
) -> Result<Option<Arriving>, ReadEnd> {
    let Some((len, begins)) = frames.large() else { return Ok(None) };
    let known = api::budget_of(begins, &ctx.partitions(), &ctx.budgets);
    let budget = match known {
        Some(budget) => budget,
        None if begins.len() < TELLS_WITHIN => return Ok(None),
        None => ctx.budgets.large(),
    };
    let begun = clock::timeout_at(clock::now() + WHOLE_WITHIN, holding.begin(begins, len, budget));
    select! {
        _ = shutdown.signaled() => Err(ReadEnd::Shutdown),
        begun = begun => match begun {
            Ok(begun) => Ok(Some(begun)),
            Err(_) => Err(ReadEnd::NoRoom { len, of: budget.name().to_owned() }),
        },
    }
}

/// What a request that is here holds; waits for the place of a small one.
async fn admit(
    frame: Bytes,
    arriving: Option<Arriving>,
    holding: &Held,
    ctx: &Context,
) -> (OwnedSemaphorePermit, Bytes, Memory) {
    match arriving {
        Some(Arriving { held, memory, budget, .. }) if budget.is(ctx.budgets.large()) => {
            (held, frame, Memory::Call { _permit: memory })
        }
        Some(Arriving { held, memory, .. }) => (held, charged(frame, memory), Memory::Frame),
        None => {
            let held = holding.place(&frame, frame.len()).await;
            let permit = ctx.budgets.requests().take_beyond(frame.len());
            (held, frame, Memory::Call { _permit: permit })
        }
    }
}

/// Waits for more bytes. `reading` is what the request holds that they belong to, if that was taken already.
async fn read_some(
    rd: &mut ReadHalf,
    frames: &mut FrameReader,
    reading: Option<&Arriving>,
    ctx: &Arc<Context>,
    shutdown: &mut Shutdown,
) -> Result<(), ReadEnd> {
    let deadline = clock::now() + ctx.config.network.connections_max_idle.unwrap_or(NEVER);
    let due = reading.map(|arriving| (arriving, arriving.due(frames.received())));
    let too_slow = async {
        let Some((Arriving { len, budget, .. }, due)) = due else { return std::future::pending().await };
        clock::sleep_until(due).await;
        loop {
            budget.wanted().await;
            // Not all who are late at once: the first to end may be enough.
            clock::sleep(Duration::from_millis(rand::below(CUT_WITHIN_MS))).await;
            if budget.is_wanted() {
                return *len;
            }
        }
    };
    let read = select! {
        _ = shutdown.signaled() => return Err(ReadEnd::Shutdown),
        read = task::wait(|| "the peer's next request".into(), clock::timeout_at(deadline, rd.read_buf(frames.buf()))) => read,
        len = too_slow => return Err(ReadEnd::Slow { len }),
    };
    match read {
        Ok(Ok(0)) if frames.is_mid_frame() => Err(ReadEnd::Cut { received: frames.received() }),
        Ok(Ok(0)) => Err(ReadEnd::Eof),
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(ReadEnd::Idle),
    }
}
