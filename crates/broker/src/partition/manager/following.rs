//! From one image to the next: every partition that differs is brought to what the image says it is, and no other is looked
//! at.

use std::{collections::BTreeSet, sync::Arc};

use norn_core::metadata::{Image, ImageDelta, Topic, TopicConfig};
use norn_env::clock;
use norn_log::LogId;
use norn_protocol::types::PartitionIndex;

use super::{assigned, Id, Manager, OPENING_MAX, TELL_PAUSE};
use crate::partition::handle::Message;

impl Manager {
    /// Follows up to this image.
    pub(super) fn follow(&mut self, image: Arc<Image>) {
        if Arc::ptr_eq(&image, &self.image) {
            return;
        }
        let delta = ImageDelta::between(&self.image, &image);
        self.image = image;
        // Before what is new: a name may be another topic's now.
        for topic in &delta.deleted {
            self.configs.remove(&topic.id);
            for (index, _) in topic.partitions() {
                self.table.remove(&log_id(topic, index));
                self.table_moved = true;
                self.reconcile((topic.id, index.0));
            }
        }
        let concerns_all = delta.concerns_configs_of(self.setup.node);
        if concerns_all {
            self.configs.clear();
        }
        for changed in &delta.changed {
            if changed.configs {
                self.configs.remove(&changed.topic.id);
            }
            let indexes = changed.partitions.iter().copied();
            let all = changed.topic.partitions().map(|(index, _)| index);
            match changed.configs {
                true => all.for_each(|index| self.reconcile((changed.topic.id, index.0))),
                false => indexes.for_each(|index| self.reconcile((changed.topic.id, index.0))),
            }
        }
        if concerns_all {
            let open: BTreeSet<Id> = self.open.keys().copied().collect();
            open.into_iter().for_each(|id| self.reconcile(id));
        }
    }

    /// Brings one partition to what the image says it is.
    pub(super) fn reconcile(&mut self, id: Id) {
        let image = self.image.clone();
        match image.topic(id.0) {
            None => self.remove_deleted(id),
            Some(topic) => self.reconcile_assigned(id, topic),
        }
    }

    /// Ends a partition whose topic is gone.
    fn remove_deleted(&mut self, id: Id) {
        self.unopened.remove(&id);
        if let Some(failed) = self.failed.remove(&id) {
            self.table.remove(&failed.log);
            self.table_moved = true;
            if let Some(dir) = failed.dir {
                self.begin_removal(failed.log, dir);
            }
        }
        let Some(open) = self.open.get_mut(&id).filter(|open| !open.removing) else { return };
        open.removing = Self::tell(open, Message::Remove);
        if !open.removing {
            self.untold(id);
        }
    }

    fn reconcile_assigned(&mut self, id: Id, topic: &Topic) {
        let here = assigned(&self.image, id).filter(|assigned| assigned.replicas.contains(&self.setup.node));
        let Some(assigned) = here.cloned() else { return };
        if self.failed.contains_key(&id) {
            return;
        }
        let config = self.config_of(topic);
        let Some(open) = self.open.get_mut(&id) else {
            // One that is being opened already finds its name taken, by itself.
            self.unopened.insert(id);
            return;
        };
        let mut all_told = true;
        if open.assigned != assigned {
            match Self::tell(open, Message::Assigned(assigned.clone())) {
                true => open.assigned = assigned,
                false => all_told = false,
            }
        }
        if open.config != config {
            match Self::tell(open, Message::Configured(Box::new(config.clone()))) {
                true => open.config = config,
                false => all_told = false,
            }
        }
        if !all_told {
            self.untold(id);
        }
    }

    /// What holds for a topic here.
    pub(super) fn config_of(&mut self, topic: &Topic) -> TopicConfig {
        let resolve = || self.setup.layers.topic_config(&self.image, topic);
        self.configs.entry(topic.id).or_insert_with(resolve).clone()
    }

    fn untold(&mut self, id: Id) {
        self.untold.insert(id);
        self.tell_again.get_or_insert_with(|| clock::now() + TELL_PAUSE);
    }

    /// Tells those whose queues were full.
    pub(super) fn tell_untold(&mut self) {
        self.tell_again = None;
        std::mem::take(&mut self.untold).into_iter().for_each(|id| self.reconcile(id));
    }

    /// Begins to open the logs whose turn it is.
    pub(super) fn open_next(&mut self) {
        let image = self.image.clone();
        while self.opening.len() < OPENING_MAX {
            let Some((topic_id, partition)) = self.unopened.pop_first() else { return };
            let Some(topic) = image.topic(topic_id) else { continue };
            let log = log_id(topic, PartitionIndex(partition));
            match self.names.is_taken(&log) {
                // A deleted topic of this name may still be on its way out of the directory.
                true => self.names.wait_for(&log),
                false => {
                    let config = self.config_of(topic);
                    self.begin_open(log, config);
                }
            }
        }
    }

    /// Gives a log's directory back. Who waited for it comes next.
    pub(super) fn release(&mut self, log: &LogId) {
        if let Some(id) = self.names.release(log) {
            self.reconcile(id);
        }
    }
}

fn log_id(topic: &Topic, index: PartitionIndex) -> LogId {
    LogId { topic: topic.name.clone(), partition: index.0, topic_id: topic.id }
}
