//! The task of one coordinator.
//!
//! Owns a `group::Coordinator`, the replies parked for its requests and the appends under way. It is sent requests by
//! handlers (bounded queue) and appends to its partition like any producer, fenced by the leader epoch it was loaded in and
//! by its incarnation within it.
//! It ends when that epoch ends, when an append's outcome is unknown, or at shutdown; every parked reply is then answered
//! NOT_COORDINATOR, and its manager starts another if this broker leads again.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{future::BoxFuture, stream::FuturesUnordered, FutureExt, StreamExt};
use norn_core::{
    group::{Action, AppendToken, Coordinator, Event, GroupConfig, Record, Response, Slot},
    Millis,
};
use norn_env::{clock, select, task};
use norn_protocol::{types::LeaderEpoch, ErrorCode};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, info, warn};

use super::{fairness::Fairness, handle::Message, load};
use crate::controller::Controller;
use crate::partition::{Acks, CoordinatorIncarnation, Origin, Partition, Produce, Produced, ReadySet};

/// How long an append may take to be committed before its outcome counts as unknown.
const APPEND_TIMEOUT: Duration = Duration::from_secs(30);

/// What one coordinator is started with.
pub(crate) struct Setup {
    pub partition: Arc<Partition>,
    pub epoch: LeaderEpoch,
    pub incarnation: CoordinatorIncarnation,
    pub config: GroupConfig,
    pub controller: Controller,
    pub queue: mpsc::Receiver<Message>,
    /// Changes when topics were deleted, so that none is missed however late it is looked at.
    pub deletions: watch::Receiver<u64>,
}

/// Why a coordinator ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CoordinatorEnd {
    #[error("the partition is no longer led here in epoch {0}")]
    EpochOver(LeaderEpoch),
    #[error("the outcome of an append is unknown: {0}")]
    AppendUnknown(ErrorCode),
    #[error("its partition cannot be read: {0}")]
    Unreadable(ErrorCode),
    #[error("nobody can reach it any more")]
    Unreachable,
}

type AppendOutcome = (AppendToken, Result<(), AppendFailure>);

enum AppendFailure {
    /// Not in the log.
    Refused(ErrorCode),
    Unknown(ErrorCode),
}

struct Actor {
    setup: Setup,
    /// `None` while the partition is read.
    state: Option<Coordinator>,
    parked: BTreeMap<Slot, oneshot::Sender<Response>>,
    next_slot: u64,
    actions: Vec<Action>,
    appends: FuturesUnordered<BoxFuture<'static, AppendOutcome>>,
    fairness: Fairness,
}

/// Runs one coordinator to its end.
pub(crate) async fn run(setup: Setup) -> CoordinatorEnd {
    let (partition, epoch) = (setup.partition.clone(), setup.epoch);
    let moved = Arc::new(ReadySet::default());
    partition.watch(&moved, 0);
    let mut loading = load::load(partition.clone(), epoch, setup.incarnation, setup.config.clone()).boxed();
    let mut actor = Actor::new(setup);
    let end = loop {
        let view = partition.view();
        if view.epoch != epoch || view.unavailable.is_some() {
            break CoordinatorEnd::EpochOver(epoch);
        }
        let deadline = actor.state.as_ref().and_then(|state| state.next_deadline());
        let is_due = deadline.is_some_and(|at| at <= clock::now());
        let tells_deadline = actor.fairness.tells_deadline(is_due, actor.setup.queue.len());
        select! {
            loaded = &mut loading, if actor.state.is_none() => match loaded {
                Ok(state) => {
                    info!(partition = partition.index(), %epoch, "group coordinator loaded");
                    actor.state = Some(state);
                }
                Err(error) => break CoordinatorEnd::Unreadable(error),
            },
            Some(outcome) = actor.appends.next(), if !actor.appends.is_empty() => match outcome {
                (token, Ok(())) => actor.step(Event::Appended { token, result: Ok(()) }).await,
                (token, Err(AppendFailure::Refused(error))) => {
                    actor.step(Event::Appended { token, result: Err(error) }).await;
                }
                (_, Err(AppendFailure::Unknown(error))) => break CoordinatorEnd::AppendUnknown(error),
            },
            changed = actor.setup.deletions.changed() => match changed {
                Ok(()) => actor.step(Event::TopicsDeleted).await,
                Err(_) => break CoordinatorEnd::Unreachable,
            },
            _ = std::future::ready(()), if tells_deadline => {
                actor.fairness.told();
                actor.step(Event::DeadlineReached).await;
                // One step handles a bounded number; the next may be due at once.
                tokio::task::yield_now().await;
            }
            message = task::wait(|| "a request to the coordinator".into(), actor.setup.queue.recv()) => match message {
                Some(message) => {
                    actor.fairness.heard();
                    actor.receive(message).await;
                }
                None => break CoordinatorEnd::Unreachable,
            },
            _ = clock::sleep_until(deadline.unwrap_or_else(clock::now)), if deadline.is_some() && !is_due => {}
            _ = moved.moved() => { moved.take(); }
        }
    };
    if !matches!(end, CoordinatorEnd::Unreachable) {
        warn!(partition = partition.index(), %epoch, "group coordinator unloaded: {end}");
    }
    actor.unload();
    end
}

impl Actor {
    fn new(setup: Setup) -> Actor {
        Actor {
            setup,
            state: None,
            parked: BTreeMap::new(),
            next_slot: 0,
            actions: vec![],
            appends: FuturesUnordered::new(),
            fairness: Fairness::default(),
        }
    }

    async fn receive(&mut self, message: Message) {
        match message {
            Message::Look(look) => look(self.state.as_ref().ok_or(ErrorCode::CoordinatorLoadInProgress)),
            Message::Step { event, reply } => {
                let slot = Slot(self.next_slot);
                self.next_slot += 1;
                let event = event(slot);
                if self.state.is_none() {
                    if let Some((_, response)) = event.refused(ErrorCode::CoordinatorLoadInProgress) {
                        // The asker may have gone.
                        let _ = reply.send(response);
                    }
                    return;
                }
                self.parked.insert(slot, reply);
                self.step(event).await;
            }
        }
    }

    async fn step(&mut self, event: Event) {
        if let Some(state) = &mut self.state {
            let partition = self.setup.partition.index();
            debug!(partition, event = event.name(), group = event.group(), "group coordinator steps");
            let image = self.setup.controller.image();
            state.step(event, clock::now(), Millis(clock::wall_ms()), &*image, &mut self.actions);
            self.perform().await;
        }
    }

    async fn perform(&mut self) {
        let mut actions = std::mem::take(&mut self.actions);
        for action in actions.drain(..) {
            match action {
                Action::Reply { slot, response } => {
                    debug!(partition = self.setup.partition.index(), slot = slot.0, "group request answered");
                    if let Some(reply) = self.parked.remove(&slot) {
                        // The asker may have gone (its connection closed, its deadline passed).
                        let _ = reply.send(response);
                    }
                }
                Action::Append { token, records } => {
                    let partition = self.setup.partition.index();
                    debug!(partition, append = token.0, records = records.len(), "group records to append");
                    self.append(token, &records).await;
                }
            }
        }
        self.actions = actions;
    }

    /// Hands a batch to the partition, in the order of the actions, and waits for its commit on the side.
    async fn append(&mut self, token: AppendToken, records: &[Record]) {
        let timeout = if norn_env::buggify!("a coordinator gives up on an append early", 0.02) {
            Duration::from_millis(5)
        } else {
            APPEND_TIMEOUT
        };
        let deadline = clock::now() + timeout;
        let (reply, answered) = oneshot::channel();
        let handed_over = match load::batch_of(records, clock::wall_ms()) {
            Ok(batch) => {
                let Setup { epoch, incarnation, .. } = self.setup;
                let origin = Origin::Coordinator { epoch, incarnation };
                let produce = Produce { batch, acks: Acks::All, deadline, origin, reply };
                self.setup.partition.produce(produce, deadline).await
            }
            Err(error) => Err(error),
        };
        self.appends.push(match handed_over {
            Ok(()) => async move { (token, outcome(answered.await)) }.boxed(),
            Err(error) => async move { (token, Err(AppendFailure::Refused(error))) }.boxed(),
        });
    }

    fn unload(&mut self) {
        self.setup.queue.close();
        if let Some(state) = self.state.take() {
            state.unload(&mut self.actions);
        }
        for action in self.actions.drain(..) {
            if let Action::Reply { slot, response } = action {
                if let Some(reply) = self.parked.remove(&slot) {
                    // The asker may have gone.
                    let _ = reply.send(response);
                }
            }
        }
    }
}

/// What a partition's answer says of the records: in the log and committed, not in the log, or neither.
fn outcome(
    answer: Result<Result<Produced, ErrorCode>, oneshot::error::RecvError>,
) -> Result<(), AppendFailure> {
    match answer {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(
            error @ (ErrorCode::NotEnoughReplicas
            | ErrorCode::MessageTooLarge
            | ErrorCode::RecordListTooLarge
            | ErrorCode::InvalidRecord),
        )) => Err(AppendFailure::Refused(error)),
        Ok(Err(error)) => Err(AppendFailure::Unknown(error)),
        Err(_) => Err(AppendFailure::Unknown(ErrorCode::NotLeaderOrFollower)),
    }
}
