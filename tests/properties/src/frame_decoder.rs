//! Frames off a socket, and the requests in them.

use bytes::{Buf, BufMut, Bytes};
use norn_protocol::{batch::produced_batch, frame::FrameReader, request::RequestHead, ApiKey};

/// `socket.request.max.bytes` for the property: above what the input can hold, below what it can claim.
const FRAME_MAX: usize = 1 << 20;

/// However a stream is cut into reads, the same frames come out of it, and none that it does not hold; each is a
/// request or an error. The first byte of `input` says how it is cut.
pub fn frame_decoder(input: &[u8]) {
    let Some((cut, stream)) = input.split_first() else { return };
    let whole = frames(stream, usize::MAX);
    assert_eq!(whole, frames(stream, 1 + usize::from(*cut)), "reads of {cut} bytes change what was sent");
    let mut rest = stream;
    for frame in &whole {
        assert_eq!(rest.get_i32() as usize, frame.len(), "a frame has the length that was sent");
        assert_eq!(&rest[..frame.len()], frame, "a frame has the bytes that were sent");
        rest = &rest[frame.len()..];
    }
    whole.into_iter().for_each(request);
}

/// The frames of `stream` up to its end or to the first that cannot be, in reads of at most `most` bytes.
fn frames(mut stream: &[u8], most: usize) -> Vec<Bytes> {
    let mut reader = FrameReader::new(FRAME_MAX);
    let mut found = vec![];
    loop {
        match reader.next() {
            Ok(Some(frame)) => found.push(frame),
            Ok(None) if stream.is_empty() => return found,
            Ok(None) => {
                let buf = reader.buf();
                let room = buf.capacity() - buf.len();
                assert!(room > 0, "a read without room would look like the end of the stream");
                let (now, later) = stream.split_at(room.min(most).min(stream.len()));
                buf.put_slice(now);
                stream = later;
            }
            Err(_) => return found,
        }
    }
}

/// Reads a frame as far as a broker does before it knows the API's handler.
fn request(frame: Bytes) {
    let Ok(head) = RequestHead::parse(frame) else { return };
    let known = head.api().is_ok();
    if known && head.key == ApiKey::Produce as i16 {
        let Ok(request) = head.decode_produce() else { return };
        for partition in request.topics.into_iter().flat_map(|topic| topic.partitions) {
            // Most are refused; the point is that they are.
            let _ = produced_batch(partition.records, head.version);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::frame_decoder;
    use crate::nearly::nearly;

    /// A byte for the cut, then frames with a request header each.
    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let body = prop::collection::vec(any::<u8>(), 0..200);
        let frame = (0..75_i16, 0..14_i16, body).prop_map(|(key, version, body)| {
            let header =
                [&key.to_be_bytes()[..], &version.to_be_bytes(), &7_i32.to_be_bytes(), &[0, 1, b'c', 0]]
                    .concat();
            let len = (header.len() + body.len()) as i32;
            [&len.to_be_bytes()[..], &header, &body].concat()
        });
        (any::<u8>(), prop::collection::vec(frame, 0..6))
            .prop_map(|(cut, frames)| [vec![cut], frames.concat()].concat())
    }

    proptest! {
        #[test]
        fn any_stream_is_frames_and_requests_or_an_error(
            random in prop::collection::vec(any::<u8>(), 0..400),
            nearly_right in nearly(stream()),
        ) {
            frame_decoder(&random);
            frame_decoder(&nearly_right);
        }
    }
}
