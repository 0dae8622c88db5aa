//! What administration tools may ask of a cluster beside changes of its topics and settings: Kafka's rules for requests
//! that one node can answer from its metadata image. Pure.

mod election;
mod features;
mod paging;
mod quotas;
mod reassignment;
mod resources;
mod scram;

pub use election::{elect_leader, Election, ElectionError};
pub use features::{check_updates, Feature, FeatureUpdate, FEATURES};
pub use paging::{Pager, PARTITIONS_PER_PAGE_MAX};
pub use quotas::{check_quota_filter, QuotaFilterError};
pub use reassignment::{alter_reassignment, ReassignmentError};
pub use resources::{config_resource_types, ConfigResourceType};
pub use scram::{described_users, UserError};
