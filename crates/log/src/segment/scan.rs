//! Finds out what is in a segment that nothing reliable is known about: the closed ones whose index file is
//! missing or damaged, and after a crash the ones that were being written.
//!
//! Below the durable end everything was once safely on disk: what is not sound there is damage, walked around
//! and reported. Above it, the first thing that is not a sound batch is where the crash cut the log off.

use std::io;

use norn_env::disk::File;
use norn_protocol::types::Offset;

use super::entry;
use super::index::Entry;
use super::recovery::Check;
use super::walk::{Step, Walk, CHUNK_LONG};

/// Bytes below the durable end that are not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The segment's file, below the disk's root.
    pub file: String,
    /// Where it begins in the file.
    pub position: u64,
    /// The first offset that cannot be read.
    pub first: Offset,
    /// The next one that can.
    pub next: Offset,
}

/// What is known before a scan.
pub(crate) struct Known {
    /// Index entries that can be relied on; the scan begins at the last.
    pub entries: Vec<Entry>,
    /// Offset below which all was durable.
    pub durable: Offset,
    /// The next segment's base: no offset here is as high. `i64::MAX` if there is none.
    pub bound: Offset,
}

/// What a scan found.
#[derive(Debug)]
pub(crate) struct Scanned {
    pub entries: Vec<Entry>,
    /// End of the sound part; the file may be longer.
    pub size: u64,
    /// Offset after the last record that is there or ought to be.
    pub next: Offset,
    pub max_ts: i64,
    /// Bytes from here to `size` had their CRCs checked.
    pub sound_from: u64,
    pub damages: Vec<Damage>,
    /// Durable records at the end are missing: nothing may be appended here, since that would hide the loss.
    pub lost_tail: bool,
    /// Bytes that were walked through.
    pub scanned: u64,
}

/// Where a batch stands, and the largest timestamp before it.
struct Passed {
    position: u64,
    due: Offset,
    max_ts: i64,
}

/// Walks through a segment from the last known index entry to its end.
pub(crate) async fn scan(
    file: &File,
    base: Offset,
    len: u64,
    known: Known,
    interval: u32,
) -> io::Result<Scanned> {
    let Known { mut entries, durable, bound } = known;
    let (from, first, mut max_ts) = match entries.pop() {
        Some(e) => (u64::from(e.position), base.plus(i64::from(e.delta)), e.max_ts_before),
        None => (0, base, -1),
    };
    let mut walk = Walk::new(file, from, first, len, CHUNK_LONG);
    let mut found = Scanned {
        entries,
        size: from,
        next: first,
        max_ts,
        sound_from: u64::MAX,
        damages: Vec::new(),
        lost_tail: false,
        scanned: 0,
    };
    // An entry is also due where the scan begins, where CRCs begin to be checked, and behind damage.
    let mut entry_due = true;
    // A flipped bit in a header shows only where the next batch is not what it says. So the last batch is kept, to go
    // back to it and check it, and the one it led to, whole.
    let mut unchecked: Option<Passed> = None;
    let mut check_to = 0;
    loop {
        let (position, due) = (walk.position(), walk.due());
        let whole = due >= durable || position < check_to;
        let check = if whole { Check::Crc } else { Check::Header };
        let ceiling = if whole { bound } else { durable.min(bound) };
        let step = walk.next_below(ceiling, check).await?;
        if !matches!(step, Step::Batch { .. }) && (!whole || unchecked.is_some()) {
            check_to = position + 1;
            if let Some(passed) = unchecked.take() {
                walk.rewind(passed.position, passed.due);
                found.size = passed.position;
                max_ts = passed.max_ts;
                entry_due |= found.entries.pop_if(|e| u64::from(e.position) == passed.position).is_some();
            }
            continue;
        }
        match step {
            Step::Batch { header, .. } => {
                unchecked = (!whole).then_some(Passed { position, due, max_ts });
                if due >= durable && found.sound_from == u64::MAX {
                    found.sound_from = position;
                    entry_due = true;
                }
                let far = found
                    .entries
                    .last()
                    .is_none_or(|last| position - u64::from(last.position) >= u64::from(interval));
                if entry_due || far {
                    found.entries.push(entry(base, header.base_offset, position, max_ts));
                    entry_due = false;
                }
                max_ts = max_ts.max(header.max_timestamp);
                found.size = walk.position();
            }
            Step::End | Step::Damaged if due >= durable.min(bound) => {
                found.next = due;
                break;
            }
            Step::End | Step::Damaged => {
                let again = step == Step::Damaged && walk.resync(bound).await?;
                let next = if again { walk.due() } else { durable.min(bound) };
                found.damages.push(Damage { file: file.path().to_owned(), position, first: due, next });
                if !again {
                    found.next = next;
                    // The damaged bytes stay in the segment, so that its readers see that they are.
                    found.size = len;
                    found.lost_tail = true;
                    break;
                }
                entry_due = true;
            }
        }
    }
    found.max_ts = max_ts;
    found.scanned = found.size - from;
    found.sound_from = found.sound_from.min(found.size);
    Ok(found)
}
