//! The operations that a client may perform on a resource, as responses tell them when asked (KIP-430). Without an authorizer
//! they are all that the resource has (Kafka's `AclEntry.supportedOperations`).

/// What responses say where nobody asked for operations.
pub const NOT_ASKED: i32 = i32::MIN;

/// Kafka's `AclOperation`: a bit's place.
#[derive(Clone, Copy)]
enum Operation {
    Read = 3,
    Write = 4,
    Create = 5,
    Delete = 6,
    Alter = 7,
    Describe = 8,
    ClusterAction = 9,
    DescribeConfigs = 10,
    AlterConfigs = 11,
    IdempotentWrite = 12,
}

/// What a client may do with the cluster.
pub const CLUSTER: i32 = bits(&[
    Operation::Create,
    Operation::Alter,
    Operation::Describe,
    Operation::ClusterAction,
    Operation::DescribeConfigs,
    Operation::AlterConfigs,
    Operation::IdempotentWrite,
]);

/// What a client may do with a topic.
pub const TOPIC: i32 = bits(&[
    Operation::Read,
    Operation::Write,
    Operation::Create,
    Operation::Delete,
    Operation::Alter,
    Operation::Describe,
    Operation::DescribeConfigs,
    Operation::AlterConfigs,
]);

/// What a client may do with a group.
pub const GROUP: i32 = bits(&[
    Operation::Read,
    Operation::Delete,
    Operation::Describe,
    Operation::DescribeConfigs,
    Operation::AlterConfigs,
]);

const fn bits(operations: &[Operation]) -> i32 {
    let (mut bits, mut at) = (0, 0);
    while at < operations.len() {
        bits |= 1 << operations[at] as i32;
        at += 1;
    }
    bits
}

/// `all` if the client asked for the operations.
pub fn if_asked(asked: bool, all: i32) -> i32 {
    if asked {
        all
    } else {
        NOT_ASKED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operations_are_those_that_kafka_tells() {
        assert_eq!((CLUSTER, TOPIC, GROUP), (8096, 3576, 3400));
    }
}
