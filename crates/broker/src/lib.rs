//! What a Norn node does: joins log, quorum and the deciding cores to a broker that Kafka clients use.

pub mod config;
