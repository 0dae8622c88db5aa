//! Fetch requests with or without a session (KIP-227), and what their answers say.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use norn_protocol::client::topic_name;
use norn_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use norn_protocol::messages::{FetchRequest, FetchResponse};
use uuid::Uuid;

/// From these versions on there are sessions, and topics go by id.
const SESSIONS: i16 = 7;
const BY_ID: i16 = 13;

/// The session was forgotten, or its epoch is another: begin anew.
const SESSION_ID_NOT_FOUND: i16 = 70;
const INVALID_SESSION_EPOCH: i16 = 71;

/// How much a fetch asks for, and how long it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appetite {
    pub max_wait_ms: i32,
    pub min_bytes: i32,
    pub max_bytes: i32,
    pub partition_max_bytes: i32,
}

/// The fetches of one connection, all of one version.
pub struct Fetcher {
    version: i16,
    sessions: bool,
    session: i32,
    epoch: i32,
    /// What the session's broker side knows: positions.
    told: BTreeMap<(String, i32), i64>,
    ids: BTreeMap<Uuid, String>,
}

/// What came for one partition.
#[derive(Clone, Debug)]
pub struct Fetched {
    pub topic: String,
    pub partition: i32,
    pub error: i16,
    pub high_watermark: i64,
    /// -1 in versions that do not tell.
    pub log_start: i64,
    pub records: Bytes,
}

impl Fetcher {
    /// Fetches in this version; in sessions if wanted and known to the version.
    pub fn new(version: i16, sessions: bool) -> Self {
        let sessions = sessions && version >= SESSIONS;
        Self { version, sessions, session: 0, epoch: 0, told: BTreeMap::new(), ids: BTreeMap::new() }
    }

    /// The version of all its requests.
    pub fn version(&self) -> i16 {
        self.version
    }

    /// A request for these positions: (topic, id, partition) to offset. In a session only what changed is sent.
    pub fn request(
        &mut self,
        want: &BTreeMap<(String, i32), (Uuid, i64)>,
        appetite: Appetite,
    ) -> FetchRequest {
        for ((topic, _), (id, _)) in want {
            self.ids.insert(*id, topic.clone());
        }
        let incremental = self.sessions && self.epoch > 0;
        let news = want.iter().filter(|(key, (_, at))| !incremental || self.told.get(*key) != Some(at));
        let mut topics: BTreeMap<&str, FetchTopic> = BTreeMap::new();
        for ((topic, partition), (id, at)) in news {
            let part = FetchPartition::default()
                .with_partition(*partition)
                .with_fetch_offset(*at)
                .with_partition_max_bytes(appetite.partition_max_bytes);
            let of_topic = topics.entry(topic).or_insert_with(|| match self.version {
                BY_ID.. => FetchTopic::default().with_topic_id(*id),
                _ => FetchTopic::default().with_topic(topic_name(topic)),
            });
            of_topic.partitions.push(part);
        }
        let forgotten = if incremental { self.forgotten(want) } else { vec![] };
        self.told = want.iter().map(|(key, (_, at))| (key.clone(), *at)).collect();
        let (session, epoch) = if self.sessions { (self.session, self.epoch) } else { (0, -1) };
        FetchRequest::default()
            .with_max_wait_ms(appetite.max_wait_ms)
            .with_min_bytes(appetite.min_bytes)
            .with_max_bytes(appetite.max_bytes)
            .with_session_id(session)
            .with_session_epoch(epoch)
            .with_topics(topics.into_values().collect())
            .with_forgotten_topics_data(forgotten)
    }

    fn forgotten(&self, want: &BTreeMap<(String, i32), (Uuid, i64)>) -> Vec<ForgottenTopic> {
        let gone: BTreeSet<_> = self.told.keys().filter(|key| !want.contains_key(*key)).collect();
        let forget = |(topic, partition): &(String, i32)| {
            let of_topic = ForgottenTopic::default().with_partitions(vec![*partition]);
            match self.version {
                BY_ID.. => {
                    let id =
                        self.ids.iter().find(|(_, name)| *name == topic).map_or(Uuid::nil(), |(id, _)| *id);
                    of_topic.with_topic_id(id)
                }
                _ => of_topic.with_topic(topic_name(topic)),
            }
        };
        gone.into_iter().map(forget).collect()
    }

    /// What came, or the error that is about the whole fetch. After an error of the session the next request begins a new
    /// one.
    pub fn take(&mut self, response: FetchResponse) -> Result<Vec<Fetched>, i16> {
        match response.error_code {
            0 => {}
            SESSION_ID_NOT_FOUND | INVALID_SESSION_EPOCH => {
                (self.session, self.epoch) = (0, 0);
                self.told.clear();
                return Ok(vec![]);
            }
            other => return Err(other),
        }
        if self.sessions {
            self.session = response.session_id;
            // 0: the broker has no room for a session.
            self.epoch = match (response.session_id, self.epoch) {
                (0, _) => 0,
                (_, i32::MAX) => 1,
                (_, epoch) => epoch + 1,
            };
        }
        let mut fetched = vec![];
        for topic in response.responses {
            let name = match self.version {
                BY_ID.. => self.ids.get(&topic.topic_id).cloned().unwrap_or_default(),
                _ => topic.topic.to_string(),
            };
            fetched.extend(topic.partitions.into_iter().map(|part| Fetched {
                topic: name.clone(),
                partition: part.partition_index,
                error: part.error_code,
                high_watermark: part.high_watermark,
                log_start: part.log_start_offset,
                records: part.records.unwrap_or_default(),
            }));
        }
        for part in fetched.iter().filter(|part| part.error != 0) {
            // Told again, since the reader will look again at where it stands.
            self.told.remove(&(part.topic.clone(), part.partition));
        }
        Ok(fetched)
    }
}
