//! Consumer groups: the classic group protocol as a pure state machine.

mod records;

pub use records::{GroupValue, MemberValue, OffsetValue, Record, RecordError, RecordKey};
