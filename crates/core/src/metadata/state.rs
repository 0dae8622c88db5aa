//! What the quorum replicates: the image, and the window that makes retries of requests safe.

use std::collections::BTreeMap;

use norn_protocol::types::NodeId;

use super::command::{Command, Proposal, RequestId};
use super::image::Image;
use super::outcome::{Applied, Outcome};
use super::request_window::RequestWindow;
use crate::codec::{wire_structs, DecodeError};

/// The replicated state. Equal on all nodes that have applied the same commands.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct State {
    image: Image,
    /// Of each broker's present incarnation.
    requests: BTreeMap<NodeId, RequestWindow>,
}

/// A snapshot that cannot be taken in: the node halts with this text.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the metadata snapshot cannot be read: {0}")]
pub struct RestoreError(#[from] DecodeError);

impl State {
    /// The state before the first command.
    pub fn new() -> State {
        State::default()
    }

    /// The cluster as of the last command. Clone it to publish it.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// Applies what was committed at `index`; a request that was carried out before gives its result
    /// again.
    pub fn apply(&mut self, index: u64, proposal: &Proposal) -> Outcome {
        match proposal.request {
            Some(request) => self.apply_once(index, request, &proposal.command),
            None => self.apply_now(index, &proposal.command),
        }
    }

    fn apply_once(&mut self, index: u64, request: RequestId, command: &Command) -> Outcome {
        let live = self.image.broker_in(request.node, request.broker_epoch).map(drop);
        let window = self.requests.get(&request.node);
        let known = match live {
            Ok(()) => window.and_then(|window| window.result(request.counter)),
            Err(refused) => Some(Err(refused)),
        };
        if let Some(outcome) = known {
            self.image.pass_over(index);
            return outcome;
        }
        let outcome = self.apply_now(index, command);
        // The command itself may have been the registration that ends the incarnation.
        if self.image.broker_in(request.node, request.broker_epoch).is_ok() {
            let window = self.requests.entry(request.node);
            let window = window.or_insert_with(|| RequestWindow::new(request.broker_epoch));
            assert_eq!(window.epoch, request.broker_epoch, "a window is dropped at registration");
            window.keep(request.counter, outcome.clone());
        }
        outcome
    }

    fn apply_now(&mut self, index: u64, command: &Command) -> Outcome {
        let outcome = self.image.apply(index, command);
        if let (Command::RegisterBroker { node, .. }, Ok(Applied::BrokerRegistered { epoch })) =
            (command, &outcome)
        {
            if self.requests.get(node).is_some_and(|window| window.epoch != *epoch) {
                self.requests.remove(node);
            }
        }
        outcome
    }

    pub(super) fn into_parts(self) -> (Image, BTreeMap<NodeId, RequestWindow>) {
        (self.image, self.requests)
    }

    pub(super) fn parts_mut(&mut self) -> (&mut Image, &mut BTreeMap<NodeId, RequestWindow>) {
        (&mut self.image, &mut self.requests)
    }
}

wire_structs! {
    State { image, requests }
}
