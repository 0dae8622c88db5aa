//! The results of a broker's last requests, so that one that is sent again is not carried out again.

use std::collections::BTreeMap;

use norn_protocol::types::BrokerEpoch;

use super::outcome::{Outcome, Refused};
use crate::codec::wire_structs;

/// How many results are kept of each broker: as many as it ever has under way. These are the requests
/// that wait for the quorum, and as many again that it has proposed and not applied.
pub const RESULTS_KEPT: usize = 2048;

/// The results of one incarnation's requests, by counter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct RequestWindow {
    pub epoch: BrokerEpoch,
    results: BTreeMap<u64, Outcome>,
    /// Whether requests below were carried out is forgotten.
    floor: u64,
}

impl RequestWindow {
    pub fn new(epoch: BrokerEpoch) -> RequestWindow {
        RequestWindow { epoch, results: BTreeMap::new(), floor: 0 }
    }

    /// What came of the request before; `None` if it is new.
    pub fn result(&self, counter: u64) -> Option<Outcome> {
        match self.results.get(&counter) {
            Some(outcome) => Some(outcome.clone()),
            None if counter < self.floor => Some(Err(Refused::ForgottenRequest { counter })),
            None => None,
        }
    }

    pub fn keep(&mut self, counter: u64, outcome: Outcome) {
        self.results.insert(counter, outcome);
        if self.results.len() > RESULTS_KEPT {
            if let Some((oldest, _)) = self.results.pop_first() {
                self.floor = oldest.saturating_add(1);
            }
        }
    }
}

wire_structs! {
    RequestWindow { epoch, results, floor }
}
