//! What clients see of a broker: requests to one that is up, over a connection, and its answers. One binary, since each
//! that links the broker costs a build more than its tests do.

mod admin_apis;
mod answers;
mod budgets;
mod committed_offsets;
mod every_version;
mod fetch;
mod log_dirs;
mod offline;
mod records;
mod requests;
mod settings;
mod support;
