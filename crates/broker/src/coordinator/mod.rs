//! Group coordinators: one task per partition of `__consumer_offsets` that this broker leads. The rules are
//! `norn_core::group`'s; the task loads them from its partition, appends what they order, and answers.

mod actor;
mod fairness;
mod handle;
mod load;
mod manager;

pub(crate) use handle::{answer_by, CoordinatorHandle, Coordinators, OFFSETS_TOPIC};
pub(crate) use manager::CoordinatorManager;
