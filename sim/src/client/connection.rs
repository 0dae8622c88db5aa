//! One connection: requests leave in the order in which they are given, any number of them in flight, and answers are
//! taken to come in that order.

use std::collections::{BTreeMap, VecDeque};
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::Request;
use norn_env::clock::{self, Instant};
use norn_env::net::{ReadHalf, Stream, WriteHalf};
use norn_env::{select, task};
use norn_protocol::client::{correlation, decode_response, encode_request};
use norn_protocol::frame::FrameReader;
use norn_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use norn_protocol::{versions, ApiKey, StrBytes};
use tokio::sync::{mpsc, oneshot};

use super::error::CallError;
use crate::check::{Event, History, Span};

/// Requests that wait to be written.
const QUEUE: usize = 16;
/// A response above this ends the connection, as it would a real client's.
const RESPONSE_BYTES_MAX: usize = 64 << 20;
/// A version that no broker serves yet.
const VERSION_OF_THE_FUTURE: i16 = 99;

/// Who connects: for what is recorded.
#[derive(Clone)]
pub struct Identity {
    pub client: u32,
    pub name: Arc<str>,
    pub history: History,
    /// From sending a request to giving it up.
    pub request_timeout: Duration,
}

/// How long one that reads slowly waits before each byte.
const DRIBBLE_PAUSE: Duration = Duration::from_secs(1);

/// A connection whose versions are known. Dropping it closes it.
pub struct Connection {
    who: Identity,
    opened: Duration,
    versions: BTreeMap<i16, (i16, i16)>,
    outgoing: mpsc::Sender<Outgoing>,
    waiting: Arc<Mutex<Waiting>>,
    io: Mutex<Option<task::Handle<()>>>,
}

struct Outgoing {
    bytes: Bytes,
    reply: Option<Reply>,
}

struct Reply {
    correlation: i32,
    to: oneshot::Sender<Bytes>,
}

#[derive(Default)]
struct Waiting {
    dribbles: bool,
    replies: VecDeque<Reply>,
    next_correlation: i32,
    closed: bool,
}

impl Connection {
    /// Connects and asks which versions the broker serves, with a request of `version` (one of the future takes the way
    /// of KIP-511).
    pub async fn open(addr: SocketAddr, who: &Identity, version: i16) -> Result<Self, CallError> {
        let deadline = clock::now() + who.request_timeout;
        let stream = Stream::connect(addr, deadline).await.map_err(|_| CallError::Lost)?;
        let (reader, writer) = stream.split();
        let (outgoing, queue) = mpsc::channel(QUEUE);
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        let io = run(reader, writer, queue, waiting.clone(), who.clone());
        let io = task::spawn(format!("connection of {}", who.name), io);
        let opened = who.history.now();
        let io = Mutex::new(Some(io));
        let mut connection =
            Self { who: who.clone(), opened, versions: BTreeMap::new(), outgoing, waiting, io };
        let response = connection.ask_versions(version).await?;
        let served = response.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version)));
        connection.versions = served.collect();
        Ok(connection)
    }

    async fn ask_versions(&self, version: i16) -> Result<ApiVersionsResponse, CallError> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("norn-sim"))
            .with_client_software_version(StrBytes::from_static_str("1"));
        let deadline = clock::now() + self.who.request_timeout;
        if version <= versions::range(ApiKey::ApiVersions).map_or(0, |range| range.max) {
            let pending = self.send_at(version, &request).await?;
            return pending.answer(deadline).await.map(|(response, _)| response);
        }
        let frame = move |correlation| {
            let mut frame = BytesMut::new();
            frame.put_i32(11);
            frame.put_i16(ApiKey::ApiVersions as i16);
            frame.put_i16(VERSION_OF_THE_FUTURE);
            frame.put_i32(correlation);
            frame.put_i16(-1);
            frame.put_u8(0);
            Ok(frame.freeze())
        };
        // Whatever was asked, the answer is of version 0 and lists what is served.
        let pending: Pending<'_, ApiVersionsRequest> = self.enqueue(0, frame).await?;
        let (response, _) = pending.answer(deadline).await?;
        match response.error_code {
            35 => Ok(response),
            other => Err(self.malformed(format!("ApiVersions 99 was answered with error {other}"))),
        }
    }

    /// Whether requests can still be sent.
    pub fn is_open(&self) -> bool {
        !self.waiting().closed
    }

    /// The versions of an API that both sides know, from `floor` on.
    pub fn versions(&self, key: i16, floor: i16) -> Option<(i16, i16)> {
        let (min, max) = *self.versions.get(&key)?;
        let ours = versions::range(ApiKey::try_from(key).ok()?)?;
        let (min, max) = (min.max(ours.min).max(floor), max.min(ours.max));
        (min <= max).then_some((min, max))
    }

    /// Sends a request; the answer can be awaited later.
    pub async fn send_at<R: Request>(&self, version: i16, request: &R) -> Result<Pending<'_, R>, CallError> {
        self.enqueue(version, |correlation| self.encode(correlation, version, request)).await
    }

    /// Sends a request that has no answer (Produce with acks=0).
    pub async fn send_unanswered<R: Request>(&self, version: i16, request: &R) -> Result<(), CallError> {
        let bytes = self.encode(self.next_correlation(), version, request)?;
        self.push(Outgoing { bytes, reply: None }).await
    }

    fn encode<R: Request>(&self, correlation: i32, version: i16, request: &R) -> Result<Bytes, CallError> {
        encode_request(correlation, version, Some(&self.who.name), request)
            .map_err(|error| self.malformed(format!("our own request does not encode: {error}")))
    }

    async fn enqueue<R: Request>(
        &self,
        version: i16,
        encode: impl FnOnce(i32) -> Result<Bytes, CallError>,
    ) -> Result<Pending<'_, R>, CallError> {
        let correlation = self.next_correlation();
        let bytes = encode(correlation)?;
        let (to, reply) = oneshot::channel();
        let sent = self.who.history.now();
        let outgoing = Outgoing { bytes, reply: Some(Reply { correlation, to }) };
        self.push(outgoing).await?;
        Ok(Pending { connection: self, version, sent, reply, request: PhantomData })
    }

    /// Queues a request. A connection that takes none for as long as an answer may take is given up.
    async fn push(&self, outgoing: Outgoing) -> Result<(), CallError> {
        let deadline = clock::now() + self.who.request_timeout;
        match clock::timeout_at(deadline, self.outgoing.send(outgoing)).await {
            Ok(sent) => sent.map_err(|_| CallError::Lost),
            Err(_) => {
                self.close();
                Err(CallError::TimedOut)
            }
        }
    }

    fn next_correlation(&self) -> i32 {
        let mut waiting = self.waiting();
        waiting.next_correlation += 1;
        waiting.next_correlation
    }

    /// From now on reads one byte in a second.
    pub fn dribble(&self) {
        self.waiting().dribbles = true;
    }

    /// Ends it; what is in flight has no answer.
    pub fn close(&self) {
        self.io.lock().expect("no holder panics").take();
        self.waiting().close();
    }

    fn malformed(&self, detail: String) -> CallError {
        malformed(&self.who, &detail);
        self.close();
        CallError::Malformed(detail)
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("no holder panics")
    }
}

impl Waiting {
    fn close(&mut self) {
        self.closed = true;
        self.replies.clear();
    }
}

/// A request in flight.
pub struct Pending<'a, R> {
    connection: &'a Connection,
    version: i16,
    sent: Duration,
    reply: oneshot::Receiver<Bytes>,
    request: PhantomData<R>,
}

impl<R: Request> Pending<'_, R> {
    /// Waits for the answer; if none comes by `deadline`, the connection is closed.
    pub async fn answer(self, deadline: Instant) -> Result<(R::Response, Span), CallError> {
        let who = &self.connection.who;
        let key = ApiKey::try_from(R::KEY).map_or("?".to_owned(), |key| format!("{key:?}"));
        let what = || format!("{key} v{}", self.version);
        let reply = task::wait(what, clock::timeout_at(deadline, self.reply)).await;
        let span = who.history.since(self.sent);
        let frame = match reply {
            Ok(Ok(frame)) => frame,
            Ok(Err(_)) => return Err(CallError::Lost),
            Err(_) => {
                let (client, opened) = (who.client, self.connection.opened);
                who.history.record(Event::TimedOut { client, what: what(), opened, span });
                self.connection.close();
                return Err(CallError::TimedOut);
            }
        };
        match decode_response::<R>(self.version, frame) {
            Ok((_, response)) => Ok((response, span)),
            Err(error) => Err(self.connection.malformed(format!("{}: {error}", what()))),
        }
    }
}

fn malformed(who: &Identity, detail: &str) {
    let (client, at) = (who.client, who.history.now());
    who.history.record(Event::Malformed { client, detail: detail.to_owned(), at });
}

/// Moves bytes until either direction ends.
async fn run(
    reader: ReadHalf,
    writer: WriteHalf,
    queue: mpsc::Receiver<Outgoing>,
    waiting: Arc<Mutex<Waiting>>,
    who: Identity,
) {
    select! {
        () = read(reader, &waiting, &who) => {}
        () = write(writer, queue, &waiting) => {}
    }
    waiting.lock().expect("no holder panics").close();
}

async fn write(mut writer: WriteHalf, mut queue: mpsc::Receiver<Outgoing>, waiting: &Mutex<Waiting>) {
    let mut bufs = VecDeque::new();
    while let Some(first) = queue.recv().await {
        let mut next = Some(first);
        while let Some(outgoing) = next {
            bufs.push_back(outgoing.bytes);
            waiting.lock().expect("no holder panics").replies.extend(outgoing.reply);
            next = queue.try_recv().ok();
        }
        if writer.write_all(&mut bufs).await.is_err() {
            return;
        }
    }
}

/// One byte, and a pause.
async fn read_byte(reader: &mut ReadHalf, buf: &mut BytesMut) -> std::io::Result<usize> {
    clock::sleep(DRIBBLE_PAUSE).await;
    let mut byte = BytesMut::with_capacity(1);
    let read = reader.read_buf(&mut byte).await?;
    buf.extend_from_slice(&byte);
    Ok(read)
}

async fn read(mut reader: ReadHalf, waiting: &Mutex<Waiting>, who: &Identity) {
    let mut frames = FrameReader::new(RESPONSE_BYTES_MAX);
    loop {
        let dribbles = waiting.lock().expect("no holder panics").dribbles;
        let read = match dribbles {
            false => reader.read_buf(frames.buf()).await,
            true => read_byte(&mut reader, frames.buf()).await,
        };
        match read {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        loop {
            let frame = match frames.next() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => return malformed(who, &error.to_string()),
            };
            let expected = waiting.lock().expect("no holder panics").replies.pop_front();
            match (expected, correlation(&frame)) {
                // Nobody may wait for it any more.
                (Some(reply), Ok(got)) if reply.correlation == got => drop(reply.to.send(frame)),
                (Some(reply), got) => {
                    return malformed(who, &format!("an answer to {got:?} instead of {}", reply.correlation))
                }
                (None, got) => {
                    return malformed(who, &format!("an answer to {got:?}, which nothing asked for"))
                }
            }
        }
    }
}
