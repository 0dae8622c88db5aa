//! A coordinator's beginning: its state from the records of its partition.

use std::time::Instant;

use norn_protocol::{ErrorCode, TopicId};

use super::action::Action;
use super::cleanup::Cleanup;
use super::config::GroupConfig;
use super::coordinator::Coordinator;
use super::records::{Record, RecordError};
use super::state::Group;
use super::timers::Timer;
use super::topics::Topics;
use crate::Millis;

/// Takes in the partition's records from its start to its end, and becomes the coordinator. Until then
/// requests are answered COORDINATOR_LOAD_IN_PROGRESS ([`Event::refused`](super::Event::refused)).
#[derive(Debug, Default)]
pub struct Loader {
    coordinator: Coordinator,
}

impl Loader {
    pub fn new(config: GroupConfig) -> Loader {
        let cleanup = Cleanup::new(config.cleanup);
        Loader { coordinator: Coordinator { config, cleanup, ..Coordinator::default() } }
    }

    /// Takes in the next record. Records of kinds that the classic protocol does not have are skipped.
    pub fn apply_record(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), RecordError> {
        if let Some(record) = Record::decode(key, value)? {
            self.apply(record);
        }
        Ok(())
    }

    fn apply(&mut self, record: Record) {
        let groups = &mut self.coordinator.groups;
        match record {
            Record::Offset { group, topic, partition, value } => {
                if value.is_some() {
                    groups.entry(group.clone()).or_insert_with(|| Group::new(group.clone()));
                }
                self.coordinator.offsets.apply(group, (topic, partition), value);
            }
            Record::Group { group, value: Some(value) } => {
                groups.insert(group.clone(), Group::loaded(group, value));
            }
            Record::Group { group, value: None } => {
                groups.remove(&group);
            }
        }
    }

    /// All records up to the end of the log have been taken in, and are committed. Members get a whole
    /// session to be heard of. The coordinator begins with a pass that removes the offsets of topics that were
    /// deleted before.
    pub fn finish_loading(mut self, now: Instant, wall: Millis) -> Coordinator {
        let mut actions = Vec::new();
        let (groups, turn) = &mut self.coordinator.turn(now, wall, &NotAsked, &mut actions);
        for group in groups.values_mut() {
            for member in group.members.iter() {
                turn.set_session(&group.id, &member.id, member.session_timeout());
            }
            if group.members.len() > turn.config.members_max {
                // The limit was lowered: who rejoins in time stays.
                group.rebalance(turn);
            }
        }
        turn.set(Timer::Retention, turn.config.retention_check_interval);
        turn.begin_pass(false);
        assert!(actions.is_empty(), "nobody waits for a coordinator that is being loaded");
        self.coordinator
    }
}

/// Nothing that happens at the end of loading depends on the topics.
struct NotAsked;

impl Topics for NotAsked {
    fn id_of(&self, _name: &str) -> Option<TopicId> {
        None
    }
}

impl Group {
    /// Answers all requests that wait within the group.
    pub(super) fn refuse_all(&mut self, error: ErrorCode, actions: &mut Vec<Action>) {
        use super::action::{JoinResponse, Response, SyncResponse};
        for member in self.members.iter_mut() {
            if let Some(parked) = member.awaiting_join.take() {
                let response = Response::Join(JoinResponse::refused(member.id.clone(), error));
                actions.push(Action::Reply { slot: parked.slot, response });
            }
            if let Some(slot) = member.awaiting_sync.take() {
                actions.push(Action::Reply { slot, response: Response::Sync(SyncResponse::refused(error)) });
            }
        }
    }
}
