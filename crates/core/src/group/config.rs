//! The settings that the group protocol obeys, with Kafka's names and defaults.

use std::time::Duration;

/// Settings of one coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// `group.initial.rebalance.delay.ms`: how long the first members of an empty group wait for more.
    pub initial_rebalance_delay: Duration,
    /// `group.min.session.timeout.ms`
    pub session_timeout_ms_min: i32,
    /// `group.max.session.timeout.ms`
    pub session_timeout_ms_max: i32,
    /// `group.max.size`: members of one group, and, up to [`PENDING_MEMBERS_MAX`], ids given out to
    /// members that have yet to join with them.
    pub members_max: usize,
    /// `offset.metadata.max.bytes`
    pub offset_metadata_len_max: usize,
    /// `offsets.retention.minutes`
    pub offsets_retention: Duration,
    /// `offsets.retention.check.interval.ms`
    pub retention_check_interval: Duration,
    /// `offsets.commit.timeout.ms`: how long a reply waits for its records to be committed.
    pub append_timeout: Duration,
    pub cleanup: CleanupLimits,
}

/// Bounds the removal of offsets and groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanupLimits {
    /// Offsets that one step looks at: about a millisecond.
    pub keys_per_step: usize,
    /// Bytes of tombstones in one batch; a quarter of what a batch may have by default (`message.max.bytes`).
    pub batch_bytes: usize,
    /// Batches that may wait for their commit at once.
    pub appends: usize,
}

impl Default for CleanupLimits {
    fn default() -> CleanupLimits {
        CleanupLimits { keys_per_step: 2048, batch_bytes: 256 << 10, appends: 8 }
    }
}

/// Bounds what clients that only ever ask for a member id can take, where `group.max.size` (by default
/// without limit) does not.
pub const PENDING_MEMBERS_MAX: usize = 10_000;

/// A new member has no id to send heartbeats with while its first JoinGroup waits; it is given up after
/// this long, so that clients that come and go do not fill a group (Kafka's
/// `classicGroupNewMemberJoinTimeoutMs`).
pub const NEW_MEMBER_JOIN_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// The longest name (of a group, member, client, topic or protocol) that the formats of
/// `__consumer_offsets` can hold, less what a generated member id adds to a client id.
pub const NAME_LEN_MAX: usize = i16::MAX as usize - 37;

impl Default for GroupConfig {
    fn default() -> GroupConfig {
        GroupConfig {
            initial_rebalance_delay: Duration::from_secs(3),
            session_timeout_ms_min: 6_000,
            session_timeout_ms_max: 1_800_000,
            members_max: i32::MAX as usize,
            offset_metadata_len_max: 4096,
            offsets_retention: Duration::from_secs(7 * 24 * 60 * 60),
            retention_check_interval: Duration::from_secs(10 * 60),
            append_timeout: Duration::from_secs(5),
            cleanup: CleanupLimits::default(),
        }
    }
}
