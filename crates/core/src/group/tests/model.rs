//! Properties of random runs: clients that join, sync, commit and leave in any order, a log that commits,
//! refuses or says nothing, coordinators that are lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use norn_protocol::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, TopicId};
use proptest::prelude::*;
use uuid::Uuid;

use super::super::*;
use super::ops::{any_op, Op};
use super::world::{TopicIds, World};

pub(super) const GROUPS: [&str; 2] = ["g", "h"];

/// What a client knows of itself from the answers it got.
#[derive(Clone, Debug)]
struct Client {
    group: Arc<str>,
    member_id: Arc<str>,
    instance_id: Option<Arc<str>>,
    generation: i32,
    leads: bool,
    others: Vec<Arc<str>>,
}

/// A request that has not been answered.
#[derive(Clone, Debug)]
enum Asked {
    Join { group: Arc<str>, instance_id: Option<Arc<str>> },
    Sync { group: Arc<str>, member_id: Arc<str>, generation: i32 },
    Commit { group: Arc<str>, offset: Offset },
    Other,
}

/// One generation of one life of a group, as clients have heard of it.
type Generation = (Arc<str>, u64, i32);

struct Model {
    world: World,
    clients: Vec<Client>,
    open: BTreeMap<Slot, Asked>,
    slots: u64,
    offsets: i64,
    /// Rises whenever a group has no members or its coordinator is lost: generation numbers may come again.
    lives: BTreeMap<Arc<str>, u64>,
    leaders: BTreeMap<Generation, Arc<str>>,
    protocols: BTreeMap<Generation, Option<Arc<str>>>,
}

impl Model {
    fn new() -> Model {
        let config = GroupConfig {
            members_max: 4,
            initial_rebalance_delay: Duration::from_millis(100),
            offsets_retention: Duration::from_secs(3600),
            cleanup: CleanupLimits { keys_per_step: 2, batch_bytes: 40, appends: 2 },
            ..GroupConfig::default()
        };
        let mut world = World::new(config);
        world.topics.0.insert("t".into(), Some(TopicId(Uuid::from_u128(1))));
        Model {
            world,
            clients: Vec::new(),
            open: BTreeMap::new(),
            slots: 0,
            offsets: 0,
            lives: BTreeMap::new(),
            leaders: BTreeMap::new(),
            protocols: BTreeMap::new(),
        }
    }

    fn ask(&mut self, asked: Asked) -> Slot {
        let slot = Slot(self.slots);
        self.slots += 1;
        self.open.insert(slot, asked);
        slot
    }

    /// One of the clients that were last heard of; older ids are mostly dead.
    fn client(&self, at: usize) -> Option<Client> {
        let recent = self.clients.len().min(5);
        self.clients.iter().rev().nth(at.checked_rem(recent)?).cloned()
    }

    fn run(&mut self, op: Op) {
        let actions = match op {
            Op::Follow { member } => match self.client(member) {
                Some(client) if client.generation < 0 => self.join(0, member, false, None, 0, 2 | 12),
                _ => self.sync(member),
            },
            Op::Join { group, member, fresh, instance, protocols, bits } => {
                self.join(group, member, fresh, instance, protocols, bits)
            }
            Op::Sync { member } => self.sync(member),
            Op::Heartbeat { member } => self.heartbeat(member),
            Op::Leave { member, by_instance } => self.leave(member, by_instance),
            Op::Commit { group, member, partition } => self.commit(group, member, partition),
            Op::DeleteOffsets { group, partition } => {
                let topics = vec![("t".into(), vec![PartitionIndex(partition)])];
                let request = DeleteOffsetsRequest { group_id: GROUPS[group].into(), topics };
                let slot = self.ask(Asked::Other);
                self.world.step(Event::DeleteOffsets { slot, request })
            }
            Op::DeleteGroup { group } => {
                let slot = self.ask(Asked::Other);
                self.world.step(Event::DeleteGroup { slot, group_id: GROUPS[group].into() })
            }
            Op::TopicRecreated { told } => self.recreate_topic(told),
            Op::CommitAppends { count, reversed } => self.commit_appends(count, reversed),
            Op::RefuseAppend { at } => {
                match self.world.pending.keys().nth(at % self.world.pending.len().max(1)) {
                    Some(token) => self.world.end_append(*token, Err(ErrorCode::NotEnoughReplicas)),
                    None => vec![],
                }
            }
            Op::Advance { ms } => self.world.advance(Duration::from_millis(ms)),
            Op::Reload => self.reload(),
        };
        self.check_replies(actions);
        self.check_offsets();
        self.check_groups();
    }

    fn join(
        &mut self,
        group: usize,
        member: usize,
        fresh: bool,
        instance: Option<usize>,
        protocols: usize,
        bits: u8,
    ) -> Vec<Action> {
        let known = self.client(member).filter(|_| !fresh);
        let (group, member_id, instance_id) = match known {
            Some(client) => (client.group, client.member_id, client.instance_id),
            None => (GROUPS[group].into(), "".into(), instance.map(|at| Arc::from(["i", "j"][at]))),
        };
        let names: &[&str] =
            [&["range", "sticky"][..], &["sticky", "range"], &["sticky"], &["range"]][protocols];
        let metadata = Bytes::copy_from_slice(&[0, 0, 0, 0, 0, bits & 1][..5 + usize::from(bits & 1 == 0)]);
        let protocol = |name: &&str| Protocol { name: Arc::from(*name), metadata: metadata.clone() };
        let slot = self.ask(Asked::Join { group: group.clone(), instance_id: instance_id.clone() });
        let request = JoinRequest {
            group_id: group,
            member_id,
            instance_id,
            client_id: "c".into(),
            client_host: "/h".into(),
            session_timeout_ms: if bits & 2 == 0 { 6_000 } else { 30_000 },
            rebalance_timeout_ms: [-1, 0, 5_000, 60_000][usize::from(bits >> 2 & 3)],
            protocol_type: "consumer".into(),
            protocols: names.iter().map(protocol).collect(),
            requires_known_member_id: bits & 16 == 0,
            knows_skip_assignment: bits & 32 == 0,
            fresh_id: Uuid::from_u128(slot.0.into()),
        };
        self.world.step(Event::Join { slot, request })
    }

    fn sync(&mut self, member: usize) -> Vec<Action> {
        let Some(client) = self.client(member) else { return vec![] };
        let (group, member_id, generation) = (client.group, client.member_id, client.generation);
        let asked = Asked::Sync { group: group.clone(), member_id: member_id.clone(), generation };
        let slot = self.ask(asked);
        // Each leader's sync assigns something of its own, so that mixtures of two would show.
        let assign = |member: &Arc<str>| (member.clone(), Bytes::from(format!("{member} by {}", slot.0)));
        let assignments = if client.leads { client.others.iter().map(assign).collect() } else { vec![] };
        let request = SyncRequest {
            group_id: group,
            member_id,
            instance_id: client.instance_id,
            generation,
            protocol_type: None,
            protocol_name: None,
            assignments,
        };
        self.world.step(Event::Sync { slot, request })
    }

    fn heartbeat(&mut self, member: usize) -> Vec<Action> {
        let Some(client) = self.client(member) else { return vec![] };
        let request = HeartbeatRequest {
            group_id: client.group,
            member_id: client.member_id,
            instance_id: client.instance_id,
            generation: client.generation,
        };
        let slot = self.ask(Asked::Other);
        self.world.step(Event::Heartbeat { slot, request })
    }

    fn leave(&mut self, member: usize, by_instance: bool) -> Vec<Action> {
        let Some(client) = self.client(member) else { return vec![] };
        let by_instance = by_instance && client.instance_id.is_some();
        let member_id = if by_instance { "".into() } else { client.member_id };
        let members = vec![LeavingMember { member_id, instance_id: client.instance_id }];
        let slot = self.ask(Asked::Other);
        self.world.step(Event::Leave { slot, request: LeaveRequest { group_id: client.group, members } })
    }

    fn commit(&mut self, group: usize, member: Option<usize>, partition: i32) -> Vec<Action> {
        self.offsets += 1;
        let offset = Offset(self.offsets);
        let client = member.and_then(|member| self.client(member));
        let group_id = client.as_ref().map_or(GROUPS[group].into(), |client| client.group.clone());
        let slot = self.ask(Asked::Commit { group: group_id.clone(), offset });
        let partition = PartitionIndex(partition);
        let commit = PartitionCommit { partition, offset, leader_epoch: LeaderEpoch::NONE, metadata: None };
        let request = CommitRequest {
            group_id,
            generation: client.as_ref().map_or(-1, |client| client.generation),
            member_id: client.as_ref().map_or("".into(), |client| client.member_id.clone()),
            instance_id: client.and_then(|client| client.instance_id),
            retention_ms: None,
            knows_group_id_not_found: true,
            topics: vec![TopicCommits {
                topic: "t".into(),
                topic_id: self.topic_id(),
                partitions: vec![commit],
            }],
        };
        self.world.step(Event::CommitOffsets { slot, request })
    }

    fn topic_id(&self) -> TopicId {
        self.world.topics.id_of("t").expect("there is one")
    }

    fn recreate_topic(&mut self, told: bool) -> Vec<Action> {
        let next = TopicId(Uuid::from_u128(self.topic_id().0.as_u128() + 1));
        self.world.topics.0.insert("t".into(), Some(next));
        if told {
            return self.world.step(Event::TopicsDeleted);
        }
        self.reload()
    }

    fn reload(&mut self) -> Vec<Action> {
        for group in GROUPS {
            *self.lives.entry(group.into()).or_default() += 1;
        }
        self.world.reload()
    }

    /// The high watermark passes the first appends; their outcomes are told in some order.
    fn commit_appends(&mut self, count: usize, reversed: bool) -> Vec<Action> {
        let mut tokens: Vec<_> = self.world.pending.keys().take(count).copied().collect();
        if reversed {
            tokens.reverse();
        }
        tokens.into_iter().flat_map(|token| self.world.end_append(token, Ok(()))).collect()
    }

    fn generation(&self, group: &Arc<str>, generation: i32) -> Generation {
        (group.clone(), self.lives.get(group).copied().unwrap_or_default(), generation)
    }

    /// Each slot is answered once, in its kind, with what the log can back.
    fn check_replies(&mut self, actions: Vec<Action>) {
        for action in actions {
            let Action::Reply { slot, response } = action else { continue };
            let asked = self.open.remove(&slot).expect("a slot is answered exactly once");
            match (asked, response) {
                (Asked::Join { group, instance_id }, Response::Join(join)) => {
                    self.joined(group, instance_id, join)
                }
                (Asked::Sync { group, member_id, generation }, Response::Sync(sync)) => {
                    if sync.error.is_none() {
                        self.check_assignment(&group, &member_id, generation, &sync.assignment);
                    }
                }
                (Asked::Commit { group, offset }, Response::CommitOffsets(response)) => {
                    let acknowledged = response.topics[0].1[0].error.is_none();
                    assert!(
                        !acknowledged || self.is_in_log(&group, offset),
                        "{offset} acknowledged before its commit"
                    );
                }
                (Asked::Other, Response::Join(_) | Response::Sync(_) | Response::CommitOffsets(_)) => {
                    panic!("slot {slot:?} is answered as another kind")
                }
                (Asked::Other, _) => {}
                (asked, response) => panic!("{asked:?} is answered {response:?}"),
            }
        }
    }

    fn joined(&mut self, group: Arc<str>, instance_id: Option<Arc<str>>, join: JoinResponse) {
        let member_id = join.member_id.clone();
        self.clients.retain(|client| client.member_id != member_id);
        if join.error.is_some_and(|error| error != ErrorCode::MemberIdRequired) {
            return;
        }
        let leads = join.error.is_none() && !join.members.is_empty() && !join.skip_assignment;
        if join.error.is_none() {
            let generation = self.generation(&group, join.generation);
            // A static leader that came back leads under another id, which starts with its instance.
            let name: Arc<str> = match join.leader.split_once('-') {
                Some((instance @ ("i" | "j"), _)) => instance.into(),
                _ => join.leader.clone(),
            };
            let leader = self.leaders.entry(generation.clone()).or_insert_with(|| name.clone());
            assert_eq!(*leader, name, "two leaders in {generation:?}");
            let protocol =
                self.protocols.entry(generation.clone()).or_insert_with(|| join.protocol_name.clone());
            assert_eq!(*protocol, join.protocol_name, "two protocols in {generation:?}");
            assert!(!leads || join.leader == join.member_id, "only the leader hears of all members");
        }
        let others = join.members.into_iter().map(|member| member.member_id).collect();
        let (member_id, generation) = (join.member_id, join.generation);
        self.clients.push(Client { group, member_id, instance_id, generation, leads, others });
    }

    fn committed(&self) -> impl DoubleEndedIterator<Item = &Record> {
        self.world.log.values().flatten()
    }

    /// What a member is assigned is what the log has for its generation: so all of it is one leader's.
    fn check_assignment(&self, group: &Arc<str>, member_id: &Arc<str>, generation: i32, assignment: &Bytes) {
        let latest = self.committed().rev().find_map(|record| match record {
            Record::Group { group: of, value } if of == group => Some(value.as_ref()),
            _ => None,
        });
        let value = latest.flatten().expect("an assignment is told only when it is in the log");
        assert_eq!(value.generation, generation);
        let member = value.members.iter().find(|member| member.member_id == *member_id).expect("a member");
        assert_eq!(member.assignment, *assignment);
    }

    fn is_in_log(&self, group: &Arc<str>, wanted: Offset) -> bool {
        self.committed().any(|record| {
            matches!(record, Record::Offset { group: of, value: Some(value), .. }
                     if of == group && value.offset == wanted)
        })
    }

    /// What can be read is what the log has for the topic of that name now, no more and no less.
    fn check_offsets(&self) {
        let expected = self.offsets_in_log();
        let current = expected.into_iter().filter(|(_, (_, topic_id))| *topic_id == self.topic_id());
        let expected: BTreeMap<_, _> = current.map(|(key, (offset, _))| (key, offset)).collect();
        let mut actual = BTreeMap::new();
        let groups = GROUPS.map(Arc::from);
        for group in &groups {
            for topic in
                self.world.coordinator.fetch_all_offsets(group, None, usize::MAX, &self.world.topics).topics
            {
                actual.extend(topic.partitions.into_iter().map(|at| ((group, at.partition), at.offset)));
            }
        }
        assert_eq!(actual, expected);
    }

    fn offsets_in_log(&self) -> BTreeMap<(&Arc<str>, PartitionIndex), (Offset, TopicId)> {
        let mut expected: BTreeMap<(&Arc<str>, PartitionIndex), (Offset, TopicId)> = BTreeMap::new();
        for record in self.committed() {
            match record {
                Record::Offset { group, partition, value: Some(value), .. } => {
                    expected.insert((group, *partition), (value.offset, value.topic_id));
                }
                Record::Offset { group, partition, value: None, .. } => {
                    expected.remove(&(group, *partition));
                }
                Record::Group { group, value: None } => {
                    let left = expected.keys().any(|(of, _)| *of == group);
                    assert!(!left, "{group} is gone from the log, but not all of its offsets");
                }
                Record::Group { value: Some(_), .. } => {}
            }
        }
        expected
    }

    /// A coordinator that is loaded now has the stable groups as this one has them.
    fn check_groups(&mut self) {
        for group in GROUPS.map(Arc::from) {
            let described = self.world.coordinator.describe_group(&group);
            if described.as_ref().is_none_or(|described| described.members.is_empty()) {
                *self.lives.entry(group.clone()).or_default() += 1;
            }
            let stable = described.as_ref().is_some_and(|described| described.state == "Stable");
            if stable && self.world.pending.is_empty() {
                assert_eq!(self.world.loaded().describe_group(&group), described);
            }
        }
        if self.world.pending.is_empty() {
            let topics = &self.world.topics;
            let loaded = self.world.loaded();
            assert_eq!(loaded.offsets_snapshot(topics), self.world.coordinator.offsets_snapshot(topics));
        }
    }

    /// With a log that commits everything, everyone is answered in time, and nothing of an earlier topic is left.
    fn settle(&mut self) {
        for _ in 0..60 {
            self.run(Op::CommitAppends { count: usize::MAX, reversed: false });
            self.run(Op::Advance { ms: 6_000 });
        }
        assert!(self.open.is_empty(), "never answered: {:?}", self.open);
        let stale = |(_, id): &(Offset, TopicId)| *id != self.topic_id();
        let left: Vec<_> = self.offsets_in_log().into_values().filter(stale).collect();
        assert!(left.is_empty(), "offsets of topics that are gone: {left:?}");
    }
}

impl Coordinator {
    fn offsets_snapshot(&self, topics: &TopicIds) -> Vec<(Arc<str>, Vec<FetchedTopic>)> {
        let groups: BTreeSet<Arc<str>> = GROUPS.map(Arc::from).into();
        groups
            .into_iter()
            .map(|group| (group.clone(), self.fetch_all_offsets(&group, None, usize::MAX, topics).topics))
            .collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn random_runs_keep_the_promises(ops in proptest::collection::vec(any_op(), 1..120)) {
        let mut model = Model::new();
        for op in ops {
            model.run(op);
        }
        model.settle();
    }

    #[test]
    fn an_unloaded_coordinator_answers_everyone(ops in proptest::collection::vec(any_op(), 1..60)) {
        let mut model = Model::new();
        for op in ops {
            model.run(op);
        }
        model.run(Op::Reload);
        prop_assert!(model.open.is_empty(), "never answered: {:?}", model.open);
    }
}
