//! Finds out what is in a segment that nothing reliable is known about: the closed ones whose index file is
//! missing or damaged, and after a crash the ones that were being written.
//!
//! Below the durable end everything was once safely on disk: what is not sound there is damage, walked around
//! and reported. Above it, the first thing that is not a sound batch is where the crash cut the log off.

use std::io;

use norn_env::disk::File;
use norn_protocol::batch::BatchHeader;
use norn_protocol::types::{LeaderEpoch, Offset};

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
    pub last: Option<BatchHeader>,
    pub damages: Vec<Damage>,
    /// Durable records at the end are missing: nothing may be appended here, since that would hide the loss.
    pub lost_tail: bool,
    /// Epochs of the batches that were walked, in order, each with the first offset seen of it.
    pub epochs: Vec<(LeaderEpoch, Offset)>,
    /// Bytes that were walked through.
    pub scanned: u64,
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
        last: None,
        damages: Vec::new(),
        lost_tail: false,
        epochs: Vec::new(),
        scanned: 0,
    };
    // An entry is also due where the scan begins, where CRCs begin to be checked, and behind damage.
    let mut entry_due = true;
    loop {
        let check = if walk.due() >= durable { Check::Crc } else { Check::Header };
        let due = walk.due();
        let step = match walk.next(check).await? {
            // Epochs fall only where bytes of another time are left behind the end.
            Step::Batch { header, .. } if due >= durable && epoch_falls(&found, &header) => Step::Damaged,
            step => step,
        };
        match step {
            Step::Batch { position, header } => {
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
                if found.epochs.last().is_none_or(|(epoch, _)| *epoch != header.leader_epoch) {
                    found.epochs.push((header.leader_epoch, header.base_offset));
                }
                max_ts = max_ts.max(header.max_timestamp);
                found.size = walk.position();
                found.last = Some(header);
            }
            Step::End | Step::Damaged if due >= durable.min(bound) => {
                found.next = due;
                break;
            }
            Step::End | Step::Damaged => {
                let position = walk.position();
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

fn epoch_falls(found: &Scanned, header: &BatchHeader) -> bool {
    found.last.is_some_and(|last| header.leader_epoch < last.leader_epoch)
}
