//! Responses on their way out: size, header, body in one buffer. The header's version follows the API's, except that
//! ApiVersions keeps the oldest one, since its client does not yet know the broker (KIP-511).

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::ApiVersionsResponse;
use kafka_protocol::protocol::Encodable;
use thiserror::Error;

use crate::types::ErrorCode;
use crate::ApiKey;

const SIZE_LEN: usize = 4;

/// A message that cannot be encoded in the version asked for: a field is set that the version lacks, or a string is
/// longer than its length field. The caller built it wrongly.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("cannot encode {key:?} version {version}: {reason}")]
pub struct EncodeError {
    /// The API.
    pub key: ApiKey,
    /// The version.
    pub version: i16,
    /// What the codec says.
    pub reason: String,
}

/// A response with its size prefix.
pub fn encode(
    correlation: i32,
    key: ApiKey,
    version: i16,
    body: &impl Encodable,
) -> Result<Bytes, EncodeError> {
    let failed = |reason: String| EncodeError { key, version, reason };
    let body_len = body.compute_size(version).map_err(|error| failed(error.to_string()))?;
    let mut buf = start(correlation, key, version, body_len);
    body.encode(&mut buf, version).map_err(|error| failed(error.to_string()))?;
    let size = i32::try_from(buf.len() - SIZE_LEN).map_err(|_| failed("larger than a frame".to_owned()))?;
    buf[..SIZE_LEN].copy_from_slice(&size.to_be_bytes());
    Ok(buf.freeze())
}

/// A buffer with room for a body, holding an empty size and the response header.
fn start(correlation: i32, key: ApiKey, version: i16, body_len: usize) -> BytesMut {
    let mut buf = BytesMut::with_capacity(SIZE_LEN + 5 + body_len);
    buf.put_i32(0);
    buf.put_i32(correlation);
    if key.response_header_version(version) >= 1 {
        buf.put_u8(0); // no tagged fields
    }
    buf
}

/// The answer to an ApiVersions request of a version that is not served: UNSUPPORTED_VERSION in the oldest body, with
/// what the broker supports, so that the client can try again (KIP-511).
pub fn unsupported_api_versions(correlation: i32, apis: Vec<ApiVersion>) -> Result<Bytes, EncodeError> {
    let body = ApiVersionsResponse::default()
        .with_error_code(ErrorCode::UnsupportedVersion.code())
        .with_api_keys(apis);
    encode(correlation, ApiKey::ApiVersions, 0, &body)
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
    use kafka_protocol::messages::{ApiVersionsRequest, MetadataRequest, MetadataResponse};

    use super::*;
    use crate::client;

    #[test]
    fn a_response_is_read_back_by_the_client() {
        for version in 0..=13 {
            let topic = MetadataResponseTopic::default().with_name(Some(client::topic_name("t")));
            let body = MetadataResponse::default().with_topics(vec![topic]);
            let bytes = encode(5, ApiKey::Metadata, version, &body).unwrap();
            assert_eq!(bytes[..4], (bytes.len() as i32 - 4).to_be_bytes());
            let frame = bytes.slice(4..);
            assert_eq!(client::correlation(&frame), Ok(5));
            let (correlation, read) = client::decode_response::<MetadataRequest>(version, frame).unwrap();
            assert_eq!((correlation, read.topics.len()), (5, 1), "{version}");
        }
    }

    #[test]
    fn api_versions_has_the_oldest_header_in_every_version() {
        for version in 0..=4 {
            let bytes = encode(1, ApiKey::ApiVersions, version, &ApiVersionsResponse::default()).unwrap();
            assert_eq!(bytes[8..10], [0, 0], "the error code follows the correlation id");
            client::decode_response::<ApiVersionsRequest>(version, bytes.slice(4..)).unwrap();
        }
    }

    #[test]
    fn a_client_that_is_too_new_learns_what_there_is() {
        let api = ApiVersion::default().with_api_key(18).with_max_version(4);
        let bytes = unsupported_api_versions(9, vec![api]).unwrap();
        // Size, correlation id, error 35, one API: 18, from 0 to 4.
        assert_eq!(bytes[..], *b"\0\0\0\x10\0\0\0\x09\0\x23\0\0\0\x01\0\x12\0\0\0\x04");
    }

    #[test]
    fn what_a_version_cannot_say_is_an_error() {
        let topic = client::topic_name(&"x".repeat(40_000));
        let topic = MetadataResponseTopic::default().with_name(Some(topic));
        let body = MetadataResponse::default().with_topics(vec![topic]);
        let error = encode(1, ApiKey::Metadata, 1, &body).unwrap_err();
        assert_eq!((error.key, error.version), (ApiKey::Metadata, 1));
        assert!(error.reason.contains("too long"), "{error}");
        assert!(encode(1, ApiKey::Metadata, 14, &MetadataResponse::default()).is_err());
    }
}
