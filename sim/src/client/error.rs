//! Why a request has no answer.

use thiserror::Error;

/// The outcome of the request is unknown, except for `Unsupported`, which was not sent.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CallError {
    /// The connection ended.
    #[error("the connection was lost")]
    Lost,
    /// No answer came by the deadline; the connection is closed.
    #[error("no answer by the deadline")]
    TimedOut,
    /// What came is no answer; the connection is closed.
    #[error("malformed answer: {0}")]
    Malformed(String),
    /// The broker does not serve the API, or no version of it that the request needs.
    #[error("the broker does not serve it")]
    Unsupported,
}
