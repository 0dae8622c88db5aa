//! One connection to one broker: requests in the newest version that both sides speak, one at a time.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use bytes::Bytes;
use kafka_protocol::messages::ApiVersionsRequest;
use kafka_protocol::protocol::Request;
use norn_env::clock::{self, Duration, Instant};
use norn_env::net::{ReadHalf, Stream, WriteHalf};
use norn_protocol::client::{decode_response, encode_request};
use norn_protocol::frame::FrameReader;
use norn_protocol::{versions, ApiKey, ErrorCode, StrBytes};

use super::error::ClientError;

/// How long a connection may take to be there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a broker may take to answer; longer than the longest wait that a command asks it for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest response that is taken.
const RESPONSE_BYTES_MAX: usize = 256 << 20;
/// Sent with every request, for the broker's logs and metrics.
const CLIENT_ID: &str = "norn-cli";

/// An open connection whose broker's versions are known.
pub struct Connection {
    address: String,
    reader: ReadHalf,
    writer: WriteHalf,
    frames: FrameReader,
    correlation: i32,
    /// By API key: the lowest and highest version of the broker.
    served: BTreeMap<i16, (i16, i16)>,
}

impl Connection {
    /// Connects to `host:port` and asks for its versions.
    pub async fn open(address: &str) -> Result<Connection, ClientError> {
        let stream = connect(address, clock::now() + CONNECT_TIMEOUT).await?;
        let (reader, writer) = stream.split();
        let mut connection = Connection {
            address: address.to_owned(),
            reader,
            writer,
            frames: FrameReader::new(RESPONSE_BYTES_MAX),
            correlation: 0,
            served: BTreeMap::new(),
        };
        connection.negotiate().await?;
        Ok(connection)
    }

    /// The version in which `R` is sent here.
    pub fn version_of<R: Request>(&self) -> Result<i16, ClientError> {
        let api = api_of::<R>();
        let range = versions::range(api);
        let both = range.zip(self.served.get(&R::KEY)).map(|(ours, (min, max))| {
            let version = ours.max.min(*max);
            (version, version >= ours.min.max(*min))
        });
        match both {
            Some((version, true)) => Ok(version),
            _ => Err(ClientError::Unsupported { address: self.address.clone(), api }),
        }
    }

    /// Sends a request in the newest version that both sides speak, and waits for its response.
    pub async fn call<R: Request>(&mut self, request: &R) -> Result<R::Response, ClientError> {
        let version = self.version_of::<R>()?;
        let frame = self.exchange(version, request).await?;
        self.decode::<R>(version, frame)
    }

    async fn negotiate(&mut self) -> Result<(), ClientError> {
        const NEWEST: i16 = 3;
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("norn"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let frame = self.exchange(NEWEST, &request).await?;
        // A broker that lacks the version answers in version 0, with its code in the first field (KIP-511).
        let code = frame.get(4..6).map(|code| i16::from_be_bytes([code[0], code[1]]));
        let version = if code == Some(ErrorCode::UnsupportedVersion.code()) { 0 } else { NEWEST };
        let mut response = self.decode::<ApiVersionsRequest>(version, frame)?;
        if version == 0 && response.api_keys.is_empty() {
            let frame = self.exchange(0, &ApiVersionsRequest::default()).await?;
            response = self.decode::<ApiVersionsRequest>(0, frame)?;
        }
        if response.api_keys.is_empty() {
            ClientError::check(
                || format!("{} refused ApiVersions", self.address),
                response.error_code,
                None,
            )?;
        }
        self.served =
            response.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version))).collect();
        Ok(())
    }

    /// Sends a request and receives the frame that answers it.
    async fn exchange<R: Request>(&mut self, version: i16, request: &R) -> Result<Bytes, ClientError> {
        self.correlation = self.correlation.wrapping_add(1);
        let bytes = encode_request(self.correlation, version, Some(CLIENT_ID), request)?;
        let deadline = clock::now() + ANSWER_TIMEOUT;
        match clock::timeout_at(deadline, self.round_trip(bytes)).await {
            Ok(frame) => frame,
            Err(_) => Err(ClientError::Silent {
                address: self.address.clone(),
                api: api_of::<R>(),
                seconds: ANSWER_TIMEOUT.as_secs(),
            }),
        }
    }

    async fn round_trip(&mut self, request: Bytes) -> Result<Bytes, ClientError> {
        let lost = |source| ClientError::Lost { address: self.address.clone(), source };
        self.writer.write_all(&mut VecDeque::from([request])).await.map_err(lost)?;
        loop {
            match self.frames.next() {
                Ok(Some(frame)) => return Ok(frame),
                Ok(None) => {}
                Err(source) => return Err(ClientError::Frame { address: self.address.clone(), source }),
            }
            let received = self.reader.read_buf(self.frames.buf()).await;
            if received.map_err(|source| ClientError::Lost { address: self.address.clone(), source })? == 0 {
                return Err(ClientError::Closed { address: self.address.clone() });
            }
        }
    }

    fn decode<R: Request>(&self, version: i16, frame: Bytes) -> Result<R::Response, ClientError> {
        let (correlation, response) = decode_response::<R>(version, frame).map_err(|source| {
            ClientError::Response { address: self.address.clone(), api: api_of::<R>(), source }
        })?;
        if correlation == self.correlation {
            Ok(response)
        } else {
            Err(ClientError::OutOfOrder {
                address: self.address.clone(),
                got: correlation,
                wanted: self.correlation,
            })
        }
    }
}

fn api_of<R: Request>() -> ApiKey {
    ApiKey::try_from(R::KEY).expect("every request type has a key")
}

/// Tries each address that `host:port` stands for; the last failure is told.
async fn connect(address: &str, deadline: Instant) -> Result<Stream, ClientError> {
    let mut failure = None;
    for candidate in resolve(address).await? {
        match Stream::connect(candidate, deadline).await {
            Ok(stream) => return Ok(stream),
            Err(source) => failure = Some(source),
        }
    }
    match failure {
        Some(source) => Err(ClientError::Connect { address: address.to_owned(), source }),
        None => Err(ClientError::Address { address: address.to_owned() }),
    }
}

#[allow(clippy::disallowed_methods, reason = "the commands run beside the broker, not in a simulation")]
async fn resolve(address: &str) -> Result<Vec<SocketAddr>, ClientError> {
    if let Ok(address) = address.parse() {
        return Ok(vec![address]);
    }
    let malformed = || ClientError::Address { address: address.to_owned() };
    let (host, port) = address.rsplit_once(':').ok_or_else(malformed)?;
    let port: u16 = port.parse().map_err(|_| malformed())?;
    match tokio::net::lookup_host((host, port)).await {
        Ok(found) => Ok(found.collect()),
        Err(source) => Err(ClientError::Resolve { host: host.to_owned(), source }),
    }
}
