//! What all nodes agree on: commands, the image they build, and what the controller decides.
