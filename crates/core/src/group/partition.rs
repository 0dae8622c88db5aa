//! Which partition of `__consumer_offsets` a group belongs to.

use norn_protocol::PartitionIndex;

/// The partition that keeps a group, and so the coordinator that leads it: Java's `String.hashCode` over
/// UTF-16 units, its absolute value (0 for the one that has none, `Utils.abs`), modulo `partitions`
/// (`GroupCoordinatorService.partitionFor`).
pub fn partition_for(group_id: &str, partitions: i32) -> PartitionIndex {
    assert!(partitions > 0, "the offsets topic has partitions");
    let hash =
        group_id.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(unit.into()));
    PartitionIndex(hash.checked_abs().unwrap_or(0) % partitions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_hash_as_in_kafka() {
        // From Kafka 4.3's Utils.abs(groupId.hashCode()) % 50.
        let cases = [
            ("", 0),
            ("orders", 31),
            ("console-consumer-12345", 6),
            ("ü-группа", 29),
            ("polygenelubricants", 0), // its hash is Integer.MIN_VALUE
            ("😀grp", 36),
        ];
        for (group, partition) in cases {
            assert_eq!(partition_for(group, 50), PartitionIndex(partition), "{group}");
        }
    }
}
