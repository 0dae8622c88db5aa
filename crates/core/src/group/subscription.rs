//! The topics that a consumer subscribes to, read from what it tells its group.
//!
//! Only version 0 of `ConsumerProtocolSubscription` is read: it is the start of every later one.

use std::collections::BTreeSet;
use std::sync::Arc;

/// The protocol type of consumers, the only one whose metadata the coordinator looks into.
pub(super) const CONSUMER_PROTOCOL: &str = "consumer";

/// The topics of a subscription; `None` if the bytes are none.
pub(super) fn topics(metadata: &[u8]) -> Option<BTreeSet<Arc<str>>> {
    let (_version, mut rest) = metadata.split_first_chunk::<2>()?;
    let count = usize::try_from(i32::from_be_bytes(take(&mut rest)?)).ok()?;
    let mut topics = BTreeSet::new();
    for _ in 0..count {
        let len = usize::try_from(i16::from_be_bytes(take(&mut rest)?)).ok()?;
        let (topic, after) = rest.split_at_checked(len)?;
        // As Kafka reads strings.
        topics.insert(Arc::from(String::from_utf8_lossy(topic).as_ref()));
        rest = after;
    }
    Some(topics)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_read_from_the_prefix_common_to_all_versions() {
        // Version 3: topics [a, bc], user data null, owned partitions, generation, rack follow.
        let metadata = [0, 3, 0, 0, 0, 2, 0, 1, b'a', 0, 2, b'b', b'c', 0xff, 0xff, 0xff, 0xff, 1, 2, 3];
        assert_eq!(topics(&metadata), Some(BTreeSet::from(["a".into(), "bc".into()])));
        assert_eq!(topics(&[0, 0, 0, 0, 0, 0]), Some(BTreeSet::new()));
        assert_eq!(topics(&[0, 0, 0, 0, 0, 1, 0, 2, b'a', 0xff]), Some(BTreeSet::from(["a\u{fffd}".into()])));
    }

    #[test]
    fn what_is_no_subscription_is_refused() {
        for bad in
            [&[][..], &[0], &[0, 0, 0, 0, 0, 1], &[0, 0, 0xff, 0, 0, 0], &[0, 0, 0, 0, 0, 1, 0, 9, b'a']]
        {
            assert_eq!(topics(bad), None, "{bad:?}");
        }
    }
}
