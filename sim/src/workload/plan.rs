//! The client mix of a world as data: topics, and who does what to them. A seed draws it.

use std::collections::BTreeMap;

use norn_env::sim::Stream;
use serde::{Deserialize, Serialize};

use crate::check::{TopicFacts, Trim};
use crate::client::{Style, VersionChoice};
use crate::world::WorldShape;

/// What the clients of a world do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Seeds each client's own random numbers.
    pub seed: u64,
    pub topics: Vec<TopicPlan>,
    pub clients: Vec<ClientPlan>,
    /// Whether committed offsets survive the loss of power.
    pub offsets_sync: bool,
    /// Whether topics that nobody configured do.
    pub default_sync: bool,
    /// Whether their records get the broker's time: as the broker's settings say, whose the tape has.
    #[serde(skip)]
    pub default_append_time: bool,
    /// Whether some batches are compressed with zstd, which old fetches must not meet.
    pub zstd: bool,
}

/// A topic that nobody deletes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TopicPlan {
    pub name: String,
    pub partitions: i32,
    /// Not created ahead, but by the first who names it.
    pub auto: bool,
    pub sync: bool,
    pub trim: TrimPlan,
    pub configs: BTreeMap<String, String>,
}

/// How a topic's records leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrimPlan {
    Never,
    Records,
    Retention,
}

/// A client and its manners.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClientPlan {
    /// Names its host, its random stream, what it writes, and it in faults. No other client of the plan has it.
    pub number: usize,
    pub style: Style,
    /// Pauses between two things that it does are up to this.
    pub think_ms: u64,
    #[serde(flatten)]
    pub role: Role,
}

/// What a client does. Topics are meant by their place in the plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "kebab-case")]
pub enum Role {
    /// Sends batches with sequences, each until it is acknowledged.
    Idempotent { topics: Vec<usize>, window: usize, acks: i16, records_max: u64, padding_max: u64 },
    /// Sends batches once, many at a time.
    Plain { topics: Vec<usize>, window: usize, acks: i16, records_max: u64, padding_max: u64 },
    /// Reads all partitions of its topics.
    Consumer {
        topics: Vec<usize>,
        sessions: bool,
        max_wait_ms: i32,
        min_bytes: i32,
        max_bytes: i32,
        seeks: bool,
    },
    /// A member of a group that shares a topic.
    Member { group: String, topic: usize, is_static: bool, session_ms: i32, leaves: bool },
    /// Commits rising offsets, many at a time, and looks whether they are there.
    Committer { partitions: i32, window: usize },
    /// Creates, deletes, changes and describes.
    Admin { topics: Vec<usize> },
    /// Asks for all of a topic and reads it a byte in a second.
    Dribbler { topic: usize },
}

impl TopicPlan {
    /// What checkers must know; `default_append_time` holds where the topic does not say whose time counts.
    pub fn facts(&self, default_append_time: bool) -> TopicFacts {
        let trim = match self.trim {
            TrimPlan::Never => Trim::Never,
            TrimPlan::Records => Trim::Records,
            TrimPlan::Retention => Trim::Retention,
        };
        let kind = self.configs.get("message.timestamp.type");
        let append_time = kind.map_or(default_append_time, |kind| kind == "LogAppendTime");
        TopicFacts { sync: self.sync, trim, append_time }
    }
}

impl Plan {
    /// Draws the mix for a world of this shape.
    pub fn draw(dice: &mut Stream, shape: &WorldShape) -> Self {
        let default_sync = !shape.flush_async();
        let default_append_time = shape.append_time();
        let topics = topics(dice, default_sync, default_append_time);
        let zstd = dice.chance(0.3);
        let roles = roles(dice, &topics).into_iter().enumerate();
        let clients = roles.map(|(number, role)| client(dice, number, role)).collect();
        let (seed, offsets_sync) = (dice.u64(), default_sync);
        Self { seed, topics, clients, offsets_sync, default_sync, default_append_time, zstd }
    }

    /// The clients' numbers are below this.
    pub fn client_count(&self) -> usize {
        self.clients.iter().map(|client| client.number + 1).max().unwrap_or(0)
    }
}

fn topics(dice: &Stream, default_sync: bool, append_time: bool) -> Vec<TopicPlan> {
    let count = dice.range(1..4);
    let mut topics: Vec<TopicPlan> = (0..count).map(|i| topic(dice, i, default_sync, append_time)).collect();
    // One that keeps everything, so that each world can tell a loss.
    topics[0].trim = TrimPlan::Never;
    topics[0].configs.retain(|name, _| !name.starts_with("retention"));
    if dice.chance(0.3) {
        topics.push(TopicPlan {
            name: "auto".to_owned(),
            // As many as the broker's default; at least this one.
            partitions: 1,
            auto: true,
            sync: default_sync,
            trim: TrimPlan::Never,
            configs: BTreeMap::new(),
        });
    }
    topics
}

fn topic(dice: &Stream, i: u64, default_sync: bool, default_append_time: bool) -> TopicPlan {
    let mut configs = BTreeMap::new();
    let mut set = |name: &str, value: String| configs.insert(name.to_owned(), value);
    let mut sync = default_sync;
    if dice.chance(0.15) {
        sync = !sync;
        set("flush.mode", if sync { "sync" } else { "async" }.to_owned());
    }
    if dice.chance(0.4) {
        set("segment.bytes", dice.range(1 << 20..3 << 20).to_string());
    }
    if dice.chance(0.5) {
        set("internal.segment.bytes", dice.range(6_000..80_000).to_string());
    }
    if dice.chance(0.2) {
        set("segment.ms", dice.range(1_000..20_000).to_string());
    }
    if dice.chance(0.2) {
        let kind = if !default_append_time { "LogAppendTime" } else { "CreateTime" };
        set("message.timestamp.type", kind.to_owned());
    }
    if dice.chance(0.3) {
        set("index.interval.bytes", (1_u64 << dice.range(5..13)).to_string());
    }
    let trim = match dice.below(6) {
        0 => TrimPlan::Records,
        1 => {
            match dice.chance(0.5) {
                true => set("retention.ms", dice.range(3_000..20_000).to_string()),
                false => set("retention.bytes", dice.range(10_000..100_000).to_string()),
            };
            TrimPlan::Retention
        }
        _ => TrimPlan::Never,
    };
    let partitions = match dice.below(4) {
        0 => 1,
        1 | 2 => dice.range(2..5) as i32,
        _ => dice.range(5..17) as i32,
    };
    TopicPlan { name: format!("t{i}"), partitions, auto: false, sync, trim, configs }
}

/// One client of each kind that makes a world worth its while, and more at random.
fn roles(dice: &Stream, topics: &[TopicPlan]) -> Vec<Role> {
    let mut roles = vec![idempotent(dice, topics), consumer(dice, topics)];
    for _ in 0..dice.below(3) {
        roles.push(idempotent(dice, topics));
    }
    for _ in 0..dice.range(1..3) {
        roles.push(plain(dice, topics));
    }
    if dice.chance(0.5) {
        roles.push(consumer(dice, topics));
    }
    if dice.chance(0.7) {
        for group in 0..dice.range(1..3) {
            let topic = dice.below(topics.len() as u64) as usize;
            for _ in 0..dice.range(1..4) {
                roles.push(Role::Member {
                    group: format!("g{group}"),
                    topic,
                    is_static: dice.chance(0.3),
                    session_ms: dice.range(3_000..12_000) as i32,
                    leaves: dice.chance(0.3),
                });
            }
        }
    }
    for _ in 0..dice.below(3) {
        roles.push(Role::Committer {
            partitions: dice.range(1..4) as i32,
            window: dice.range(1..12) as usize,
        });
    }
    if dice.chance(0.2) {
        roles.push(Role::Dribbler { topic: dice.below(topics.len() as u64) as usize });
    }
    if dice.chance(0.6) || topics.iter().any(|topic| topic.trim == TrimPlan::Records) {
        roles.push(Role::Admin { topics: (0..topics.len()).collect() });
    }
    roles
}

fn some(dice: &Stream, topics: &[TopicPlan]) -> Vec<usize> {
    let chosen: Vec<usize> = (0..topics.len()).filter(|_| dice.chance(0.6)).collect();
    if chosen.is_empty() {
        vec![0]
    } else {
        chosen
    }
}

fn idempotent(dice: &Stream, topics: &[TopicPlan]) -> Role {
    let acks = if dice.chance(0.8) { -1 } else { 1 };
    let (records_max, padding_max) = sizes(dice);
    Role::Idempotent {
        topics: some(dice, topics),
        window: dice.range(1..6) as usize,
        acks,
        records_max,
        padding_max,
    }
}

fn plain(dice: &Stream, topics: &[TopicPlan]) -> Role {
    let acks = [-1, -1, 1, 0][dice.below(4) as usize];
    let (records_max, padding_max) = sizes(dice);
    Role::Plain {
        topics: some(dice, topics),
        window: dice.range(1..20) as usize,
        acks,
        records_max,
        padding_max,
    }
}

fn sizes(dice: &Stream) -> (u64, u64) {
    match dice.below(4) {
        0 => (1, 100),
        1 => (12, 20),
        2 => (4, 3_000),
        _ => (6, 300),
    }
}

fn consumer(dice: &Stream, topics: &[TopicPlan]) -> Role {
    Role::Consumer {
        topics: some(dice, topics),
        sessions: dice.chance(0.6),
        max_wait_ms: [0, 100, 500, 3_000][dice.below(4) as usize],
        min_bytes: [0, 1, 1, 10_000][dice.below(4) as usize],
        max_bytes: [1, 2_000, 60_000, 1 << 20, 50 << 20][dice.below(5) as usize],
        seeks: dice.chance(0.4),
    }
}

fn client(dice: &Stream, number: usize, role: Role) -> ClientPlan {
    let versions = match dice.below(4) {
        0 | 1 => VersionChoice::Newest,
        2 => VersionChoice::Any,
        _ => VersionChoice::Oldest,
    };
    let style = Style { versions, request_timeout_ms: dice.range(4_000..12_000) };
    ClientPlan { number, style, think_ms: [20, 60, 150, 400][dice.below(4) as usize], role }
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn a_plan_survives_its_file() {
        for seed in 0..100 {
            let shape = WorldShape { settings: BTreeMap::new() };
            let plan = Plan::draw(&mut Stream::detached(seed, "plan"), &shape);
            let text = serde_json::to_string(&plan).unwrap();
            assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
            assert!(plan.client_count() >= 3);
        }
    }
}
