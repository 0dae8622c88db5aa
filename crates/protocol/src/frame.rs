//! Cutting a connection's bytes into frames: a four-byte size, then that many bytes. Frames leave as slices of the
//! buffer they were read into. What a size claims is not believed beyond a step: memory follows the bytes that have
//! come, and a large frame's memory leaves with the frame.

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

const SIZE_LEN: usize = 4;
/// A request begins with its API key.
const KEY_LEN: usize = 2;
/// Reserved while no frame's size is known: several small requests, and cheap for an idle connection.
const CHUNK: usize = 8 * 1024;
/// Less free space than this is not worth a read.
const SPARE_MIN: usize = 1024;
/// How far ahead of the received bytes a claimed size is believed at once; from there the buffer doubles.
const STEP: usize = 1024 * 1024;

/// A size prefix that ends the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum FrameError {
    /// The size is negative.
    #[error("a request's size is negative: {0}")]
    Negative(i32),
    /// The size is above the limit.
    #[error("a request of {size} bytes is larger than socket.request.max.bytes ({max})")]
    TooLarge {
        /// What the prefix says, in bytes.
        size: usize,
        /// The limit, in bytes.
        max: usize,
    },
}

/// The frames of one direction of one connection. Fill [`FrameReader::buf`], then take frames until there is none.
#[derive(Debug)]
pub struct FrameReader {
    buf: BytesMut,
    max: usize,
}

impl FrameReader {
    /// A reader that refuses frames above `max` bytes (`socket.request.max.bytes`).
    pub fn new(max: usize) -> Self {
        FrameReader { buf: BytesMut::new(), max }
    }

    /// Where the next received bytes go: append to it. It has room for at least part of what is awaited.
    pub fn buf(&mut self) -> &mut BytesMut {
        let have = self.buf.len();
        let (spare_min, capacity) = match self.awaited() {
            // Exactly the frame in the end, so that no byte of the next one holds on to a large frame's memory.
            Some(total) if total > CHUNK => {
                (total.saturating_sub(have).min(CHUNK / 2), total.min(STEP.max(have * 2)))
            }
            _ => (SPARE_MIN, have + CHUNK),
        };
        if self.buf.capacity() - have < spare_min {
            self.reallocate(capacity);
        }
        &mut self.buf
    }

    /// The next whole frame, without its size prefix; `None` until more bytes come. An error is final.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(size) = self.size() else { return Ok(None) };
        let len = usize::try_from(size).map_err(|_| FrameError::Negative(size))?;
        if len > self.max {
            return Err(FrameError::TooLarge { size: len, max: self.max });
        }
        if self.buf.len() < SIZE_LEN + len {
            return Ok(None);
        }
        self.buf.advance(SIZE_LEN);
        let frame = self.buf.split_to(len).freeze();
        if len > CHUNK {
            // What is left would keep the large frame's memory alive for as long as the connection lives.
            self.buf = BytesMut::from(&self.buf[..]);
        }
        Ok(Some(frame))
    }

    /// The frame that is being received, if it is larger than the memory that is there before its size is known: its
    /// length, and the bytes that have come, both without the size prefix. `None` until they tell its API key.
    pub fn large(&self) -> Option<(usize, &[u8])> {
        let total = self.awaited().filter(|total| *total > CHUNK && self.buf.len() >= SIZE_LEN + KEY_LEN)?;
        Some((total - SIZE_LEN, &self.buf[SIZE_LEN..]))
    }

    /// Bytes that have come and are in no frame yet.
    pub fn received(&self) -> usize {
        self.buf.len()
    }

    /// Whether bytes of an unfinished frame are waiting: the end of the stream now would cut a request in half.
    pub fn is_mid_frame(&self) -> bool {
        !self.buf.is_empty()
    }

    fn size(&self) -> Option<i32> {
        self.buf.first_chunk::<SIZE_LEN>().map(|size| i32::from_be_bytes(*size))
    }

    /// Length of the frame that is being received, prefix included, if it is known and within the limit.
    fn awaited(&self) -> Option<usize> {
        let len = usize::try_from(self.size()?).ok()?;
        (len <= self.max).then_some(SIZE_LEN + len)
    }

    fn reallocate(&mut self, capacity: usize) {
        let mut larger = BytesMut::with_capacity(capacity);
        larger.extend_from_slice(&self.buf);
        self.buf = larger;
    }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut;
    use proptest::prelude::*;

    use super::*;

    /// Gives the reader what a socket read gives: no more than there is room for.
    fn fill(reader: &mut FrameReader, input: &mut &[u8], most: usize) {
        let buf = reader.buf();
        let spare = buf.capacity() - buf.len();
        assert!(spare > 0, "a read needs room");
        let (now, later) = input.split_at(spare.min(most).min(input.len()));
        buf.put_slice(now);
        *input = later;
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in(
            sizes in prop::collection::vec(prop_oneof![0usize..40, 0usize..3000, 7000usize..40_000], 0..12),
            reads in prop::collection::vec(1usize..20_000, 1..8),
        ) {
            let frames: Vec<Vec<u8>> =
                sizes.iter().enumerate().map(|(i, n)| (0..*n).map(|b| (b + i) as u8).collect()).collect();
            let mut stream = Vec::new();
            for frame in &frames {
                stream.put_i32(frame.len() as i32);
                stream.put_slice(frame);
            }
            let mut input = &stream[..];
            let mut reader = FrameReader::new(1 << 20);
            let mut got = Vec::new();
            let mut reads = reads.iter().cycle();
            while !input.is_empty() {
                fill(&mut reader, &mut input, *reads.next().unwrap());
                while let Some(frame) = reader.next().unwrap() {
                    got.push(frame.to_vec());
                }
            }
            prop_assert_eq!(got, frames);
            prop_assert!(!reader.is_mid_frame());
        }
    }

    #[test]
    fn a_size_above_the_limit_names_the_setting() {
        let mut reader = FrameReader::new(100);
        reader.buf().put_i32(101);
        let error = reader.next().unwrap_err();
        assert_eq!(error, FrameError::TooLarge { size: 101, max: 100 });
        assert!(error.to_string().contains("socket.request.max.bytes"));
    }

    #[test]
    fn a_negative_size_is_refused() {
        let mut reader = FrameReader::new(100);
        reader.buf().put_i32(-1);
        assert_eq!(reader.next(), Err(FrameError::Negative(-1)));
    }

    #[test]
    fn a_claimed_size_reserves_no_more_than_a_step() {
        let mut reader = FrameReader::new(100 << 20);
        reader.buf().put_i32(100 << 20);
        assert_eq!(reader.next(), Ok(None));
        assert!(reader.buf().capacity() <= STEP);
        let mut some = &vec![0u8; 16 * 1024][..];
        fill(&mut reader, &mut some, usize::MAX);
        assert!(reader.buf().capacity() <= STEP);
    }

    #[test]
    fn a_large_frame_takes_its_memory_along() {
        let mut reader = FrameReader::new(100 << 20);
        let mut stream = BytesMut::new();
        stream.put_i32(10 << 20);
        stream.put_bytes(7, 10 << 20);
        stream.put_i32(1);
        stream.put_u8(9);
        let mut input = &stream[..];
        let frame = loop {
            fill(&mut reader, &mut input, 300_000);
            if let Some(frame) = reader.next().unwrap() {
                break frame;
            }
        };
        assert_eq!(frame.len(), 10 << 20);
        assert!(frame.is_unique(), "the reader must not share a large frame's memory");
        assert!(reader.buf().capacity() <= 2 * CHUNK);
        fill(&mut reader, &mut input, usize::MAX);
        assert_eq!(reader.next().unwrap().unwrap()[..], [9]);
    }
}
