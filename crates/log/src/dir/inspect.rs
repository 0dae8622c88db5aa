//! Reading from outside how far the logs of a data directory are known to be durable, as the simulator does: nothing is
//! played and nothing is changed.

use super::journal::entry::{self, JournalFrame};
use super::journal::{recovery, replay};
use super::marker;
use super::points::RecoveryPoint;
use crate::frames::{self, Tail};
use bytes::Bytes;

/// Takes the path of a file that records points apart: into that of its data directory and its name below it. `None`
/// if it is any other file.
pub fn data_directory_of(path: &str) -> Option<(&str, &str)> {
    let mark = path.strip_suffix(marker::FILE).and_then(|root| root.strip_suffix('/'));
    if let Some(root) = mark {
        return Some((root, marker::FILE));
    }
    let (above, _) = path.rsplit_once('/')?;
    let root = above.strip_suffix(recovery::DIR)?.strip_suffix('/')?;
    Some((root, &path[root.len() + 1..]))
}

/// How far files of one data directory, each a name of [`data_directory_of`] and the file's bytes, tell each log (by its
/// directory's name) to be durable: what a start would take as its recovery points. Damaged frames are passed over.
pub fn recorded_points(files: &[(&str, Bytes)]) -> Vec<(String, RecoveryPoint)> {
    let mark = files.iter().find(|(name, _)| *name == marker::FILE);
    let points = match mark.and_then(|(_, bytes)| marker::decode(bytes)) {
        Some(mark) => mark.ends.into_iter().chain(mark.others).collect(),
        None => {
            let mut found: Vec<(u64, JournalFrame)> = Vec::new();
            files.iter().for_each(|(_, bytes)| read_ring_file(bytes, &mut found));
            found.sort_by_key(|(sequence, _)| *sequence);
            found.dedup_by_key(|(sequence, _)| *sequence);
            replay::replay(found).points
        }
    };
    points.into_iter().map(|(log, point)| (log.to_string(), point)).collect()
}

pub(super) fn read_ring_file(bytes: &Bytes, found: &mut Vec<(u64, JournalFrame)>) {
    let mut at = 0;
    loop {
        let scan = frames::scan(bytes, at, None);
        let decoded = scan.frames.into_iter();
        found.extend(decoded.filter_map(|frame| Some((frame.sequence, entry::decode(frame.payload)?))));
        match scan.tail {
            Tail::Corrupt { next } => at = next,
            Tail::Clean | Tail::Torn | Tail::Newer { .. } => break,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dir::journal::entry::{encode_round, Entry, What};
    use crate::dir::marker::CleanShutdown;
    use norn_protocol::types::Offset;

    #[test]
    fn the_last_point_of_a_log_is_told_and_garbage_is_passed_over() {
        let point = |position| RecoveryPoint { segment: Offset(0), position, end: Offset(position as i64) };
        let frame = |sequence, position| {
            let entry = Entry { log: "t-0".into(), what: What::Durable(point(position)) };
            let pieces = encode_round(&[entry]);
            let mut bytes = frames::header(sequence, &pieces).to_vec();
            pieces.iter().for_each(|piece| bytes.extend_from_slice(piece));
            bytes
        };
        let first = [frame(1, 10), frame(2, 20)].concat();
        let mut files = vec![
            (".journal/0000", Bytes::from(frame(3, 30))),
            (".journal/0001", Bytes::from(first)),
            (".journal/0002", Bytes::from_static(&[0; 40])),
        ];
        assert_eq!(recorded_points(&files), [("t-0".to_owned(), point(30))]);
        assert_eq!(recorded_points(&[]), []);
        let others = [("t-0".into(), point(40))].into();
        let mark = CleanShutdown { next_sequence: 9, ends: Default::default(), others };
        files.push((marker::FILE, marker::encode(&mark).concat().into()));
        assert_eq!(recorded_points(&files), [("t-0".to_owned(), point(40))]);
    }

    #[test]
    fn files_that_record_points_are_told_from_others() {
        let apart = |path| data_directory_of(path);
        assert_eq!(apart("data/a/.journal/0003"), Some(("data/a", ".journal/0003")));
        assert_eq!(apart("data/a/.norn-clean-shutdown"), Some(("data/a", ".norn-clean-shutdown")));
        assert_eq!(apart("data/a/t-0/00000000000000000000.log"), None);
        assert_eq!(apart("data/a/.norn-clean-shutdown.tmp"), None);
        assert_eq!(apart("0003"), None);
    }
}
