//! What a handler gives back for one request, and how the replies of a connection leave: in the order of the requests,
//! gathered into as few writes as possible.

use std::{collections::VecDeque, io, time::Duration};

use bytes::Bytes;
use futures::{future::BoxFuture, FutureExt};
use norn_env::{
    budget::{Budget, Permit},
    clock,
    disk::File,
    net::WriteHalf,
    task,
};
use norn_protocol::fetch::Part;
use tokio::sync::{mpsc, OwnedSemaphorePermit};
use tracing::error;

use super::admission::UnsentShare;
use crate::metrics::RequestTimer;

/// A whole response with its size prefix. Record bytes of a Fetch stay file ranges until they reach the socket.
#[derive(Debug)]
pub(crate) struct Response(Result<Vec<Part<File>>, String>);

impl Response {
    pub fn bytes(bytes: Bytes) -> Self {
        Response(Ok(vec![Part::Bytes(bytes)]))
    }

    pub fn parts(parts: Vec<Part<File>>) -> Self {
        Response(Ok(parts))
    }

    /// The bytes that it takes in memory.
    pub fn memory(&self) -> usize {
        let bytes = |part: &Part<File>| match part {
            Part::Bytes(bytes) => bytes.len(),
            Part::File { .. } => 0,
        };
        self.0.as_ref().map_or(0, |parts| parts.iter().map(bytes).sum())
    }

    /// A response that could not be encoded, and why: a defect of this broker, for which one connection ends.
    pub fn broken(reason: String) -> Self {
        Response(Err(reason))
    }
}

/// The answer to one request. The handing over to owners has happened by the time it exists; only waiting is left.
pub(crate) enum Reply {
    Ready(Response),
    Waiting(BoxFuture<'static, Response>),
    /// Produce with `acks=0`: the client expects no response. An error, the reason, ends the connection.
    Unanswered(BoxFuture<'static, Result<(), String>>),
    /// The request cannot be answered in a way that the client would understand; the connection ends with this reason.
    Close(String),
}

/// A reply in the queue of its connection, with its request's share of what the connection may hold, freed when dropped.
pub(crate) struct Queued {
    pub reply: Reply,
    pub timer: RequestTimer,
    pub _held: OwnedSemaphorePermit,
    /// If it is ready, what it takes of what may be unsent.
    pub response: Option<UnsentShare>,
}

/// What a response takes of the memory for responses until it is sent: one that was ready when it was queued, or one that
/// was made when its turn came. While memory is short there is one of those on each connection, so it does not wait.
struct Share {
    _queued: Option<UnsentShare>,
    _made: Option<Permit>,
}

/// A response that is about to be sent.
struct Sending {
    response: Response,
    timer: RequestTimer,
    share: Share,
}

impl Sending {
    fn new(response: Response, timer: RequestTimer, queued: Option<UnsentShare>, memory: &Budget) -> Self {
        let made = queued.is_none().then(|| memory.take_beyond(response.memory()));
        let share = Share { _queued: queued, _made: made };
        Sending { response, timer, share }
    }
}

/// Why the sending side of a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendEnd {
    #[error("all replies sent")]
    Drained,
    #[error("{0}")]
    Closed(String),
    #[error("the peer took nothing for {0:?} (connections.max.idle.ms)")]
    Stalled(Duration),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// File ranges are sent in steps of this size, so that the idle deadline measures progress and not a whole response.
const SEND_STEP: u64 = 1 << 20;

/// Replies that leave with one write at most, and the bytes of them after which no more are made.
const GATHERED_REPLIES_MAX: usize = 256;
const GATHERED_BYTES_MAX: usize = 1 << 20;

/// A range up to this length that is in memory leaves with the bytes around it: one call and one packet, where
/// sendfile would make three.
const GATHERED_RANGE_MAX: u64 = 16 << 10;

/// Sends the replies of one connection in order until the queue closes, the peer goes away or it takes nothing for `idle`.
pub(super) async fn send_all(
    mut wr: WriteHalf,
    mut queue: mpsc::Receiver<Queued>,
    idle: Duration,
    memory: &Budget,
) -> SendEnd {
    let (mut gathered, mut shares) = (Gathered::default(), vec![]);
    let mut next = None;
    loop {
        let first = match next.take() {
            Some(queued) => queued,
            None => match queue.recv().await {
                Some(queued) => queued,
                None => {
                    let _ = wr.shutdown().await;
                    return SendEnd::Drained;
                }
            },
        };
        let mut sending = vec![];
        let Queued { reply, timer, _held, response: share } = first;
        match resolve(reply).await {
            Err(reason) => return SendEnd::Closed(reason),
            Ok(None) => timer.done(),
            Ok(Some(response)) => sending.push(Sending::new(response, timer, share, memory)),
        }
        next = gather(&mut queue, &mut sending, memory);
        if norn_env::buggify!("replies are slow to leave") {
            clock::sleep(Duration::from_millis(200)).await;
        }
        for Sending { response, timer, share } in sending {
            shares.push(share);
            let parts = match response.0 {
                Ok(parts) => parts,
                Err(reason) => {
                    error!("a response cannot be encoded, its connection is closed: {reason}");
                    return SendEnd::Closed(reason);
                }
            };
            for part in parts {
                if let Err(end) = send_part(&mut wr, &mut gathered, part, idle).await {
                    return end;
                }
            }
            timer.done();
        }
        if let Err(end) = flush(&mut wr, &mut gathered, idle).await {
            return end;
        }
        shares.clear();
    }
}

/// Adds what is ready behind the first reply, to go out in the same write. Gives the first that is not.
fn gather(queue: &mut mpsc::Receiver<Queued>, sending: &mut Vec<Sending>, memory: &Budget) -> Option<Queued> {
    let mut bytes: usize = sending.iter().map(|one| one.response.memory()).sum();
    while sending.len() < GATHERED_REPLIES_MAX && bytes < GATHERED_BYTES_MAX && !memory.is_full() {
        match resolve_now(queue.try_recv().ok()?) {
            Resolved::Now(response, timer, share) => {
                bytes += response.memory();
                sending.push(Sending::new(response, timer, share, memory));
            }
            Resolved::Nothing(timer) => timer.done(),
            Resolved::Later(queued) => return Some(queued),
        }
    }
    None
}

/// What leaves with the next write.
#[derive(Default)]
struct Gathered {
    parts: VecDeque<Bytes>,
    bytes: usize,
}

impl Gathered {
    fn push(&mut self, bytes: Bytes) {
        self.bytes += bytes.len();
        self.parts.push_back(bytes);
    }
}

/// Gathers what is in memory; a file range leaves at once, behind what was gathered.
async fn send_part(
    wr: &mut WriteHalf,
    gathered: &mut Gathered,
    part: Part<File>,
    idle: Duration,
) -> Result<(), SendEnd> {
    match part {
        Part::Bytes(bytes) => gathered.push(bytes),
        Part::File { file, pos, len } => match in_memory(&file, pos, len) {
            Some(bytes) => {
                gathered.push(bytes);
                if gathered.bytes >= GATHERED_BYTES_MAX {
                    flush(wr, gathered, idle).await?;
                }
            }
            None => {
                flush(wr, gathered, idle).await?;
                send_range(wr, &file, pos, len, idle).await?;
            }
        },
    }
    Ok(())
}

/// A small range of a file, if it is at hand without waiting for the disk.
fn in_memory(file: &File, pos: u64, len: u64) -> Option<Bytes> {
    let len = usize::try_from(len).ok().filter(|_| len <= GATHERED_RANGE_MAX)?;
    file.read_cached(pos, len)?.ok().filter(|bytes| bytes.len() == len)
}

enum Resolved {
    Now(Response, RequestTimer, Option<UnsentShare>),
    Nothing(RequestTimer),
    Later(Queued),
}

async fn resolve(reply: Reply) -> Result<Option<Response>, String> {
    match reply {
        Reply::Ready(response) => Ok(Some(response)),
        Reply::Waiting(waiting) => {
            let response = waiting.await;
            // Often many are answered together, as after a sync: the others come first, to leave with this one.
            tokio::task::yield_now().await;
            Ok(Some(response))
        }
        Reply::Unanswered(done) => done.await.map(|()| None),
        Reply::Close(reason) => Err(reason),
    }
}

fn resolve_now(mut queued: Queued) -> Resolved {
    match queued.reply {
        Reply::Ready(response) => Resolved::Now(response, queued.timer, queued.response),
        Reply::Unanswered(mut done) => match (&mut done).now_or_never() {
            Some(Ok(())) => Resolved::Nothing(queued.timer),
            Some(Err(reason)) => {
                queued.reply = Reply::Close(reason);
                Resolved::Later(queued)
            }
            None => {
                queued.reply = Reply::Unanswered(done);
                Resolved::Later(queued)
            }
        },
        Reply::Waiting(mut waiting) => match (&mut waiting).now_or_never() {
            Some(response) => Resolved::Now(response, queued.timer, None),
            None => {
                queued.reply = Reply::Waiting(waiting);
                Resolved::Later(queued)
            }
        },
        Reply::Close(_) => Resolved::Later(queued),
    }
}

async fn flush(wr: &mut WriteHalf, gathered: &mut Gathered, idle: Duration) -> Result<(), SendEnd> {
    if gathered.parts.is_empty() {
        return Ok(());
    }
    gathered.bytes = 0;
    let deadline = clock::now() + idle;
    let written = clock::timeout_at(deadline, wr.write_all(&mut gathered.parts));
    let sent = task::wait(|| "the peer to take a reply".into(), written);
    match sent.await {
        Ok(done) => Ok(done?),
        Err(_) => Err(SendEnd::Stalled(idle)),
    }
}

async fn send_range(
    wr: &mut WriteHalf,
    file: &File,
    mut pos: u64,
    mut len: u64,
    idle: Duration,
) -> Result<(), SendEnd> {
    while len > 0 {
        let step = len.min(SEND_STEP);
        let deadline = clock::now() + idle;
        let sent = task::wait(
            || "the peer to take records".into(),
            clock::timeout_at(deadline, wr.send_file(file, pos, step)),
        );
        match sent.await {
            Ok(done) => done?,
            Err(_) => return Err(SendEnd::Stalled(idle)),
        }
        pos += step;
        len -= step;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;
    use crate::metrics::Metrics;

    /// A reply that waits for nothing any more, and whose response of so many bytes is made when its turn comes.
    fn waiting(len: usize) -> Queued {
        let made = async move { Response::bytes(Bytes::from(vec![0; len])) };
        let held = Arc::new(Semaphore::new(1)).try_acquire_owned().expect("a free permit");
        let timer = Metrics::new(&[]).request_started(None);
        Queued { reply: Reply::Waiting(Box::pin(made)), timer, _held: held, response: None }
    }

    #[test]
    fn no_more_responses_are_made_than_there_is_memory_for() {
        norn_env::testing::run(|| async {
            let memory = Budget::new("memory", 1000);
            let (tx, mut queue) = mpsc::channel(3);
            for _ in 0..3 {
                assert!(tx.try_send(waiting(600)).is_ok());
            }
            let mut sending = vec![];
            let others = memory.take_beyond(1000);
            assert!(gather(&mut queue, &mut sending, &memory).is_none());
            assert!(sending.is_empty(), "other connections hold all of it");
            drop(others);
            for made in [2usize, 1, 0] {
                assert!(gather(&mut queue, &mut sending, &memory).is_none());
                assert_eq!((sending.len(), memory.used()), (made, 600 * made as u64));
                // They are sent.
                sending.clear();
            }
        });
    }
}
