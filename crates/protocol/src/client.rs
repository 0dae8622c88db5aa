//! The client's side of the wire, without I/O: a request to bytes, a response frame to a value. For tools, tests and the
//! simulator's clients; a response is decoded as it comes, since its sender is a broker that the caller chose.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::{Decodable, Request, StrBytes};
use thiserror::Error;

use crate::response::EncodeError;
use crate::wire::{Reader, WireError};
use crate::ApiKey;

const SIZE_LEN: usize = 4;

/// Why a response frame was not understood.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum ResponseError {
    /// The header is malformed.
    #[error("malformed response header: {0}")]
    Header(#[from] WireError),
    /// The body is malformed.
    #[error("malformed response body: {0}")]
    Body(String),
}

/// A request with its size prefix, ready to be written.
pub fn encode_request<R: Request>(
    correlation: i32,
    version: i16,
    client_id: Option<&str>,
    request: &R,
) -> Result<Bytes, EncodeError> {
    let key = ApiKey::try_from(R::KEY).expect("every request type has a key");
    let failed = |reason: String| EncodeError { key, version, reason };
    let body_len = request.compute_size(version).map_err(|error| failed(error.to_string()))?;
    let client_len = client_id.map_or(0, str::len);
    let mut buf = BytesMut::with_capacity(SIZE_LEN + 11 + client_len + body_len);
    buf.put_i32(0);
    buf.put_i16(R::KEY);
    buf.put_i16(version);
    buf.put_i32(correlation);
    match client_id {
        None => buf.put_i16(-1),
        Some(name) => {
            let len =
                i16::try_from(name.len()).map_err(|_| failed("the client id is too long".to_owned()))?;
            buf.put_i16(len);
            buf.put_slice(name.as_bytes());
        }
    }
    if R::header_version(version) >= 2 {
        buf.put_u8(0); // no tagged fields
    }
    request.encode(&mut buf, version).map_err(|error| failed(error.to_string()))?;
    let size = i32::try_from(buf.len() - SIZE_LEN).map_err(|_| failed("larger than a frame".to_owned()))?;
    buf[..SIZE_LEN].copy_from_slice(&size.to_be_bytes());
    Ok(buf.freeze())
}

/// The correlation id of a response frame, to find the request (and so the version) that it answers.
pub fn correlation(frame: &Bytes) -> Result<i32, ResponseError> {
    Ok(Reader::new(frame).i32()?)
}

/// A response frame (without its size prefix) to a request of this version: its correlation id and its body.
pub fn decode_response<R: Request>(version: i16, frame: Bytes) -> Result<(i32, R::Response), ResponseError> {
    use kafka_protocol::protocol::HeaderVersion;
    let mut reader = Reader::new(&frame);
    let correlation = reader.i32()?;
    if <R::Response as HeaderVersion>::header_version(version) >= 1 {
        reader.skip_tags()?;
    }
    let mut body = frame.slice(reader.position()..);
    let response =
        R::Response::decode(&mut body, version).map_err(|error| ResponseError::Body(error.to_string()))?;
    match body.len() {
        0 => Ok((correlation, response)),
        n => Err(WireError::TrailingBytes(n).into()),
    }
}

/// The name of a topic, as the messages of `kafka-protocol` hold it.
pub fn topic_name(name: &str) -> kafka_protocol::messages::TopicName {
    StrBytes::from_string(name.to_owned()).into()
}
