//! What may happen in a random run.

use proptest::prelude::*;

use super::model::GROUPS;

/// One random happening. Numbers choose among what there is.
#[derive(Clone, Debug)]
pub(super) enum Op {
    /// A client does what a real one would do next: join with its id, or sync.
    Follow {
        member: usize,
    },
    Join {
        group: usize,
        member: usize,
        fresh: bool,
        instance: Option<usize>,
        protocols: usize,
        bits: u8,
    },
    Sync {
        member: usize,
    },
    Heartbeat {
        member: usize,
    },
    Leave {
        member: usize,
        by_instance: bool,
    },
    Commit {
        group: usize,
        member: Option<usize>,
        partition: i32,
    },
    DeleteOffsets {
        group: usize,
        partition: i32,
    },
    DeleteGroup {
        group: usize,
    },
    /// The topic is deleted and created anew, and the coordinator is told, or is lost first.
    TopicRecreated {
        told: bool,
    },
    CommitAppends {
        count: usize,
        reversed: bool,
    },
    RefuseAppend {
        at: usize,
    },
    Advance {
        ms: u64,
    },
    Reload,
}

pub(super) fn any_op() -> impl Strategy<Value = Op> {
    let group = 0..GROUPS.len();
    let instance = proptest::option::weighted(0.5, 0..2usize);
    prop_oneof![
        24 => any::<usize>().prop_map(|member| Op::Follow { member }),
        8 => (group.clone(), any::<usize>(), proptest::bool::weighted(0.3), instance, 0..4usize, any::<u8>()).prop_map(
            |(group, member, fresh, instance, protocols, bits)| Op::Join {
                group, member, fresh, instance, protocols, bits,
            }
        ),
        4 => any::<usize>().prop_map(|member| Op::Sync { member }),
        3 => any::<usize>().prop_map(|member| Op::Heartbeat { member }),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(member, by_instance)| Op::Leave { member, by_instance }),
        5 => (group.clone(), proptest::option::of(any::<usize>()), 0..3i32).prop_map(
            |(group, member, partition)| Op::Commit { group, member, partition }
        ),
        1 => (group.clone(), 0..3i32).prop_map(|(group, partition)| Op::DeleteOffsets { group, partition }),
        1 => group.prop_map(|group| Op::DeleteGroup { group }),
        1 => any::<bool>().prop_map(|told| Op::TopicRecreated { told }),
        8 => (1..4usize, any::<bool>()).prop_map(|(count, reversed)| Op::CommitAppends { count, reversed }),
        4 => any::<usize>().prop_map(|at| Op::RefuseAppend { at }),
        6 => prop_oneof![12 => 0..400u64, 2 => 0..12_000u64, 1 => 0..4_000_000u64].prop_map(|ms| Op::Advance { ms }),
        1 => Just(Op::Reload),
    ]
}
