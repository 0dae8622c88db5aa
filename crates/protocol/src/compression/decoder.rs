//! Decompression as a stream. Whatever the compressed bytes claim, a decoder holds its window or one block and no more.

use std::io::{self, Cursor, Read};

use bytes::Bytes;

use super::snappy::{self, Unsnap};
use super::{Compression, DecompressError};

/// The largest window that any zstd level uses (level 22); the library's own default, stated because it bounds what a
/// frame's header can make it reserve.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const LZ4_MAGIC: &[u8] = &[0x04, 0x22, 0x4d, 0x18];
/// A zstd decoder's tables and its buffer for a block.
const ZSTD_BASE: usize = 512 << 10;
/// zlib's window and tables.
const GZIP_MEMORY: usize = 64 << 10;
/// Two of the largest blocks, and what is read ahead.
const LZ4_MEMORY: usize = 9 << 20;

/// Reads what compressed bytes hold, from the first byte on.
pub struct Decompressor {
    codec: Compression,
    inner: Inner,
}

enum Inner {
    Plain(Cursor<Bytes>),
    // Members may follow each other, as in Java's GZIPInputStream.
    Gzip(Box<flate2::bufread::MultiGzDecoder<Cursor<Bytes>>>),
    Snappy(Unsnap),
    /// `None` once the frame has ended.
    Lz4(Option<lz4::Decoder<Cursor<Bytes>>>),
    Zstd(zstd::stream::read::Decoder<'static, Cursor<Bytes>>),
}

impl Decompressor {
    /// A reader of `packed`. Fails where a codec's library does (it is out of memory).
    pub fn new(codec: Compression, packed: Bytes) -> Result<Decompressor, DecompressError> {
        let inner = open(codec, Cursor::new(packed)).map_err(|error| malformed(codec, &error))?;
        Ok(Decompressor { codec, inner })
    }

    /// Reads at most `out.len()` bytes; 0 at the end, unless `out` is empty.
    pub fn read(&mut self, out: &mut [u8]) -> Result<usize, DecompressError> {
        let read = match &mut self.inner {
            Inner::Plain(bytes) => bytes.read(out),
            Inner::Gzip(decoder) => decoder.read(out),
            Inner::Snappy(decoder) => decoder.read(out),
            Inner::Lz4(decoder) => read_lz4(decoder, out),
            Inner::Zstd(decoder) => decoder.read(out),
        };
        read.map_err(|error| malformed(self.codec, &error))
    }

    /// The most memory that a reader of `packed` holds, in bytes.
    pub fn memory(codec: Compression, packed: &Bytes) -> usize {
        match codec {
            Compression::None => 0,
            Compression::Gzip => GZIP_MEMORY,
            Compression::Snappy => snappy::largest_block(packed).max(GZIP_MEMORY),
            Compression::Lz4 => LZ4_MEMORY,
            Compression::Zstd => zstd_window(packed).unwrap_or(1 << ZSTD_WINDOW_LOG_MAX) + ZSTD_BASE,
        }
    }
}

fn open(codec: Compression, packed: Cursor<Bytes>) -> io::Result<Inner> {
    Ok(match codec {
        Compression::None => Inner::Plain(packed),
        Compression::Gzip => Inner::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(packed))),
        Compression::Snappy => Inner::Snappy(Unsnap::new(packed.into_inner())),
        Compression::Lz4 => {
            check_lz4_frame(packed.get_ref())?;
            Inner::Lz4(Some(lz4::Decoder::new(packed)?))
        }
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            Inner::Zstd(decoder)
        }
    })
}

fn malformed(codec: Compression, error: &io::Error) -> DecompressError {
    DecompressError::Malformed { codec, reason: error.to_string() }
}

/// Refuses what liblz4 reads and Kafka's Java consumers do not (`Lz4BlockInputStream`): they would stop at it for ever.
fn check_lz4_frame(packed: &[u8]) -> io::Result<()> {
    let refused = |reason: &str| Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    let Some(header) = packed.strip_prefix(LZ4_MAGIC) else {
        return refused("the bytes do not begin with an LZ4 frame");
    };
    // The frame descriptor's first byte: version, independent blocks, checksums, size, reserved, dictionary.
    match header.first() {
        Some(flags) if flags & 0x20 == 0 => refused("the blocks of the LZ4 frame depend on each other"),
        Some(flags) if flags & 0x01 != 0 => refused("the LZ4 frame needs a dictionary"),
        _ => Ok(()),
    }
}

/// A frame that ends before its end mark stops Kafka's consumers, while liblz4 only has nothing more to give.
fn read_lz4(decoder: &mut Option<lz4::Decoder<Cursor<Bytes>>>, out: &mut [u8]) -> io::Result<usize> {
    let Some(reader) = decoder else { return Ok(0) };
    let len = reader.read(out)?;
    if len == 0 && !out.is_empty() {
        if let Some(ended) = decoder.take() {
            ended.finish().1.map_err(|_| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        }
    }
    Ok(len)
}

/// The window that a frame's header asks for (RFC 8878, 3.1.1.1). `None` if more than this frame follows, or the header
/// is cut short: then it may be the largest.
fn zstd_window(packed: &[u8]) -> Option<usize> {
    let alone = zstd::zstd_safe::find_frame_compressed_size(packed).map_or(true, |len| len >= packed.len());
    let header = packed.strip_prefix(ZSTD_MAGIC).filter(|_| alone)?;
    let (&descriptor, rest) = header.split_first()?;
    let single_segment = descriptor & 0x20 != 0;
    if !single_segment {
        let window = *rest.first()?;
        let base = 1usize.checked_shl(10 + u32::from(window >> 3))?;
        return Some(base + base / 8 * usize::from(window & 7))
            .filter(|len| *len <= 1 << ZSTD_WINDOW_LOG_MAX);
    }
    let rest = rest.get([0, 1, 2, 4][usize::from(descriptor & 3)]..)?;
    let len = [1, 2, 4, 8][usize::from(descriptor >> 6)];
    let mut size = [0; 8];
    size[..len].copy_from_slice(rest.get(..len)?);
    let size = u64::from_le_bytes(size) + if len == 2 { 256 } else { 0 };
    usize::try_from(size).ok().map(|size| size.max(1 << 10)).filter(|len| *len <= 1 << ZSTD_WINDOW_LOG_MAX)
}
