//! Proposals that wait for their result, by the place in the log that Raft gave them.

use crate::error::ProposeError;
use bytes::Bytes;
use norn_env::clock::Instant;
use std::collections::BTreeMap;
use tokio::sync::oneshot;

/// What a proposal's caller waits for.
pub(crate) type Outcome = Result<Bytes, ProposeError>;

/// A command on its way to the driver. Dropping it answers the caller `Stopped`.
#[derive(Debug)]
pub(crate) struct Proposal {
    pub command: Bytes,
    pub deadline: Instant,
    pub reply: oneshot::Sender<Outcome>,
}

/// Proposed and not yet applied. The driver bounds their number by not taking more.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// By index; the term tells an entry of ours from another leader's in its place.
    waiting: BTreeMap<u64, (u64, oneshot::Sender<Outcome>)>,
}

impl Pending {
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Raft appended a proposal at (index, term).
    pub fn insert(&mut self, index: u64, term: u64, reply: oneshot::Sender<Outcome>) {
        let before = self.waiting.insert(index, (term, reply));
        assert!(before.is_none(), "two proposals wait at index {index}");
    }

    /// The caller of the entry that was applied at (index, term), if one waits here. If another
    /// leader's entry took the place, the proposal is gone and its caller hears so.
    pub fn take(&mut self, index: u64, term: u64) -> Option<oneshot::Sender<Outcome>> {
        let (proposed_in, reply) = self.waiting.remove(&index)?;
        if proposed_in == term {
            return Some(reply);
        }
        let _ = reply.send(Err(ProposeError::NotLeader { leader: None }));
        None
    }

    /// Leadership was lost: every caller hears at once, and may ask the new leader.
    pub fn fail_all(&mut self, leader: Option<u64>) {
        for (_, (_, reply)) in std::mem::take(&mut self.waiting) {
            let _ = reply.send(Err(ProposeError::NotLeader { leader }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_of_another_term_in_the_place_answers_not_leader() {
        let mut pending = Pending::default();
        let (ours, mut answer) = oneshot::channel();
        pending.insert(5, 2, ours);
        assert!(pending.take(5, 3).is_none());
        assert_eq!(answer.try_recv().unwrap(), Err(ProposeError::NotLeader { leader: None }));
    }

    #[test]
    fn losing_the_lead_answers_every_waiting_caller() {
        let mut pending = Pending::default();
        let mut answers = Vec::new();
        for index in 1..4 {
            let (reply, answer) = oneshot::channel();
            pending.insert(index, 1, reply);
            answers.push(answer);
        }
        pending.fail_all(Some(2));
        assert_eq!(pending.len(), 0);
        for answer in &mut answers {
            assert_eq!(answer.try_recv().unwrap(), Err(ProposeError::NotLeader { leader: Some(2) }));
        }
    }
}
