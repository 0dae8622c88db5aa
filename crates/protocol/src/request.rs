//! Requests as they come from the network: the header that all share, then a body that only its API's handler decodes.
//! Bytes here are a stranger's: nothing is believed before it is checked against the bytes that are there.

use bytes::{Buf, Bytes};
use kafka_protocol::protocol::Request;
use kafka_protocol::protocol::StrBytes;
use thiserror::Error;

use crate::layout;
use crate::versions::{self, ApiVersionRange};
use crate::wire::{Reader, WireError};
use crate::ApiKey;

/// A request's header, with its body still encoded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestHead {
    /// Which API; one of [`versions::TABLE`].
    pub key: i16,
    /// The version that header and body are encoded in; not necessarily one that is served.
    pub version: i16,
    /// The client's number for the request, to be given back.
    pub correlation: i32,
    /// What the client calls itself.
    pub client_id: Option<StrBytes>,
    /// The rest of the frame.
    pub body: Bytes,
}

/// Why a request cannot be handled. Kafka closes the connection on each of them, but for [`RequestError::Version`] of
/// ApiVersions, which it answers (KIP-511).
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum RequestError {
    /// The header is cut short or malformed.
    #[error("malformed request header: {0}")]
    Header(WireError),
    /// An API that Norn does not speak.
    #[error("unknown api key {key} (version {version})")]
    UnknownApi {
        /// The key.
        key: i16,
        /// The version, as the client sent it.
        version: i16,
    },
    /// A version that is not served.
    #[error("version {version} of {key:?} is not supported")]
    Version {
        /// The API.
        key: ApiKey,
        /// The version, as the client sent it.
        version: i16,
    },
    /// The body is not what its API and version say.
    #[error("malformed {key:?} request (version {version}): {reason}")]
    Body {
        /// The API.
        key: ApiKey,
        /// The version.
        version: i16,
        /// What is wrong with it.
        reason: String,
    },
}

impl RequestHead {
    /// Reads the header of a request frame.
    pub fn parse(mut frame: Bytes) -> Result<RequestHead, RequestError> {
        let mut reader = Reader::new(&frame);
        let key = reader.i16().map_err(RequestError::Header)?;
        let version = reader.i16().map_err(RequestError::Header)?;
        let unknown = RequestError::UnknownApi { key, version };
        let api = ApiKey::try_from(key).map_err(|()| unknown.clone())?;
        versions::range(api).ok_or(unknown)?;
        let mut rest = || {
            let correlation = reader.i32()?;
            // Never compact, so that any broker can read it (KIP-482).
            let client_id = reader.string(false)?;
            if api.request_header_version(version) >= 2 {
                reader.skip_tags()?;
            }
            Ok((correlation, client_id))
        };
        let (correlation, client_id) = rest().map_err(RequestError::Header)?;
        let body_at = reader.position();
        frame.advance(body_at);
        Ok(RequestHead { key, version, correlation, client_id, body: frame })
    }

    /// Which API, with its versions; `Err` if this request's version is not served.
    pub fn api(&self) -> Result<ApiVersionRange, RequestError> {
        let unknown = RequestError::UnknownApi { key: self.key, version: self.version };
        let api = ApiKey::try_from(self.key).map_err(|()| unknown.clone())?;
        let range = versions::range(api).ok_or(unknown)?;
        if range.serves(self.version) {
            Ok(range)
        } else {
            Err(RequestError::Version { key: api, version: self.version })
        }
    }

    /// Decodes the body. `R` is the request type of this head's API. Strings that are not UTF-8 are read with U+FFFD in the
    /// place of what cannot be read, as by Kafka.
    pub fn decode_body<R: Request>(&self) -> Result<R, RequestError> {
        assert_eq!(R::KEY, self.key, "a body decoded as another API's");
        let api = self.api()?;
        let body = |reason: String| RequestError::Body { key: api.key, version: self.version, reason };
        layout::check(api.key, self.version, &self.body).map_err(|error| body(error.to_string()))?;
        let decode = |mut from: Bytes| R::decode(&mut from, self.version);
        let refused = match decode(self.body.clone()) {
            Ok(request) => return Ok(request),
            Err(error) => body(error.to_string()),
        };
        let utf8 = layout::with_utf8(api.key, self.version, &self.body).ok_or(refused)?;
        decode(utf8).map_err(|error| body(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::messages::{ApiVersionsRequest, MetadataRequest, ProduceRequest};

    use super::*;
    use crate::client;

    /// What follows the size prefix.
    fn frame<R: Request>(version: i16, client_id: Option<&str>, request: &R) -> Bytes {
        client::encode_request(42, version, client_id, request).unwrap().slice(4..)
    }

    fn with(frame: &Bytes, change: impl FnOnce(&mut BytesMut)) -> Bytes {
        let mut bytes = BytesMut::from(&frame[..]);
        change(&mut bytes);
        bytes.freeze()
    }

    #[test]
    fn a_header_is_read_in_its_apis_version() {
        for (version, client_id) in [(1, None), (8, Some("c")), (9, Some("client")), (13, None)] {
            let head = RequestHead::parse(frame(version, client_id, &MetadataRequest::default())).unwrap();
            assert_eq!((head.key, head.version, head.correlation), (3, version, 42));
            assert_eq!(head.client_id.as_deref(), client_id);
            head.decode_body::<MetadataRequest>().unwrap();
        }
    }

    #[test]
    fn an_unknown_api_is_named() {
        for key in [-1, 4, 52, 999] {
            let frame = with(&frame(1, None, &MetadataRequest::default()), |bytes| {
                bytes[..2].copy_from_slice(&i16::to_be_bytes(key));
            });
            assert_eq!(RequestHead::parse(frame), Err(RequestError::UnknownApi { key, version: 1 }));
        }
    }

    #[test]
    fn an_unserved_version_still_has_a_header_to_answer_to() {
        // KIP-511: a client newer than the broker asks with a version whose body the broker cannot read.
        let newer = with(&frame(4, Some("c"), &ApiVersionsRequest::default()), |bytes| bytes[3] = 99);
        let head = RequestHead::parse(newer).unwrap();
        assert_eq!(head.correlation, 42);
        let error = RequestError::Version { key: ApiKey::ApiVersions, version: 99 };
        assert_eq!(head.api(), Err(error.clone()));
        assert_eq!(head.decode_body::<ApiVersionsRequest>(), Err(error));
    }

    #[test]
    fn produce_below_three_is_not_served_though_it_is_advertised() {
        let old = with(&frame(3, None, &ProduceRequest::default()), |bytes| bytes[3] = 2);
        let head = RequestHead::parse(old).unwrap();
        assert_eq!(head.decode_produce(), Err(RequestError::Version { key: ApiKey::Produce, version: 2 }));
    }

    #[test]
    fn a_cut_header_is_an_error() {
        let whole = frame(9, Some("client"), &MetadataRequest::default());
        for len in 0..4 + 4 + 2 + 6 + 1 {
            let error = RequestHead::parse(whole.slice(..len)).unwrap_err();
            assert_eq!(error, RequestError::Header(WireError::Truncated), "{len}");
        }
    }

    #[test]
    fn librdkafkas_request_for_all_topics_is_understood_though_bytes_follow_it() {
        let asked = MetadataRequest::default().with_topics(None).with_allow_auto_topic_creation(false);
        let long = with(&frame(13, None, &asked), |bytes| bytes.extend_from_slice(&[0; 3]));
        assert_eq!(RequestHead::parse(long).unwrap().decode_body::<MetadataRequest>(), Ok(asked));
    }

    #[test]
    fn tagged_fields_of_a_header_are_skipped() {
        let plain = frame(9, None, &MetadataRequest::default());
        let (head, body) = plain.split_at(11);
        let tagged = Bytes::from([&head[..10], b"\x01\x07\x03abc", body].concat());
        assert_eq!(RequestHead::parse(tagged), RequestHead::parse(plain.clone()));
    }
}
