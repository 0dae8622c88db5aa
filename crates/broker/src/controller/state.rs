//! The quorum's state machine: applies committed commands to the metadata and publishes the image.

use std::sync::Arc;

use bytes::Bytes;
use norn_core::metadata::{Image, Proposal, State};
use norn_quorum::{Fatal, StateMachine};
use tokio::sync::watch;

/// Owned by the quorum's task. Everything in it is a function of the commands and their order.
pub(crate) struct MetadataMachine {
    state: State,
    published: watch::Sender<Arc<Image>>,
}

impl MetadataMachine {
    /// The machine, and the image as it is now and whenever it changes.
    pub fn new() -> (Self, watch::Receiver<Arc<Image>>) {
        let (published, image) = watch::channel(Arc::default());
        (MetadataMachine { state: State::default(), published }, image)
    }
}

impl StateMachine for MetadataMachine {
    fn apply(&mut self, index: u64, command: &[u8]) -> Result<Bytes, Fatal> {
        let proposal = Proposal::decode(command).map_err(|error| Fatal(error.to_string()))?;
        let outcome = self.state.apply(index, &proposal);
        Ok(norn_core::metadata::outcome::encode(&outcome))
    }

    fn publish(&mut self) {
        // An image is cheap to clone: its parts are shared until they change.
        self.published.send_replace(Arc::new(self.state.image().clone()));
    }

    fn snapshot(&self) -> Bytes {
        self.state.snapshot()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), Fatal> {
        self.state = State::restore(snapshot).map_err(|error| Fatal(error.to_string()))?;
        self.publish();
        Ok(())
    }
}
