//! Snappy, in xerial's blocks (what Kafka's clients write) or as one raw block (what some others do).

use std::io;

use bytes::Bytes;

/// What xerial's snappy-java writes first: its magic, version 1, compatible since 1.
const XERIAL: &[u8; 16] = b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01";

/// Snappy's densest element is a copy of 64 bytes in three; a block that claims more than this ratio lies.
const RATIO_MAX: usize = 22;

/// The most that one block may hold, in bytes. A block is decompressed as a whole, and snappy-java's blocks hold 32 KiB.
const BLOCK_MAX: usize = 128 << 20;

/// Decompresses one block after the other.
pub(super) struct Unsnap {
    blocks: Blocks,
    /// The content of the current block.
    plain: Vec<u8>,
    /// How much of it was read.
    at: usize,
}

impl Unsnap {
    pub(super) fn new(packed: Bytes) -> Unsnap {
        Unsnap { blocks: Blocks::new(packed), plain: Vec::new(), at: 0 }
    }

    /// Reads at most `out.len()` bytes; 0 at the end.
    pub(super) fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.plain.len() {
            let Some(block) = self.blocks.next() else { return Ok(0) };
            let block = block?;
            self.plain.resize(claimed_len(&block)?, 0);
            let len = snap::raw::Decoder::new().decompress(&block, &mut self.plain)?;
            self.plain.truncate(len);
            self.at = 0;
        }
        let len = out.len().min(self.plain.len() - self.at);
        out[..len].copy_from_slice(&self.plain[self.at..self.at + len]);
        self.at += len;
        Ok(len)
    }
}

/// The largest block that `packed` holds, in bytes, as far as it is valid.
pub(super) fn largest_block(packed: &Bytes) -> usize {
    let lens = Blocks::new(packed.clone()).map_while(|block| claimed_len(&block.ok()?).ok());
    lens.max().unwrap_or(0)
}

fn claimed_len(block: &[u8]) -> io::Result<usize> {
    let claimed = snap::raw::decompress_len(block)?;
    if claimed > (block.len() * RATIO_MAX).min(BLOCK_MAX) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a block claims more than it can hold"));
    }
    Ok(claimed)
}

/// Cuts the compressed bytes into their blocks. After an error there is nothing more.
struct Blocks {
    rest: Bytes,
    framed: bool,
}

impl Blocks {
    fn new(mut packed: Bytes) -> Blocks {
        let framed = packed.starts_with(XERIAL);
        if framed {
            packed = packed.slice(XERIAL.len()..);
        }
        Blocks { rest: packed, framed }
    }
}

impl Iterator for Blocks {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        if !self.framed {
            // Without the header it is one raw block (SnappyInputStream falls back in the same way), also an empty one.
            self.framed = true;
            return Some(Ok(std::mem::take(&mut self.rest)));
        }
        let rest = std::mem::take(&mut self.rest);
        let (len, _) = match rest.split_first_chunk::<4>() {
            Some(found) => found,
            None if rest.is_empty() => return None,
            None => return Some(Err(io::ErrorKind::UnexpectedEof.into())),
        };
        let end = (u32::from_be_bytes(*len) as usize).saturating_add(4);
        if end > rest.len() {
            return Some(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        self.rest = rest.slice(end..);
        Some(Ok(rest.slice(4..end)))
    }
}
