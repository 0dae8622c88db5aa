//! What a connection keeps between its requests: who the peer is, and its fetch sessions (KIP-227), which live and end
//! with the connection.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use norn_core::metadata::Endpoint;

use super::fetch::subscription::{FetchSession, Subscriptions};

pub(crate) struct Session {
    peer: SocketAddr,
    endpoint: Endpoint,
    fetch: BTreeMap<i32, Arc<Mutex<FetchSession>>>,
}

/// Fetch sessions of one connection. A client keeps one for each broker; more only come from abandoned ones.
const FETCH_SESSIONS_MAX: usize = 8;

impl Session {
    pub fn new(peer: SocketAddr, endpoint: Endpoint) -> Self {
        Session { peer, endpoint, fetch: BTreeMap::new() }
    }

    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// What clients of this connection's listener are told to connect to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub fn fetch_session(&self, id: i32) -> Option<Arc<Mutex<FetchSession>>> {
        self.fetch.get(&id).cloned()
    }

    pub fn close_fetch_session(&mut self, id: i32) {
        self.fetch.remove(&id);
    }

    /// Opens a session for these subscriptions; the oldest makes room.
    pub fn open_fetch_session(&mut self, subscriptions: Subscriptions) -> Arc<Mutex<FetchSession>> {
        while self.fetch.len() >= FETCH_SESSIONS_MAX {
            self.fetch.pop_first();
        }
        let id = loop {
            let id = 1 + norn_env::rand::below(i32::MAX as u64 - 1) as i32;
            if !self.fetch.contains_key(&id) {
                break id;
            }
        };
        let session = Arc::new(Mutex::new(FetchSession::new(id, subscriptions)));
        self.fetch.insert(id, session.clone());
        session
    }
}
