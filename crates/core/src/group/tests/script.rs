//! Runs a script: blocks of commands, a line of dashes, and what they must give.
//!
//! A block ends with an empty line; lines with `#` say what it is about. Slots number the requests and
//! make up the ids of new members: the member that joins at slot 3 as client `c` is `c~3`. Appends are
//! numbered from 0. `config` starts a new world; `keys`, `bytes` and `appends` bound its cleanups.
//!
//! ```text
//! config [members=N] [delay=MS]               join SLOT GROUP [member=ID] [instance=ID] [client=NAME]
//! ok TOKEN | fail TOKEN ERROR                      [session=MS] [rebalance=MS] [type=NAME] [protocols=NAME:META,..]
//! advance MS | reload                              [subscribe=TOPIC,..] [known] [skip]
//! heartbeat SLOT GROUP MEMBER GEN [instance=ID]    sync SLOT GROUP MEMBER GEN [instance=ID] [assign=MEMBER:BYTES,..]
//! leave SLOT GROUP [member=ID].. [instance=ID]..   commit SLOT GROUP [gen=N member=ID] TOPIC/PARTITION=OFFSET[:META] ..
//! delete SLOT GROUP | describe GROUP | list [STATE] [after=GROUP] [most=N]
//!                                                  delete-offsets SLOT GROUP TOPIC/PARTITION ..
//! topics TOPIC=ID|none .. [untold]                 fetch GROUP [TOPIC/PARTITION] ..
//! ```

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use norn_protocol::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, TopicId};
use uuid::Uuid;

use super::super::*;
use super::world::World;

/// Fails with the whole script as it should read if any block gives something else.
pub(super) fn run(name: &str, script: &str) {
    let mut world = World::new(config(&Args::parse("config")));
    let (mut actual, mut failed) = (String::new(), Vec::new());
    for block in script.split("\n\n").filter(|block| !block.trim().is_empty()) {
        let (input, expected) = block.split_once("----").unwrap_or((block, ""));
        let mut output = String::new();
        for line in input.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
            output += &command(&mut world, &Args::parse(line));
        }
        let output = output.trim();
        if output != expected.trim() {
            failed.push(input.trim().to_string());
        }
        let output = if output.is_empty() { String::new() } else { format!("----\n{output}\n") };
        writeln!(actual, "{}\n{output}", input.trim()).unwrap();
    }
    assert!(
        failed.is_empty(),
        "{name}: {} blocks differ, the first:\n{}\n\nin full:\n{actual}",
        failed.len(),
        failed[0]
    );
}

struct Args<'a> {
    words: Vec<&'a str>,
}

impl<'a> Args<'a> {
    fn parse(line: &'a str) -> Args<'a> {
        Args { words: line.split_whitespace().collect() }
    }

    fn word(&self, at: usize) -> &'a str {
        self.words.get(at).unwrap_or_else(|| panic!("{:?} lacks a word", self.words))
    }

    fn number<T: std::str::FromStr>(&self, at: usize) -> T {
        self.word(at).parse().unwrap_or_else(|_| panic!("{:?}: word {at} is no number", self.words))
    }

    fn slot(&self) -> Slot {
        Slot(self.number(1))
    }

    fn group(&self) -> Arc<str> {
        Arc::from(self.word(2))
    }

    fn all(&self, key: &str) -> impl Iterator<Item = &'a str> + use<'a, '_> {
        let key = format!("{key}=");
        self.words.iter().filter_map(move |word| word.strip_prefix(&key))
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        self.all(key).next()
    }

    fn or<T: std::str::FromStr>(&self, key: &str, default: T) -> T {
        let parse = |value: &str| value.parse().unwrap_or_else(|_| panic!("{key}={value}"));
        self.get(key).map_or(default, parse)
    }

    fn has(&self, word: &str) -> bool {
        self.words.contains(&word)
    }

    fn instance(&self) -> Option<Arc<str>> {
        self.get("instance").map(Arc::from)
    }

    /// The words `topic/partition` and `topic/partition=...`.
    fn partitions(&self) -> Vec<(Arc<str>, PartitionIndex, &'a str)> {
        let partition = |word: &&'a str| {
            let (topic, rest) = word.split_once('/')?;
            let (partition, value) = rest.split_once('=').unwrap_or((rest, ""));
            Some((Arc::from(topic), PartitionIndex(partition.parse().ok()?), value))
        };
        self.words.iter().filter_map(partition).collect()
    }
}

fn config(args: &Args) -> GroupConfig {
    GroupConfig {
        members_max: args.or("members", 100),
        initial_rebalance_delay: Duration::from_millis(args.or("delay", 3000)),
        offset_metadata_len_max: 10,
        offsets_retention: Duration::from_secs(3600),
        retention_check_interval: Duration::from_secs(600),
        cleanup: CleanupLimits {
            keys_per_step: args.or("keys", 100),
            batch_bytes: args.or("bytes", 10_000),
            appends: args.or("appends", 8),
        },
        ..GroupConfig::default()
    }
}

fn command(world: &mut World, args: &Args) -> String {
    let actions = match args.word(0) {
        "config" => {
            *world = World::new(config(args));
            vec![]
        }
        "ok" => world.end_append(AppendToken(args.number(1)), Ok(())),
        "fail" => world.end_append(AppendToken(args.number(1)), Err(error(args.word(2)))),
        "advance" => world.advance(Duration::from_millis(args.number(1))),
        "reload" => world.reload(),
        "topics" => topics(world, args),
        "fetch" => return fetch(world, args),
        "describe" => return describe(world, args.word(1)),
        "list" => return list(world, args),
        _ => world.step(event(args)),
    };
    actions.iter().map(|action| format!("{}\n", show(action))).collect()
}

/// From now on these topics have these ids. The coordinator is told of deletions, unless they are `untold`.
fn topics(world: &mut World, args: &Args) -> Vec<Action> {
    for (name, id) in args.words.iter().filter_map(|word| word.split_once('=')) {
        let id = (id != "none").then(|| TopicId(Uuid::from_u128(id.parse().expect("an id"))));
        world.topics.0.insert(name.to_string(), id);
    }
    if args.has("untold") {
        return vec![];
    }
    let mut actions = world.step(Event::TopicsDeleted);
    actions.extend(world.advance(Duration::ZERO));
    actions
}

fn error(name: &str) -> ErrorCode {
    (-1..130)
        .filter_map(ErrorCode::try_from_code)
        .find(|error| error.to_string() == name)
        .expect("an error's name")
}

fn event(args: &Args) -> Event {
    match args.word(0) {
        "join" => Event::Join { slot: args.slot(), request: join(args) },
        "sync" => Event::Sync { slot: args.slot(), request: sync(args) },
        "heartbeat" => {
            let (group_id, member_id) = (args.group(), id(args.word(3)));
            let (generation, instance_id) = (args.number(4), args.instance());
            let request = HeartbeatRequest { group_id, member_id, instance_id, generation };
            Event::Heartbeat { slot: args.slot(), request }
        }
        "leave" => {
            let by_id = |member: &str| LeavingMember { member_id: id(member), instance_id: None };
            let by_instance =
                |instance: &str| LeavingMember { member_id: id(""), instance_id: Some(Arc::from(instance)) };
            let members =
                args.all("member").map(by_id).chain(args.all("instance").map(by_instance)).collect();
            Event::Leave { slot: args.slot(), request: LeaveRequest { group_id: args.group(), members } }
        }
        "commit" => Event::CommitOffsets { slot: args.slot(), request: commit(args) },
        "delete-offsets" => {
            let topics = args.partitions().into_iter().map(|(topic, partition, _)| (topic, vec![partition]));
            let request = DeleteOffsetsRequest { group_id: args.group(), topics: topics.collect() };
            Event::DeleteOffsets { slot: args.slot(), request }
        }
        "delete" => Event::DeleteGroup { slot: args.slot(), group_id: args.group() },
        other => panic!("no command {other}"),
    }
}

/// `c~3` stands for the id that a member of client `c` was given at slot 3.
fn id(short: &str) -> Arc<str> {
    match short.split_once('~') {
        Some((client, slot)) => {
            Arc::from(format!("{client}-{}", Uuid::from_u128(slot.parse().expect("a slot"))))
        }
        None => Arc::from(short),
    }
}

fn shorten(id: &str) -> String {
    match id.len().checked_sub(37).and_then(|at| Some((&id[..at], Uuid::parse_str(&id[at + 1..]).ok()?))) {
        Some((client, slot)) => format!("{client}~{}", slot.as_u128()),
        None => id.to_string(),
    }
}

fn subscription(topics: &str) -> Bytes {
    let topics: Vec<_> = topics.split(',').collect();
    let mut bytes = vec![0, 0, 0, 0, 0, topics.len() as u8];
    for topic in topics {
        bytes.extend([0, topic.len() as u8]);
        bytes.extend(topic.as_bytes());
    }
    Bytes::from(bytes)
}

fn join(args: &Args) -> JoinRequest {
    let protocol = |pair: &str| {
        let (name, metadata) = pair.split_once(':').unwrap_or((pair, ""));
        Protocol { name: Arc::from(name), metadata: Bytes::copy_from_slice(metadata.as_bytes()) }
    };
    let protocols = match args.get("subscribe") {
        Some(topics) => vec![Protocol { name: Arc::from("range"), metadata: subscription(topics) }],
        None => args.get("protocols").unwrap_or("range:s").split(',').map(protocol).collect(),
    };
    JoinRequest {
        group_id: args.group(),
        member_id: id(args.get("member").unwrap_or("")),
        instance_id: args.instance(),
        client_id: Arc::from(args.get("client").unwrap_or("c")),
        client_host: Arc::from("/10.0.0.1"),
        session_timeout_ms: args.or("session", 10_000),
        rebalance_timeout_ms: args.or("rebalance", 60_000),
        protocol_type: Arc::from(args.get("type").unwrap_or("consumer")),
        protocols,
        requires_known_member_id: args.has("known"),
        knows_skip_assignment: args.has("skip"),
        fresh_id: Uuid::from_u128(args.slot().0.into()),
    }
}

fn sync(args: &Args) -> SyncRequest {
    let assigned = |pair: &str| {
        let (member, assignment) = pair.split_once(':').unwrap_or((pair, ""));
        (id(member), Bytes::copy_from_slice(assignment.as_bytes()))
    };
    SyncRequest {
        group_id: args.group(),
        member_id: id(args.word(3)),
        instance_id: args.instance(),
        generation: args.number(4),
        protocol_type: args.get("type").map(Arc::from),
        protocol_name: args.get("protocol").map(Arc::from),
        assignments: args.get("assign").into_iter().flat_map(|list| list.split(',')).map(assigned).collect(),
    }
}

fn commit(args: &Args) -> CommitRequest {
    let topic_id = TopicId(Uuid::from_u128(args.or("id", 0)));
    let topics = args.partitions().into_iter().map(|(topic, partition, value)| {
        let (offset, metadata) = value.split_once(':').unwrap_or((value, ""));
        let metadata = Some(metadata).filter(|text| !text.is_empty()).map(Arc::from);
        let offset = Offset(offset.parse().expect("an offset"));
        let commit = PartitionCommit { partition, offset, leader_epoch: LeaderEpoch(1), metadata };
        TopicCommits { topic, topic_id, partitions: vec![commit] }
    });
    CommitRequest {
        group_id: args.group(),
        generation: args.or("gen", -1),
        member_id: id(args.get("member").unwrap_or("")),
        instance_id: args.instance(),
        retention_ms: args.get("retention").map(|ms| ms.parse().expect("milliseconds")),
        knows_group_id_not_found: args.has("known"),
        topics: topics.collect(),
    }
}

fn fetch(world: &World, args: &Args) -> String {
    let asked: Vec<_> = args.partitions().into_iter().map(|(topic, at, _)| (topic, vec![at])).collect();
    let fetched = if asked.is_empty() {
        world.coordinator.fetch_all_offsets(args.word(1), None, usize::MAX, &world.topics).topics
    } else {
        world.coordinator.fetch_offsets(args.word(1), &asked, &world.topics)
    };
    let mut output = String::new();
    for topic in fetched {
        for at in topic.partitions {
            let metadata = if at.metadata.is_empty() { String::new() } else { format!(":{}", at.metadata) };
            writeln!(
                output,
                "{}/{} = {}@{}{metadata}",
                topic.topic, at.partition, at.offset, at.leader_epoch
            )
            .unwrap();
        }
    }
    output
}

fn describe(world: &World, group: &str) -> String {
    let Some(group) = world.coordinator.describe_group(group) else { return "none\n".into() };
    let mut output =
        format!("{} {} [{}/{}]\n", group.group_id, group.state, group.protocol_type, group.protocol);
    for member in group.members {
        let instance = member.instance_id.map_or(String::new(), |instance| format!(" ({instance})"));
        let (metadata, assignment) = (text(&member.metadata), text(&member.assignment));
        let (id, host) = (shorten(&member.member_id), member.client_host);
        writeln!(
            output,
            "  {id}{instance} {}{host} metadata={metadata} assignment={assignment}",
            member.client_id
        )
        .unwrap();
    }
    output
}

fn list(world: &World, args: &Args) -> String {
    let line = |group: ListedGroup| format!("{} [{}] {}\n", group.group_id, group.protocol_type, group.state);
    let mut wanted = StateFilter::default();
    args.words[1..].iter().filter(|word| !word.contains('=')).for_each(|state| wanted.add(state));
    let after = args.get("after").map(Arc::from);
    let (groups, last) = world.coordinator.list_groups(&wanted, after.as_ref(), args.or("most", usize::MAX));
    let last = last.filter(|_| args.get("most").is_some()).map(|id| format!("after {id} ..\n"));
    groups.into_iter().map(line).chain(last).collect()
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).escape_default().to_string()
}

fn maybe(error: Option<ErrorCode>) -> String {
    error.map_or("ok".into(), |error| error.to_string())
}

fn show(action: &Action) -> String {
    match action {
        Action::Append { token, records } => {
            let records: Vec<_> = records.iter().map(show_record).collect();
            format!("append {}: {}", token.0, records.join("; "))
        }
        Action::Reply { slot, response } => format!("{} <- {}", slot.0, show_response(response)),
    }
}

fn show_record(record: &Record) -> String {
    match record {
        Record::Offset { group, topic, partition, value: Some(value) } => {
            format!("{group} {topic}/{partition}={}", value.offset)
        }
        Record::Offset { group, topic, partition, value: None } => {
            format!("{group} {topic}/{partition} gone")
        }
        Record::Group { group, value: None } => format!("{group} gone"),
        Record::Group { group, value: Some(value) } => {
            let member =
                |member: &MemberValue| format!("{}={}", shorten(&member.member_id), text(&member.assignment));
            let members: Vec<_> = value.members.iter().map(member).collect();
            let leader = value.leader.as_deref().map_or("none".into(), shorten);
            format!("{group} generation {} leader {leader} [{}]", value.generation, members.join(" "))
        }
    }
}

fn show_response(response: &Response) -> String {
    let offsets = |response: &OffsetsResponse| {
        let of_topic = |(topic, outcomes): &(Arc<str>, Vec<PartitionOutcome>)| {
            let one = |outcome: &PartitionOutcome| {
                format!("{topic}/{} {}", outcome.partition, maybe(outcome.error))
            };
            outcomes.iter().map(one).collect::<Vec<_>>().join(", ")
        };
        response.topics.iter().map(of_topic).collect::<Vec<_>>().join(", ")
    };
    match response {
        Response::Join(JoinResponse { error: Some(error), member_id, .. }) => {
            format!("join: {error} {}", shorten(member_id)).trim_end().to_string()
        }
        Response::Join(join) => {
            let member =
                |member: &JoinedMember| format!("{}:{}", shorten(&member.member_id), text(&member.metadata));
            let members: Vec<_> = join.members.iter().map(member).collect();
            let skip = if join.skip_assignment { " skip" } else { "" };
            let protocol = join.protocol_name.as_deref().unwrap_or("none");
            let (me, leader) = (shorten(&join.member_id), shorten(&join.leader));
            format!(
                "join: {me} in {} by {protocol}, led by {leader}{skip} [{}]",
                join.generation,
                members.join(" ")
            )
        }
        Response::Sync(SyncResponse { error: Some(error), .. }) => format!("sync: {error}"),
        Response::Sync(sync) => format!("sync: {:?}", text(&sync.assignment)),
        Response::Heartbeat(result) => format!("heartbeat: {}", maybe(result.err())),
        Response::Leave(Err(error)) => format!("leave: {error}"),
        Response::Leave(Ok(left)) => {
            let one = |member: &LeftMember| {
                let name = if member.member_id.is_empty() {
                    member.instance_id.as_deref().unwrap_or("")
                } else {
                    &member.member_id
                };
                format!("{} {}", shorten(name), maybe(member.error))
            };
            format!("leave: {}", left.iter().map(one).collect::<Vec<_>>().join(", "))
        }
        Response::CommitOffsets(response) => format!("commit: {}", offsets(response)),
        Response::DeleteOffsets(Err(error)) => format!("delete-offsets: {error}"),
        Response::DeleteOffsets(Ok(response)) => format!("delete-offsets: {}", offsets(response)),
        Response::DeleteGroup(result) => format!("delete: {}", maybe(result.err())),
    }
}
