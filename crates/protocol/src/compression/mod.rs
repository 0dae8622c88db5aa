//! Kafka's five ways to compress a batch's records, in the framing that the Java client reads and writes (snappy in
//! xerial blocks, LZ4 in its frame format). Decompression is a stream ([`Decompressor`]): a few kilobytes of compressed
//! zeros must not become gigabytes of the broker's memory, as they would in the `kafka-protocol` crate's decoders.

mod decoder;
mod snappy;

use std::io;

use bytes::BytesMut;
use kafka_protocol::compression::{Compressor, Gzip, Lz4, Snappy, Zstd};
use thiserror::Error;

pub use decoder::Decompressor;

/// How a batch's records are compressed. The discriminant is the code in a batch's attributes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Compression {
    /// As they are.
    #[default]
    None = 0,
    /// RFC 1952.
    Gzip = 1,
    /// Snappy in xerial's blocks; raw snappy is read too.
    Snappy = 2,
    /// LZ4's frame format.
    Lz4 = 3,
    /// Zstandard (KIP-110).
    Zstd = 4,
}

impl Compression {
    /// All of them, in the order of their codes.
    pub const ALL: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    /// The code in a batch's attributes.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// By the code in a batch's attributes.
    pub fn from_code(code: u8) -> Option<Compression> {
        Compression::ALL.get(usize::from(code)).copied()
    }

    /// The name in `compression.type`.
    pub const fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }

    /// By the name in `compression.type`.
    pub fn from_name(name: &str) -> Option<Compression> {
        Compression::ALL.into_iter().find(|compression| compression.name() == name)
    }
}

/// Why bytes did not decompress.
#[derive(Debug, Error)]
pub enum DecompressError {
    /// The content is larger than the caller takes.
    #[error("the records decompress to more than {limit} bytes")]
    TooLarge {
        /// The caller's limit, in bytes.
        limit: u64,
    },
    /// The bytes are not what the codec writes.
    #[error("the records are not valid {}: {reason}", codec.name())]
    Malformed {
        /// The codec that the batch names.
        codec: Compression,
        /// What the codec says.
        reason: String,
    },
}

/// Compresses `plain`. Fails only where a codec's library does (it is out of memory).
pub fn compress(compression: Compression, plain: &[u8]) -> io::Result<BytesMut> {
    let mut out = BytesMut::new();
    let fill = |buf: &mut BytesMut| {
        buf.extend_from_slice(plain);
        Ok(())
    };
    match compression {
        Compression::None => {
            out.extend_from_slice(plain);
            Ok(())
        }
        Compression::Gzip => Gzip::compress(&mut out, fill),
        Compression::Snappy => Snappy::compress(&mut out, fill),
        Compression::Lz4 => Lz4::compress(&mut out, fill),
        Compression::Zstd => Zstd::compress(&mut out, fill),
    }
    .map_err(|error| io::Error::other(format!("{error:#}")))?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    use bytes::Bytes;

    /// All that `packed` decompresses to.
    fn unpack(codec: Compression, packed: &Bytes) -> Result<Vec<u8>, DecompressError> {
        let mut decoder = Decompressor::new(codec, packed.clone())?;
        let (mut plain, mut chunk) = (Vec::new(), [0; 1000]);
        loop {
            match decoder.read(&mut chunk)? {
                0 => return Ok(plain),
                len => plain.extend_from_slice(&chunk[..len]),
            }
        }
    }

    #[test]
    fn codes_and_names_are_kafkas() {
        let names = Compression::ALL.map(|compression| (compression.code(), compression.name()));
        assert_eq!(names, [(0, "none"), (1, "gzip"), (2, "snappy"), (3, "lz4"), (4, "zstd")]);
        for compression in Compression::ALL {
            assert_eq!(Compression::from_code(compression.code()), Some(compression));
            assert_eq!(Compression::from_name(compression.name()), Some(compression));
        }
        assert_eq!(Compression::from_code(5), None);
        assert_eq!(Compression::from_name("producer"), None);
    }

    #[test]
    fn every_codec_gives_back_what_it_took() {
        for compression in Compression::ALL {
            for len in [0usize, 1, 1000, 100_000] {
                let plain: Vec<u8> = (0..len).map(|i| (i / 7 % 251) as u8).collect();
                let packed = compress(compression, &plain).unwrap().freeze();
                assert_eq!(unpack(compression, &packed).unwrap(), plain, "{compression:?} {len}");
            }
        }
    }

    #[test]
    fn content_that_ends_early_is_malformed() {
        let plain: Vec<u8> = (0..100_000u32).flat_map(|i| i.wrapping_mul(i).to_be_bytes()).collect();
        for compression in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
            let packed = compress(compression, &plain).unwrap().freeze();
            for missing in [1, 4, packed.len() / 2] {
                let result = unpack(compression, &packed.slice(..packed.len() - missing));
                assert!(
                    matches!(result, Err(DecompressError::Malformed { .. })),
                    "{compression:?} without {missing}"
                );
            }
        }
    }

    #[test]
    fn lz4_that_kafkas_consumers_do_not_read_is_malformed() {
        let plain: Vec<u8> = (0..100_000u32).flat_map(|i| i.to_be_bytes()).collect();
        let frame = |mode| {
            let mut encoder = lz4::EncoderBuilder::new().block_mode(mode).build(vec![]).unwrap();
            io::Write::write_all(&mut encoder, &plain).unwrap();
            encoder.finish().0
        };
        let refused = |packed: Vec<u8>| match unpack(Compression::Lz4, &packed.into()) {
            Err(DecompressError::Malformed { reason, .. }) => reason,
            other => panic!("{:?}", other.map(|plain| plain.len())),
        };
        let read = frame(lz4::BlockMode::Independent);
        assert_eq!(unpack(Compression::Lz4, &read.clone().into()).unwrap(), plain);
        let linked = refused(frame(lz4::BlockMode::Linked));
        assert_eq!(linked, "the blocks of the LZ4 frame depend on each other");
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 7][..], &read].concat();
        assert_eq!(refused(skippable), "the bytes do not begin with an LZ4 frame");
        let mut dictionary = read;
        dictionary[4] |= 1;
        assert_eq!(refused(dictionary), "the LZ4 frame needs a dictionary");
    }

    #[test]
    fn a_decoder_says_what_memory_it_takes() {
        let plain = vec![7; 1 << 20];
        for compression in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
            let packed = compress(compression, &plain).unwrap().freeze();
            let memory = Decompressor::memory(compression, &packed);
            assert!((1 << 10..16 << 20).contains(&memory), "{compression:?}: {memory}");
        }
        let zstd =
            |header: &'static [u8]| Decompressor::memory(Compression::Zstd, &Bytes::from_static(header));
        // A window of 128 MiB, and one that leaves the window to its content's length.
        assert_eq!(zstd(b"\x28\xb5\x2f\xfd\x00\x88"), (128 << 20) + (512 << 10));
        assert_eq!(zstd(b"\x28\xb5\x2f\xfd\x20\x01\x09\0\0\0"), 513 << 10);
    }

    #[test]
    fn a_snappy_block_that_claims_too_much_is_refused_before_memory_is_reserved() {
        // The varint 0xffffffff: four gigabytes in five bytes.
        let lie = Bytes::from_static(b"\xff\xff\xff\xff\x0f");
        assert!(matches!(
            unpack(Compression::Snappy, &lie),
            Err(DecompressError::Malformed { codec: Compression::Snappy, .. })
        ));
    }

    #[test]
    fn javas_snappy_and_raw_snappy_are_read() {
        // Both from kafka-protocol's record of what Kafka's Java producer and a raw encoder write.
        let xerial = b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x0f\x0d\x30\x18\x00\x00\x00\x01\x0csdfdsf\x00";
        let raw = b"\x0d\x30\x18\x00\x00\x00\x01\x0csdfdsf\x00";
        let plain = b"\x18\x00\x00\x00\x01\x0csdfdsf\x00";
        for packed in [&xerial[..], &raw[..]] {
            let packed = Bytes::copy_from_slice(packed);
            assert_eq!(unpack(Compression::Snappy, &packed).unwrap()[..], plain[..]);
        }
    }

    #[test]
    fn garbage_is_malformed() {
        for compression in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
            let garbage = Bytes::from_static(b"these bytes were never compressed");
            let result = unpack(compression, &garbage);
            assert!(matches!(result, Err(DecompressError::Malformed { .. })), "{compression:?}: {result:?}");
        }
    }
}
