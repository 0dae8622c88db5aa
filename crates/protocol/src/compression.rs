//! Kafka's five ways to compress a batch's records, in the framing that the Java client reads and writes (snappy in
//! xerial blocks, LZ4 in its frame format). What comes out of a decompressor is capped: a few kilobytes of zeros
//! compressed must not become gigabytes of the broker's memory. The `kafka-protocol` crate cannot cap its own.

use std::io::{self, Read};

use bytes::{Bytes, BytesMut};
use kafka_protocol::compression::{Compressor, Gzip, Lz4, Snappy, Zstd};
use thiserror::Error;

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
        limit: usize,
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

/// Decompresses to at most `limit` bytes. Uncompressed bytes are shared, not copied.
pub fn decompress(compression: Compression, bytes: &Bytes, limit: usize) -> Result<Bytes, DecompressError> {
    let malformed =
        |error: io::Error| DecompressError::Malformed { codec: compression, reason: error.to_string() };
    let plain = match compression {
        Compression::None if bytes.len() <= limit => return Ok(bytes.clone()),
        Compression::None => None,
        // Members may follow each other, as in Java's GZIPInputStream.
        Compression::Gzip => {
            read_capped(flate2::bufread::MultiGzDecoder::new(&bytes[..]), limit).map_err(malformed)?
        }
        Compression::Snappy => unsnap(bytes, limit).map_err(malformed)?,
        Compression::Lz4 => lz4::Decoder::new(&bytes[..])
            .and_then(|decoder| read_capped(decoder, limit))
            .map_err(malformed)?,
        Compression::Zstd => unzstd(bytes, limit).map_err(malformed)?,
    };
    plain.map(Bytes::from).ok_or(DecompressError::TooLarge { limit })
}

/// All that `reader` gives; `None` if that is more than `limit`.
fn read_capped(reader: impl Read, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let mut plain = Vec::new();
    reader.take(limit as u64 + 1).read_to_end(&mut plain)?;
    Ok((plain.len() <= limit).then_some(plain))
}

/// The largest window that any zstd level uses (level 22); the library's own default, stated because it bounds what a
/// frame's header can make it reserve.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

fn unzstd(bytes: &[u8], limit: usize) -> io::Result<Option<Vec<u8>>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
    read_capped(decoder, limit)
}

/// What xerial's snappy-java writes first: its magic, version 1, compatible since 1.
const XERIAL: &[u8; 16] = b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01";

fn unsnap(mut bytes: &[u8], limit: usize) -> io::Result<Option<Vec<u8>>> {
    let mut plain = Vec::new();
    let Some(blocks) = bytes.strip_prefix(XERIAL) else {
        // Without the header it is one raw block (SnappyInputStream falls back in the same way).
        return Ok(unsnap_block(bytes, limit, &mut plain)?.then_some(plain));
    };
    bytes = blocks;
    while !bytes.is_empty() {
        let block = bytes
            .split_first_chunk::<4>()
            .and_then(|(len, rest)| rest.split_at_checked(u32::from_be_bytes(*len) as usize));
        let Some((block, rest)) = block else { return Err(io::ErrorKind::UnexpectedEof.into()) };
        if !unsnap_block(block, limit, &mut plain)? {
            return Ok(None);
        }
        bytes = rest;
    }
    Ok(Some(plain))
}

/// Snappy's densest element is a copy of 64 bytes in three; a block that claims more than this ratio lies.
const SNAPPY_RATIO_MAX: usize = 22;

/// Appends a raw block's content; false if that would pass `limit`.
fn unsnap_block(block: &[u8], limit: usize, plain: &mut Vec<u8>) -> io::Result<bool> {
    let claimed = snap::raw::decompress_len(block)?;
    if claimed > block.len() * SNAPPY_RATIO_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a block claims more than it can hold"));
    }
    if claimed > limit - plain.len() {
        return Ok(false);
    }
    let from = plain.len();
    plain.resize(from + claimed, 0);
    let len = snap::raw::Decoder::new().decompress(block, &mut plain[from..])?;
    plain.truncate(from + len);
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1 << 20;

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
                assert_eq!(decompress(compression, &packed, LIMIT).unwrap(), plain, "{compression:?} {len}");
            }
        }
    }

    #[test]
    fn a_bomb_is_stopped_at_the_limit() {
        let zeros = vec![0; LIMIT + 1];
        for compression in Compression::ALL {
            let packed = compress(compression, &zeros).unwrap().freeze();
            let result = decompress(compression, &packed, LIMIT);
            assert!(matches!(result, Err(DecompressError::TooLarge { limit: LIMIT })), "{compression:?}");
            assert_eq!(decompress(compression, &packed, LIMIT + 1).unwrap().len(), LIMIT + 1);
        }
    }

    #[test]
    fn a_snappy_block_that_claims_too_much_is_refused_before_memory_is_reserved() {
        // The varint 0xffffffff: four gigabytes in five bytes.
        let lie = Bytes::from_static(b"\xff\xff\xff\xff\x0f");
        assert!(matches!(
            decompress(Compression::Snappy, &lie, usize::MAX),
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
            assert_eq!(decompress(Compression::Snappy, &packed, LIMIT).unwrap()[..], plain[..]);
        }
    }

    #[test]
    fn garbage_is_malformed() {
        for compression in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
            let garbage = Bytes::from_static(b"these bytes were never compressed");
            let result = decompress(compression, &garbage, LIMIT);
            assert!(matches!(result, Err(DecompressError::Malformed { .. })), "{compression:?}: {result:?}");
        }
    }
}
