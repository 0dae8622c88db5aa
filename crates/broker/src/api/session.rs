//! What a connection keeps between its requests: who the peer is, and its fetch sessions (KIP-227), which live and end
//! with the connection.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use norn_core::metadata::Endpoint;
use tokio::sync::Semaphore;

use super::fetch::subscription::{FetchSession, Subscriptions};

pub(crate) struct Session {
    peer: SocketAddr,
    endpoint: Endpoint,
    fetch: Arc<Mutex<FetchSessions>>,
}

/// Fetch sessions of one connection. A client keeps one for each broker; more only come from abandoned ones.
const FETCH_SESSIONS_MAX: usize = 8;

impl Session {
    /// `slots`: the fetch sessions that all connections may have together.
    pub fn new(peer: SocketAddr, endpoint: Endpoint, slots: Arc<Semaphore>) -> Self {
        let fetch = Arc::new(Mutex::new(FetchSessions { open: VecDeque::new(), slots }));
        Session { peer, endpoint, fetch }
    }

    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// What clients of this connection's listener are told to connect to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Shared with the replies of this connection's Fetches, which are made one after another.
    pub fn fetch_sessions(&self) -> Arc<Mutex<FetchSessions>> {
        self.fetch.clone()
    }
}

/// The fetch sessions of one connection, oldest first.
#[derive(Debug)]
pub(crate) struct FetchSessions {
    open: VecDeque<(i32, Arc<Mutex<FetchSession>>)>,
    slots: Arc<Semaphore>,
}

impl FetchSessions {
    pub fn get(&self, id: i32) -> Option<Arc<Mutex<FetchSession>>> {
        self.open.iter().find(|(open, _)| *open == id).map(|(_, session)| session.clone())
    }

    pub fn close(&mut self, id: i32) {
        self.open.retain(|(open, _)| *open != id);
    }

    /// Opens a session for these subscriptions and makes room for it among this connection's own. Without a free slot
    /// (`max.incremental.fetch.session.cache.slots`) it has id 0 and is forgotten with its one answer, as in Kafka.
    pub fn open(&mut self, subscriptions: Subscriptions, by_id: bool) -> Arc<Mutex<FetchSession>> {
        while self.open.len() >= FETCH_SESSIONS_MAX {
            self.open.pop_front();
        }
        let Ok(slot) = self.slots.clone().try_acquire_owned() else {
            return Arc::new(Mutex::new(FetchSession::once(subscriptions)));
        };
        let id = loop {
            let id = 1 + norn_env::rand::below(i32::MAX as u64 - 1) as i32;
            if self.get(id).is_none() {
                break id;
            }
        };
        let session = Arc::new(Mutex::new(FetchSession::new(id, by_id, subscriptions, slot)));
        self.open.push_back((id, session.clone()));
        session
    }
}

/// Locks what is only ever held between two awaits.
pub(super) fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
