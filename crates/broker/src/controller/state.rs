//! The quorum's state machine: applies committed commands to the metadata and publishes the image.

use std::sync::Arc;

use bytes::Bytes;
use norn_core::metadata::{Image, Proposal, Restore, State};
use norn_quorum::{Fatal, StateMachine};
use tokio::sync::watch;

/// Owned by the quorum's task. Everything in it is a function of the commands and their order.
pub(crate) struct MetadataMachine {
    state: State,
    published: watch::Sender<Arc<Image>>,
    /// What was taken of a snapshot so far.
    restoring: Restore,
}

impl MetadataMachine {
    /// The machine, and the image as it is now and whenever it changes.
    pub fn new() -> (Self, watch::Receiver<Arc<Image>>) {
        let (published, image) = watch::channel(Arc::default());
        (MetadataMachine { state: State::default(), published, restoring: Restore::default() }, image)
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

    fn snapshot(&self, chunk_bytes: usize) -> Box<dyn Iterator<Item = Bytes> + Send> {
        Box::new(self.state.snapshot(chunk_bytes))
    }

    fn restore_chunk(&mut self, chunk: &[u8]) -> Result<(), Fatal> {
        self.restoring.chunk(chunk).map_err(|error| Fatal(error.to_string()))
    }

    fn restore_end(&mut self) -> Result<(), Fatal> {
        let restored = std::mem::take(&mut self.restoring);
        self.state = restored.finish().map_err(|error| Fatal(error.to_string()))?;
        Ok(())
    }
}
