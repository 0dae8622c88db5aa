//! Consumer groups: the classic group protocol as a pure state machine.
