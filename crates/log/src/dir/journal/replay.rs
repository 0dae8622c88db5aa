//! From the frames of the journal, in their order, to what must be written to which segment. Pure.
//!
//! An old range never lands on newer bytes: a note that a file was cut, made anew or removed takes away
//! what ranges before it would put there (mutants `journal-replayed-over-newer`, `journal-reused-early`
//! are what happens otherwise).

use super::entry::{Entry, JournalFrame, What};
use crate::dir::points::{Points, RecoveryPoint};
use crate::rounds::FileNote;
use bytes::Bytes;
use norn_protocol::types::Offset;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One thing to do to a segment's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::dir) enum Play {
    Write { position: u64, bytes: Bytes },
    Cut { len: u64 },
}

/// What the journal says, to be played into the segments before any log is opened.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::dir) struct Played {
    /// By log directory and segment; in the order in which it must be done. A file that does not exist any
    /// more was removed, and what is here for it is void.
    pub files: BTreeMap<(Arc<str>, Offset), Vec<Play>>,
    pub points: Points,
    /// Sequence of the next frame.
    pub next_sequence: u64,
}

/// Plays `(sequence, frame)` pairs, rising by sequence. The newest checkpoint says where to begin.
pub(in crate::dir) fn replay(frames: Vec<(u64, JournalFrame)>) -> Played {
    let live_from = frames.iter().filter_map(|(_, frame)| match frame {
        JournalFrame::Checkpoint { live_from, .. } => Some(*live_from),
        JournalFrame::Round(_) => None,
    });
    let live_from = live_from.max().unwrap_or(0);
    let mut played = Played { next_sequence: 1, ..Played::default() };
    for (sequence, frame) in frames {
        assert!(sequence >= played.next_sequence, "journal frame {sequence} out of order");
        played.next_sequence = sequence + 1;
        match frame {
            // It has all that was known when it was written, the live frames before it included.
            JournalFrame::Checkpoint { points, .. } => played.points = points,
            JournalFrame::Round(entries) if sequence >= live_from => {
                entries.into_iter().for_each(|entry| played.entry(entry));
            }
            JournalFrame::Round(_) => {}
        }
    }
    played.files.retain(|_, plays| !plays.is_empty());
    played
}

impl Played {
    fn entry(&mut self, Entry { log, what }: Entry) {
        match what {
            What::Range { segment, position, bytes } => {
                let bytes = bytes.concat().into();
                self.files.entry((log, segment)).or_default().push(Play::Write { position, bytes });
            }
            What::Durable(point) => {
                self.points.insert(log, point);
            }
            What::File(FileNote::Created { segment }) => {
                lower(&mut self.points, &log, RecoveryPoint { segment, position: 0, end: segment });
                self.files.remove(&(log, segment));
            }
            What::File(FileNote::Deleted { segment }) => {
                self.files.remove(&(log, segment));
            }
            What::File(FileNote::Truncating { segment, len, end }) => {
                lower(&mut self.points, &log, RecoveryPoint { segment, position: len, end });
                let plays = self.cut(log, segment, len);
                plays.push(Play::Cut { len });
            }
            What::File(FileNote::Truncated { segment, len, end }) => {
                lower(&mut self.points, &log, RecoveryPoint { segment, position: len, end });
                let plays = self.cut(log, segment, len);
                // The cut is durable, so is what was written since: nothing up to here may touch it.
                plays.retain(|play| matches!(play, Play::Write { .. }));
            }
            What::LogDeleted => {
                self.points.remove(&log);
                self.files.retain(|(name, _), _| *name != log);
            }
        }
    }

    /// Takes back what was to be written at or after a cut. Later segments go with it: a file of such a name
    /// that is found has been made anew, and its own note may not have become durable.
    fn cut(&mut self, log: Arc<str>, segment: Offset, len: u64) -> &mut Vec<Play> {
        self.files.retain(|(name, base), _| *name != log || *base <= segment);
        let plays = self.files.entry((log, segment)).or_default();
        clip(plays, len);
        plays
    }
}

fn lower(points: &mut Points, log: &Arc<str>, to: RecoveryPoint) {
    if let Some(point) = points.get_mut(log) {
        *point = (*point).min(to);
    }
}

/// Takes from earlier writes what lies at or after `len`.
fn clip(plays: &mut Vec<Play>, len: u64) {
    plays.retain_mut(|play| match play {
        Play::Write { position, bytes } => {
            let keep = len.saturating_sub(*position).min(bytes.len() as u64);
            bytes.truncate(keep as usize);
            keep > 0
        }
        Play::Cut { .. } => true,
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SEGMENT: Offset = Offset(0);

    fn range(position: u64, bytes: &[u8]) -> What {
        What::Range { segment: SEGMENT, position, bytes: vec![Bytes::copy_from_slice(bytes)] }
    }

    fn point(position: u64) -> RecoveryPoint {
        RecoveryPoint { segment: SEGMENT, position, end: Offset(position as i64) }
    }

    fn truncating(len: u64) -> What {
        What::File(FileNote::Truncating { segment: SEGMENT, len, end: Offset(len as i64) })
    }

    fn truncated(len: u64) -> What {
        What::File(FileNote::Truncated { segment: SEGMENT, len, end: Offset(len as i64) })
    }

    fn played(whats: Vec<What>) -> Played {
        let entry = |what| JournalFrame::Round(vec![Entry { log: "t-0".into(), what }]);
        replay(whats.into_iter().enumerate().map(|(n, what)| (n as u64 + 1, entry(what))).collect())
    }

    fn apply(file: &mut Vec<u8>, plays: &[Play]) {
        for play in plays {
            match play {
                Play::Write { position, bytes } => {
                    let end = *position as usize + bytes.len();
                    file.resize(file.len().max(end), 0);
                    file[*position as usize..end].copy_from_slice(bytes);
                }
                Play::Cut { len } => file.truncate(*len as usize),
            }
        }
    }

    fn on(file: &[u8], whats: Vec<What>) -> Vec<u8> {
        let mut file = file.to_vec();
        let played = played(whats);
        apply(&mut file, played.files.get(&("t-0".into(), SEGMENT)).map_or(&[], Vec::as_slice));
        file
    }

    #[test]
    fn lost_ranges_are_written_back() {
        assert_eq!(on(b"", vec![range(0, b"abc"), range(3, b"def")]), b"abcdef");
    }

    #[test]
    fn an_old_range_does_not_land_on_what_was_cut_and_written_anew() {
        let file = b"abXYZ";
        let whats = vec![range(0, b"abcdef"), truncating(2), truncated(2)];
        assert_eq!(on(file, whats), file);
    }

    #[test]
    fn a_cut_that_was_not_finished_is_made_again() {
        assert_eq!(on(b"abcdef", vec![range(0, b"abcdef"), truncating(2)]), b"ab");
    }

    #[test]
    fn a_file_made_anew_gets_nothing_of_its_namesake() {
        let created = What::File(FileNote::Created { segment: SEGMENT });
        assert_eq!(on(b"new", vec![range(0, b"oldoldold"), created.clone()]), b"new");
        assert_eq!(on(b"", vec![range(0, b"oldoldold"), created, range(0, b"new")]), b"new");
        assert_eq!(on(b"new", vec![range(0, b"oldoldold"), What::LogDeleted]), b"new");
    }

    #[test]
    fn a_cut_takes_the_segments_after_it_along() {
        let later = What::Range { segment: Offset(9), position: 0, bytes: vec![Bytes::from_static(b"old")] };
        for cut in [truncating(2), truncated(2)] {
            let played = played(vec![range(0, b"abcd"), later.clone(), cut]);
            assert_eq!(played.files.keys().map(|(_, base)| *base).collect::<Vec<_>>(), [SEGMENT]);
        }
    }

    #[test]
    fn frames_before_the_newest_checkpoint_are_not_played_but_give_no_points_either() {
        let round = |what| JournalFrame::Round(vec![Entry { log: "t-0".into(), what }]);
        let checkpoint = |live_from, at| JournalFrame::Checkpoint {
            live_from,
            points: [("t-0".into(), point(at))].into(),
        };
        let frames = vec![
            (4, checkpoint(4, 0)),
            (5, round(range(0, b"dead"))),
            (6, round(range(4, b"live"))),
            (7, checkpoint(6, 8)),
            (8, round(What::Durable(point(12)))),
        ];
        let played = replay(frames);
        let plays = vec![Play::Write { position: 4, bytes: Bytes::from_static(b"live") }];
        assert_eq!(played.files, [(("t-0".into(), SEGMENT), plays)].into());
        assert_eq!((played.next_sequence, played.points.get("t-0")), (9, Some(&point(12))));
    }

    #[test]
    fn a_cut_lowers_the_point() {
        let whats = vec![What::Durable(point(10)), truncating(4)];
        assert_eq!(played(whats).points.get("t-0"), Some(&point(4)));
    }

    /// A log as its owner drives it: appends, and cuts with their two notes around them.
    #[derive(Debug, Clone)]
    enum Step {
        Append(Vec<u8>),
        Cut(prop::sample::Index),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => prop::collection::vec(any::<u8>(), 1..8).prop_map(Step::Append),
            1 => any::<prop::sample::Index>().prop_map(Step::Cut),
        ]
    }

    proptest! {
        /// Whatever part of the unsynced file the power took, playing gives back the bytes that were
        /// journaled; and playing twice is playing once.
        #[test]
        fn playing_gives_back_every_journaled_byte(
            steps in prop::collection::vec(step(), 1..25), lose in any::<prop::sample::Index>(),
        ) {
            let mut file: Vec<u8> = Vec::new();
            let mut durable_len = 0;
            let mut whats = Vec::new();
            for step in steps {
                match step {
                    Step::Append(bytes) => {
                        whats.push(range(file.len() as u64, &bytes));
                        file.extend_from_slice(&bytes);
                    }
                    Step::Cut(at) => {
                        let len = at.index(file.len() + 1);
                        whats.push(truncating(len as u64));
                        file.truncate(len);
                        durable_len = len;
                        whats.push(truncated(len as u64));
                    }
                }
            }
            let kept = durable_len + lose.index(file.len() - durable_len + 1);
            let after = on(&file[..kept], whats.clone());
            prop_assert_eq!(&after, &file);
            prop_assert_eq!(on(&after, whats), file);
        }

        #[test]
        fn any_entries_are_played_without_a_panic(
            entries in prop::collection::vec(super::super::entry::tests::entry(), 0..40),
        ) {
            replay(vec![(1, JournalFrame::Round(entries))]);
        }
    }
}
