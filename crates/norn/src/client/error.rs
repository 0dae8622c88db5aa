//! What can go wrong between a command and a broker, in words that say what to do about it.

use std::io;

use norn_protocol::client::ResponseError;
use norn_protocol::frame::FrameError;
use norn_protocol::response::EncodeError;
use norn_protocol::{ApiKey, ErrorCode};

/// Why a command did not get its answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("{address:?} is not an address: write host:port, such as 127.0.0.1:9092")]
    Address { address: String },
    #[error("could not find {host}: {source}")]
    Resolve { host: String, source: io::Error },
    #[error("could not connect to {address}: {}{}", reason(source), advice(source))]
    Connect { address: String, source: io::Error },
    #[error("lost the connection to {address}: {}", reason(source))]
    Lost { address: String, source: io::Error },
    #[error("{address} closed the connection; is it the PLAINTEXT listener of a Kafka broker?")]
    Closed { address: String },
    #[error("{address} did not answer {api:?} within {seconds} s")]
    Silent { address: String, api: ApiKey, seconds: u64 },
    #[error("{address} sent what is no Kafka response: {source}; is it the PLAINTEXT listener of a broker?")]
    Frame { address: String, source: FrameError },
    #[error("{address} sent a malformed {api:?} response: {source}")]
    Response { address: String, api: ApiKey, source: ResponseError },
    #[error("{address} answered request {got}, and {wanted} was asked")]
    OutOfOrder { address: String, got: i32, wanted: i32 },
    #[error("{address} has no {api:?} in a version that this client speaks")]
    Unsupported { address: String, api: ApiKey },
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The broker understood, and refused.
    #[error("{what}: {}", refusal(*code, message))]
    Refused { what: String, code: ErrorCode, message: Option<String> },
    #[error("the cluster's metadata names no broker {0}")]
    NoBroker(i32),
    /// Of several things that were asked for, some were refused; `done` tells of the others.
    #[error("{}", refused.join("\nerror: "))]
    Partly { done: String, refused: Vec<String> },
}

impl ClientError {
    /// What was done, or, if something was refused, both.
    pub fn partly(done: String, refused: Vec<ClientError>) -> Result<String, ClientError> {
        let refused: Vec<String> = refused.iter().map(ToString::to_string).collect();
        match refused.is_empty() {
            true => Ok(done),
            false => Err(ClientError::Partly { done, refused }),
        }
    }

    /// `Ok` if `code` is success, else the refusal of `what`, with the broker's own words if it sent any.
    pub fn check(what: impl FnOnce() -> String, code: i16, message: Option<&str>) -> Result<(), ClientError> {
        match ErrorCode::try_from_code(code) {
            None => Ok(()),
            Some(code) => {
                let message = message.filter(|text| !text.is_empty()).map(str::to_owned);
                Err(ClientError::Refused { what: what(), code, message })
            }
        }
    }

    /// Whether the same request may succeed a moment later: a broker or a group that is still starting.
    pub fn is_passing(&self) -> bool {
        use ErrorCode::{
            CoordinatorLoadInProgress, CoordinatorNotAvailable, LeaderNotAvailable, NotCoordinator,
            OffsetNotAvailable,
        };
        let ClientError::Refused { code, .. } = self else { return false };
        matches!(
            code,
            CoordinatorLoadInProgress
                | CoordinatorNotAvailable
                | LeaderNotAvailable
                | NotCoordinator
                | OffsetNotAvailable
        )
    }
}

/// An I/O error without the operating system's numbers.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        io::ErrorKind::TimedOut => "timed out".to_owned(),
        _ => error.to_string(),
    }
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "; is the broker running? try `norn serve`",
        io::ErrorKind::TimedOut => "; is the address right, and no firewall in between?",
        _ => "",
    }
}

fn refusal(code: ErrorCode, message: &Option<String>) -> String {
    let words = match code {
        ErrorCode::UnknownTopicOrPartition => "it does not exist",
        ErrorCode::GroupIdNotFound => "it does not exist",
        ErrorCode::CoordinatorLoadInProgress => "its coordinator is still loading it",
        ErrorCode::CoordinatorNotAvailable => "its coordinator is not available yet",
        _ => "the broker refused",
    };
    format!("{} ({code:?})", message.as_deref().unwrap_or(words))
}
