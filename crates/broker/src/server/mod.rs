//! The way in: the listener accepts connections, each connection is one task that reads requests and sends replies in
//! order. Nothing here knows a topic or a group; the router (`crate::api`) decides who handles a request.

mod admission;
mod connection;
mod limits;
mod listener;
mod replies;

pub(crate) use limits::{ConnectionBounds, ConnectionLimits};
pub(crate) use listener::{Bound, Server};
pub(crate) use replies::{Reply, Response};
