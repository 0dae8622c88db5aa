//! Bytes that are nearly right: what a strategy gives, with a few places changed, cut or repeated.

use proptest::{prelude::*, sample::Index};

/// One change to some bytes.
#[derive(Clone, Debug)]
enum Change {
    Set(Index, u8),
    Cut(Index),
    Drop(Index, usize),
    Repeat(Index, usize),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => (any::<Index>(), any::<u8>()).prop_map(|(at, to)| Change::Set(at, to)),
        1 => any::<Index>().prop_map(Change::Cut),
        1 => (any::<Index>(), 1..40_usize).prop_map(|(at, len)| Change::Drop(at, len)),
        1 => (any::<Index>(), 1..200_usize).prop_map(|(at, len)| Change::Repeat(at, len)),
    ]
}

/// What `right` gives, changed up to four times; a fifth of it untouched.
pub fn nearly(right: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    (right, prop::collection::vec(change(), 0..5)).prop_map(|(mut bytes, changes)| {
        for change in changes {
            if bytes.is_empty() {
                break;
            }
            let len = bytes.len();
            match change {
                Change::Set(at, to) => bytes[at.index(len)] = to,
                Change::Cut(at) => bytes.truncate(at.index(len)),
                Change::Drop(at, some) => drop(bytes.drain(at.index(len)..len.min(at.index(len) + some))),
                Change::Repeat(at, some) => {
                    let at = at.index(len);
                    let again = bytes[at..len.min(at + some)].to_vec();
                    bytes.splice(at..at, again);
                }
            }
        }
        bytes
    })
}
