//! Room for the logs of new partitions. A partition whose log cannot be opened would be offline from its first moment, and
//! the last descriptors are for the next segments of the logs that are there.
//!
//! It is counted and not reserved: what is taken, and what the partitions of the image will take whose logs are not open yet.
//! So those who create take turns, each until its partitions are in the image, where the next one sees them.

use std::sync::atomic::{AtomicUsize, Ordering};

use norn_core::metadata::{Applied, Command, ConfigResource, Image};
use norn_env::{
    clock::{self, Duration, Instant},
    descriptors::{self, Share},
    task,
};
use norn_protocol::{types::NodeId, ErrorCode};
use norn_quorum::ProposeError;
use tokio::sync::{Semaphore, SemaphorePermit};
use tracing::warn;

use super::{topics::Failure, Context};
use crate::{controller::ChangeError, partition::PartitionTable};

/// How long a turn may wait for what earlier ones have left open, where its own request has less time than one sync takes.
const SETTLE: Duration = Duration::from_secs(5);

/// The turns of those who create partitions.
pub(crate) struct Creations {
    turns: Semaphore,
    /// Changes whose outcome is not known: they may still be made. Only who has the turn touches it.
    undecided: AtomicUsize,
}

impl Creations {
    pub fn new() -> Self {
        Creations { turns: Semaphore::new(1), undecided: AtomicUsize::new(0) }
    }
}

/// One request's turn, until it is dropped.
pub(super) struct Turn<'a> {
    ctx: &'a Context,
    _permit: SemaphorePermit<'a>,
}

impl<'a> Turn<'a> {
    /// Waits for the turn. The image then shows what those before have created.
    pub async fn of(ctx: &'a Context, deadline: Instant) -> Result<Turn<'a>, ChangeError> {
        if clock::now() >= deadline {
            // Nothing could be changed in it, and what is left undecided by trying costs the next one a change.
            return Err(ProposeError::DeadlineExceeded.into());
        }
        let turn = clock::timeout_at(deadline, ctx.creations.turns.acquire());
        let turn = task::wait(|| "a turn to create partitions".into(), turn).await;
        let _permit =
            turn.map_err(|_| ProposeError::DeadlineExceeded)?.expect("the semaphore is never closed");
        if ctx.creations.undecided.load(Ordering::Relaxed) > 0 {
            // Changes are made in order: once this one is, which changes nothing, no earlier one is still to come.
            let resource = ConfigResource::Broker(ctx.node);
            let nothing = Command::SetConfigs { resource, changes: vec![] };
            ctx.controller.change(nothing, deadline.max(clock::now() + SETTLE)).await?;
            ctx.creations.undecided.store(0, Ordering::Relaxed);
        }
        Ok(Turn { ctx, _permit })
    }

    /// Makes a change in this turn.
    pub async fn change(&self, command: Command, deadline: Instant) -> Result<Applied, ChangeError> {
        let undecided = &self.ctx.creations.undecided;
        undecided.fetch_add(1, Ordering::Relaxed);
        let changed = self.ctx.controller.change(command, deadline).await;
        if !matches!(changed, Err(ChangeError::Undecided(_))) {
            undecided.fetch_sub(1, Ordering::Relaxed);
        }
        changed
    }
}

/// The room that there is for new logs.
pub(super) struct Room {
    node: NodeId,
    /// `None` if that cannot be told: then nothing is refused.
    logs: Option<u64>,
}

impl Room {
    /// The room beside what `image` has. To be asked for in a turn, with the image of the turn.
    pub fn of(ctx: &Context, image: &Image) -> Room {
        // In this order: a log that opens in between counts twice, and not never.
        let unopened = unopened(image, ctx.node, &ctx.partitions());
        let left = descriptors::left(Share::NewLogs);
        Room { node: ctx.node, logs: left.map(|left| left.saturating_sub(unopened)) }
    }

    /// Takes what the new partitions of `command` need on this broker.
    pub fn take(&mut self, command: &Command) -> Result<(), Failure> {
        let (Command::CreateTopic { assignments, .. } | Command::CreatePartitions { assignments, .. }) =
            command
        else {
            return Ok(());
        };
        let Some(room) = self.logs else { return Ok(()) };
        let logs = assignments.iter().filter(|replicas| replicas.contains(&self.node)).count() as u64;
        match room.checked_sub(logs) {
            Some(left) => {
                self.logs = Some(left);
                Ok(())
            }
            None => {
                let message = format!(
                    "The broker has too few file descriptors for {logs} more partition(s): the limit of open files (ulimit -n) leaves \
                     room for {room}."
                );
                warn!("partitions are not created: {message}");
                Err(Failure { code: ErrorCode::PolicyViolation, message })
            }
        }
    }
}

/// How many logs the image has for this broker that are not open: each will take a descriptor, those that are offline at
/// the next start.
fn unopened(image: &Image, node: NodeId, table: &PartitionTable) -> u64 {
    image.replicas_on(node).all.saturating_sub(table.open_count()) as u64
}

#[cfg(test)]
mod tests {
    use norn_core::metadata::{Endpoint, State};
    use norn_protocol::types::TopicId;
    use uuid::Uuid;

    use super::*;

    fn topic(replicas: &[&[i32]]) -> Command {
        Command::CreateTopic {
            name: "t".to_owned(),
            id: TopicId(Uuid::from_bytes([1; 16])),
            assignments: replicas.iter().map(|ids| ids.iter().copied().map(NodeId).collect()).collect(),
            configs: vec![],
        }
    }

    #[test]
    fn new_partitions_share_the_room_that_there_is_on_this_broker() {
        let mut room = Room { node: NodeId(1), logs: Some(3) };
        assert!(room.take(&topic(&[&[1], &[1, 2]])).is_ok());
        let refused = room.take(&topic(&[&[1], &[2, 1]])).err().unwrap();
        assert_eq!(refused.code, ErrorCode::PolicyViolation);
        assert!(refused.message.contains("(ulimit -n) leaves room for 1."), "{}", refused.message);
        assert!(room.take(&topic(&[&[2], &[2], &[1]])).is_ok());
    }

    #[test]
    fn nothing_is_refused_where_the_room_cannot_be_told() {
        let mut room = Room { node: NodeId(1), logs: None };
        assert!(room.take(&topic(&[&[1], &[1, 2]])).is_ok());
    }

    #[test]
    fn partitions_of_the_image_take_room_before_their_logs_are_open() {
        let register = |id| Command::RegisterBroker {
            node: NodeId(id),
            incarnation: Uuid::nil(),
            directories: vec![],
            endpoint: Endpoint { host: "localhost".to_owned(), port: 9092 },
            rack: None,
        };
        let mut state = State::new();
        for (index, command) in (1..).zip([register(1), register(2), topic(&[&[1], &[1, 2], &[2]])]) {
            state.apply(index, &command.into()).unwrap();
        }
        assert_eq!(unopened(state.image(), NodeId(1), &PartitionTable::default()), 2);
    }
}
