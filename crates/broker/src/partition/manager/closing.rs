//! The end of the manager: every partition is told to close and awaited, each for itself, so that one that hangs keeps none
//! of the others open.

use std::{collections::BTreeMap, sync::Arc};

use futures::{future::BoxFuture, stream::FuturesUnordered, FutureExt, StreamExt};
use norn_core::metadata::Image;
use norn_env::{
    clock::{self, Duration},
    select, task,
};
use norn_log::{dir::Health, LogId};
use tokio::sync::mpsc;

use super::{Id, Manager, Open, OpenEnd};
use crate::partition::{
    actor::{CloseError, PartitionEnd},
    handle::Message,
    PartitionTable,
};

/// How long the partitions may take to become durable and close. What is not closed by then is recovered at the next start.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// How many partitions a message names.
const NAMED_MAX: usize = 10;

/// How the partitions were closed. Those that are not named here were, in good order.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    /// Logs that were offline before, which was logged then.
    pub offline: Vec<String>,
    /// What failed or hung while it was closed.
    pub failed: Vec<String>,
}

/// A partition whose queue was full, until it has been told or never will be; then it is overdue.
type Telling = BoxFuture<'static, ()>;

impl Manager {
    pub(super) async fn close(mut self) -> Ended {
        // Of what was deleted last; the next start would not know that it was.
        let image = self.setup.controller.image();
        self.follow(image.clone());
        let is_deleted = |log: &LogId| image.topic(log.topic_id).is_none();
        // The others were not written to, and removals are ended by the next start.
        let opening = std::mem::take(&mut self.opening).into_iter();
        self.opening = opening.filter(|opening| is_deleted(&opening.log)).collect();
        self.work.clear();
        let deadline = clock::now() + CLOSE_TIMEOUT;
        let mut telling = FuturesUnordered::new();
        let mut logs = BTreeMap::new();
        // The last senders go here: a task that could not be told ends when nobody can reach it.
        for (id, open) in std::mem::take(&mut self.open) {
            if !open.removing {
                let last = if is_deleted(&open.id) { Message::Remove } else { Message::Close };
                telling.extend(tell(&open, last, deadline));
            }
            logs.insert(id, (open.id, open.dir));
        }
        self.published.send_replace(Arc::<PartitionTable>::default());
        let offline = self.failed.values().map(|failed| failed.log.to_string()).collect();
        let mut end = Ended { offline, failed: vec![] };
        let ended = clock::timeout_at(deadline, self.end_all(&image, telling, &mut logs, &mut end));
        if task::wait(|| "the partitions to close".into(), ended).await.is_err() {
            end.failed.push(self.overdue(&logs));
        }
        end
    }

    /// What has not ended by the deadline.
    fn overdue(&self, logs: &BTreeMap<Id, (LogId, usize)>) -> String {
        let named: Vec<String> = logs.values().take(NAMED_MAX).map(|(log, _)| log.to_string()).collect();
        format!(
            "{} partitions did not close ({}), and {} logs of deleted topics were not renamed, within {CLOSE_TIMEOUT:?}",
            self.tasks.len(),
            named.join(", "),
            self.opening.len() + self.retiring.len(),
        )
    }

    /// Waits until every task has ended and every log of a deleted topic is out of use. Takes the logs out of `logs` whose
    /// tasks have ended.
    async fn end_all(
        &mut self,
        image: &Image,
        mut telling: FuturesUnordered<Telling>,
        logs: &mut BTreeMap<Id, (LogId, usize)>,
        end: &mut Ended,
    ) {
        while !(self.tasks.is_empty() && self.opening.is_empty() && self.retiring.is_empty()) {
            select! {
                Some(retired) = self.retiring.next(), if !self.retiring.is_empty() => self.retired(retired),
                Some(opened) = self.opening.next(), if !self.opening.is_empty() => self.removed_unopened(opened),
                Some((name, ended)) = self.tasks.join_next(), if !self.tasks.is_empty() => match ended {
                    Ok((id, ended)) => {
                        if let Some((log, dir)) = logs.remove(&id) {
                            self.closed(image, log, dir, ended, end);
                        }
                    }
                    Err(_) => end.failed.push(format!("{name} was stopped")),
                },
                Some(()) = telling.next(), if !telling.is_empty() => {}
            }
        }
    }

    fn closed(&mut self, image: &Image, log: LogId, dir: usize, ended: PartitionEnd, end: &mut Ended) {
        if image.topic(log.topic_id).is_none() {
            self.begin_removal(log, dir);
            return;
        }
        let is_online = *self.setup.dirs[dir].health().borrow() == Health::Online;
        match ended {
            PartitionEnd::Closed(Err(CloseError::Failed(cause))) if is_online => {
                end.failed.push(format!("partition {log}: {cause}"));
            }
            // Nothing in an offline directory can be closed, whether or not the partition has met that before.
            PartitionEnd::Closed(Err(_)) => end.offline.push(log.to_string()),
            PartitionEnd::Closed(Ok(())) | PartitionEnd::Removed => {}
        }
    }

    /// Removes a log whose topic was deleted while it was opened.
    fn removed_unopened(&mut self, (log, dir, opened): OpenEnd) {
        if opened.is_ok() {
            self.found.insert(log.clone(), dir);
        }
        drop(opened);
        self.begin_removal(log, dir);
    }
}

/// Gives a partition its last message, or what is still to be awaited for that.
fn tell(open: &Open, last: Message, deadline: clock::Instant) -> Option<Telling> {
    match open.partition.queue.try_send(last) {
        // A task that has ended is noticed as such.
        Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => None,
        Err(mpsc::error::TrySendError::Full(last)) => {
            let partition = open.partition.clone();
            Some(async move { partition.send(last, deadline).await }.map(drop).boxed())
        }
    }
}
