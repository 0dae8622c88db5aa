//! Walks a segment's batches one after the other, in bounded chunks, and finds its feet again behind damage.

use std::io;

use bytes::Bytes;
use norn_env::disk::File;
use norn_protocol::batch::{verify_crc, BatchHeader, HEADER_LEN};
use norn_protocol::types::Offset;

use super::recovery::{judge, next_candidate, Check, Verdict};

/// Chunk for a walk through much of a segment.
pub(crate) const CHUNK_LONG: usize = 256 << 10;
/// Chunk for a walk within an index interval.
pub(crate) const CHUNK_SHORT: usize = 4 << 10;
/// What looks like a larger batch behind damage is not one; bounds what is read to find out.
const RESYNC_BATCH_MAX: usize = 256 << 20;

/// What a walk came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A batch; the walk stands behind it now.
    Batch { position: u64, header: BatchHeader },
    /// Something else; the walk stays before it.
    Damaged,
    /// The end of the part that was to be walked, or of the file.
    End,
}

/// A place in a segment's file and the offset that is due there.
pub(crate) struct Walk<'a> {
    file: &'a File,
    position: u64,
    due: Offset,
    end: u64,
    chunk_len: usize,
    chunk: Bytes,
    chunk_position: u64,
}

impl<'a> Walk<'a> {
    /// A walk from the batch with offset `due` at `position` up to byte `end`.
    pub fn new(file: &'a File, position: u64, due: Offset, end: u64, chunk_len: usize) -> Walk<'a> {
        Walk { file, position, due, end, chunk_len, chunk: Bytes::new(), chunk_position: position }
    }

    /// Where the walk stands.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The offset that is due where it stands.
    pub fn due(&self) -> Offset {
        self.due
    }

    /// Takes a step.
    pub async fn next(&mut self, check: Check<'_>) -> io::Result<Step> {
        self.next_below(Offset(i64::MAX), check).await
    }

    /// Takes a step, where no batch reaches beyond `ceiling`: one whose header says so is damaged.
    pub async fn next_below(&mut self, ceiling: Offset, check: Check<'_>) -> io::Result<Step> {
        loop {
            if self.position >= self.end {
                return Ok(Step::End);
            }
            match judge(self.ahead(), self.end - self.position, self.due, check) {
                Verdict::Needs(len) => self.fill(len).await?,
                Verdict::Damaged => return Ok(Step::Damaged),
                Verdict::Batch(header) if header.next_offset() > ceiling => return Ok(Step::Damaged),
                Verdict::Batch(header) => {
                    let position = self.position;
                    self.position += header.total_len() as u64;
                    self.due = header.next_offset();
                    return Ok(Step::Batch { position, header });
                }
            }
        }
    }

    /// Goes back to a batch that was passed.
    pub fn rewind(&mut self, position: u64, due: Offset) {
        (self.position, self.due) = (position, due);
    }

    /// The bytes of the batch that the walk has just passed.
    pub async fn batch(&mut self, position: u64, header: &BatchHeader) -> io::Result<Bytes> {
        let inside = position.checked_sub(self.chunk_position).map(|at| at as usize);
        let held = inside.filter(|at| at + header.total_len() <= self.chunk.len());
        match held {
            Some(at) => Ok(self.chunk.slice(at..at + header.total_len())),
            None => self.file.read_at(position, header.total_len()).await,
        }
    }

    /// From damage, goes to the next sound batch whose offsets lie above the due one and below `bound`. Returns
    /// false, and stands at the end, if there is none.
    pub async fn resync(&mut self, bound: Offset) -> io::Result<bool> {
        let (start, after) = (self.position, self.due);
        // If only the content is damaged the length still leads to the next batch. It is tried first, since a
        // record's value may itself hold what looks like a batch.
        self.fill(HEADER_LEN).await?;
        if let Ok(header) = BatchHeader::parse(self.ahead()) {
            self.position = start.saturating_add(header.total_len() as u64).min(self.end);
            self.fill(HEADER_LEN).await?;
            if let Some((0, header)) = next_candidate(self.ahead(), 0, after, bound) {
                if self.is_sound(&header).await? {
                    self.due = header.base_offset;
                    return Ok(true);
                }
            }
        }
        self.position = start + 1;
        loop {
            self.fill(self.chunk_len).await?;
            match next_candidate(self.ahead(), 0, after, bound) {
                Some((skip, header)) => {
                    self.position += skip as u64;
                    if self.is_sound(&header).await? {
                        self.due = header.base_offset;
                        return Ok(true);
                    }
                    self.position += 1;
                }
                None => {
                    let seen = self.ahead().len();
                    if self.position + seen as u64 >= self.end {
                        self.position = self.end;
                        return Ok(false);
                    }
                    self.position += (seen - (HEADER_LEN - 1)) as u64;
                }
            }
        }
    }

    /// Whether the batch with this header, where the walk stands, is whole.
    async fn is_sound(&mut self, header: &BatchHeader) -> io::Result<bool> {
        let len = header.total_len();
        if len as u64 > self.end - self.position || len > RESYNC_BATCH_MAX {
            return Ok(false);
        }
        self.fill(len).await?;
        Ok(self.ahead().get(..len).is_some_and(|batch| verify_crc(batch).is_ok()))
    }

    /// What is in memory from where the walk stands.
    fn ahead(&self) -> &[u8] {
        let at = self.position.checked_sub(self.chunk_position);
        at.and_then(|at| self.chunk.get(at as usize..)).unwrap_or_default()
    }

    /// Brings `len` bytes from where the walk stands into memory, or all that are left. If the file is shorter
    /// than was believed, the walk's end moves to the file's.
    async fn fill(&mut self, len: usize) -> io::Result<()> {
        let left = self.end - self.position;
        let need = left.min(len as u64) as usize;
        if self.ahead().len() >= need {
            return Ok(());
        }
        let want = left.min(need.max(self.chunk_len) as u64) as usize;
        self.chunk = self.file.read_at(self.position, want).await?;
        self.chunk_position = self.position;
        if self.chunk.len() < want {
            self.end = self.position + self.chunk.len() as u64;
        }
        Ok(())
    }
}
