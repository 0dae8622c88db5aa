//! A coordinator with a log that is committed by hand: what both the scripts and the properties drive.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use norn_protocol::{ErrorCode, TopicId};

use super::super::*;
use crate::Millis;

/// Wall time at the start of a test.
const WALL_START_MS: i64 = 1_700_000_000_000;

pub(super) struct World {
    pub(super) config: GroupConfig,
    pub(super) coordinator: Coordinator,
    start: Instant,
    now: Duration,
    /// Appends without an outcome.
    pub(super) pending: BTreeMap<AppendToken, Vec<Record>>,
    /// How many coordinators there have been before this one.
    pub(super) life: u64,
    /// All that is committed, in the order of the log.
    pub(super) log: BTreeMap<(u64, AppendToken), Vec<Record>>,
    pub(super) topics: TopicIds,
}

/// The ids of topics by name, `None` for one that does not exist. Others exist, under an id that matches any.
#[derive(Clone, Default)]
pub(super) struct TopicIds(pub(super) BTreeMap<String, Option<TopicId>>);

impl Topics for TopicIds {
    fn id_of(&self, name: &str) -> Option<TopicId> {
        self.0.get(name).copied().unwrap_or(Some(TopicId::NONE))
    }
}

impl World {
    pub(super) fn new(config: GroupConfig) -> World {
        #[allow(clippy::disallowed_methods, reason = "some instant to count from")]
        let start = Instant::now();
        let coordinator = Loader::new(config.clone()).finish_loading(start, Millis(WALL_START_MS));
        World {
            config,
            coordinator,
            start,
            now: Duration::ZERO,
            pending: BTreeMap::new(),
            life: 0,
            log: BTreeMap::new(),
            topics: TopicIds::default(),
        }
    }

    fn instant(&self) -> Instant {
        self.start + self.now
    }

    fn wall(&self) -> Millis {
        Millis(WALL_START_MS + self.now.as_millis() as i64)
    }

    /// Tells the coordinator an event; gives what it orders.
    pub(super) fn step(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        let (now, wall) = (self.instant(), self.wall());
        self.coordinator.step(event, now, wall, &self.topics, &mut actions);
        self.note_appends(&actions);
        actions
    }

    fn note_appends(&mut self, actions: &[Action]) {
        for action in actions {
            if let Action::Append { token, records } = action {
                self.pending.insert(*token, records.clone());
            }
        }
    }

    /// Ends an append: commits its records, or refuses them.
    pub(super) fn end_append(&mut self, token: AppendToken, result: Result<(), ErrorCode>) -> Vec<Action> {
        let records = self.pending.remove(&token).expect("a pending append");
        if result.is_ok() {
            self.log.insert((self.life, token), records);
        }
        self.step(Event::Appended { token, result })
    }

    /// Lets time pass, with every deadline at its time.
    pub(super) fn advance(&mut self, by: Duration) -> Vec<Action> {
        let end = self.now + by;
        let mut actions = Vec::new();
        let mut steps = 0;
        while let Some(deadline) = self.coordinator.next_deadline().filter(|at| *at <= self.start + end) {
            self.now = self.now.max(deadline - self.start);
            actions.extend(self.step(Event::DeadlineReached));
            steps += 1;
            assert!(steps < 100_000, "time stands still: a deadline is set again and again for now");
        }
        self.now = end;
        actions
    }

    /// Another coordinator, loaded from what is committed.
    pub(super) fn loaded(&self) -> Coordinator {
        let mut loader = Loader::new(self.config.clone());
        for record in self.log.values().flatten() {
            let (key, value) = record.encode();
            loader.apply_record(&key, value.as_deref()).expect("the coordinator's own record");
        }
        loader.finish_loading(self.instant(), self.wall())
    }

    /// Loses the coordinator and what it has not committed, and loads another.
    pub(super) fn reload(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        let loaded = self.loaded();
        std::mem::replace(&mut self.coordinator, loaded).unload(&mut actions);
        self.pending.clear();
        self.life += 1;
        actions
    }
}
