//! What a sync round costs, either way. Pure, but for the turns that only a simulation takes.

/// A segment file with something to make durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Load {
    /// Bytes written and not durable.
    pub bytes: u64,
    /// Whether they are at hand, to be copied.
    pub copyable: bool,
}

/// From this many small files on, one fdatasync of a copy is cheaper than one of each file. Measured (see
/// the bench notes): 16 × 4 KiB take 0.08 ms through the journal and 0.5 to 1 ms in place; a single one
/// 0.04 and 0.05 ms. A copy must also be synced in place later, so two files do not pay for it.
pub(super) const JOURNAL_FILES_MIN: usize = 3;
/// Above this much in one file, writing it twice costs what the second fdatasync would: 64 KiB took
/// 0.07 ms either way.
pub(super) const JOURNAL_FILE_BYTES_MAX: u64 = 64 << 10;

/// Which files to copy to the journal; the others are synced in place. At most `bytes_max` are copied.
pub(super) fn copies(loads: &[Load], bytes_max: u64) -> Vec<bool> {
    let mut total = 0;
    let mut copies: Vec<bool> = loads
        .iter()
        .map(|load| {
            let copy =
                load.copyable && load.bytes <= JOURNAL_FILE_BYTES_MAX && total + load.bytes <= bytes_max;
            total += if copy { load.bytes } else { 0 };
            copy
        })
        .collect();
    // A journal that is hardly used is hardly tested.
    let files_min =
        if norn_env::buggify!("few files through the journal", 0.5) { 1 } else { JOURNAL_FILES_MIN };
    if copies.iter().filter(|copy| **copy).count() < files_min {
        copies.fill(false);
    }
    copies
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loads(count: usize, bytes: u64) -> Vec<Load> {
        vec![Load { bytes, copyable: true }; count]
    }

    #[test]
    fn few_files_are_synced_in_place_and_many_small_ones_are_copied() {
        assert_eq!(copies(&loads(2, 4096), u64::MAX), [false; 2]);
        assert_eq!(copies(&loads(3, 4096), u64::MAX), [true; 3]);
        assert_eq!(copies(&loads(128, JOURNAL_FILE_BYTES_MAX), u64::MAX), [true; 128]);
        assert_eq!(copies(&loads(128, JOURNAL_FILE_BYTES_MAX + 1), u64::MAX), [false; 128]);
    }

    #[test]
    fn one_that_is_large_or_not_at_hand_does_not_keep_the_others_from_the_journal() {
        let mut mixed = loads(5, 100);
        mixed[1].bytes = 1 << 20;
        mixed[3].copyable = false;
        assert_eq!(copies(&mixed, u64::MAX), [true, false, true, false, true]);
    }

    #[test]
    fn what_does_not_fit_the_journal_is_synced_in_place() {
        assert_eq!(copies(&loads(5, 100), 400), [true, true, true, true, false]);
        assert_eq!(copies(&loads(5, 100), 250), [false; 5]);
    }
}
