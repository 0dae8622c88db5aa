//! `norn group`: what the commands about consumer groups ask, and how they show it; above all the lag
//! of each partition, as `kafka-consumer-groups` does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use bytes::{Buf, Bytes};
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::{
    DescribeGroupsRequest, GroupId, ListGroupsRequest, ListOffsetsRequest, MetadataRequest,
    OffsetFetchRequest, TopicName,
};
use norn_protocol::{ErrorCode, StrBytes};

use crate::client::{until_ready, Client, ClientError};
use crate::columns::Columns;

/// ListOffsets' timestamp for "the end of what consumers may read".
const LATEST: i64 = -1;

type Partition = (String, i32);

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

/// Lists the groups of all brokers with their states.
pub async fn list(client: &mut Client) -> Result<String, ClientError> {
    let no_topics = MetadataRequest::default().with_topics(Some(Vec::new()));
    client.metadata(&no_topics).await?;
    let mut groups = BTreeMap::new();
    for id in client.brokers() {
        let response = until_ready(async || {
            let response = client.broker(id).await?.call(&ListGroupsRequest::default()).await?;
            ClientError::check(|| format!("listing the groups of broker {id}"), response.error_code, None)?;
            Ok(response)
        });
        for group in response.await?.groups {
            groups.insert(group.group_id.0.to_string(), (group.group_state, group.protocol_type));
        }
    }
    let mut columns = Columns::new(&["GROUP", "STATE", "PROTOCOL"]);
    for (name, (state, protocol)) in groups {
        columns.row([name, state.to_string(), protocol.to_string()]);
    }
    Ok(columns.to_string())
}

/// Describes each named group: state, members, and for each partition the committed offset and the lag.
pub async fn describe(client: &mut Client, names: &[String]) -> Result<String, ClientError> {
    let mut out = String::new();
    for (index, name) in names.iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        describe_one(client, name, &mut out).await?;
    }
    Ok(out)
}

async fn describe_one(client: &mut Client, name: &str, out: &mut String) -> Result<(), ClientError> {
    let coordinator = until_ready(async || client.coordinator(name).await).await?;
    let group = until_ready(async || describe_group(client, coordinator, name).await).await?;
    let committed = until_ready(async || committed(client, coordinator, name).await).await?;
    if &*group.group_state == "Dead" && committed.is_empty() {
        let code = ErrorCode::GroupIdNotFound;
        return Err(ClientError::Refused { what: format!("group {name}"), code, message: None });
    }
    let owners = owners(&group);
    let partitions: BTreeSet<Partition> = committed.keys().chain(owners.keys()).cloned().collect();
    let ends = ends(client, &partitions).await?;
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "group {name}: {}, {} member{}, coordinator {coordinator}, assignor {}",
        group.group_state,
        group.members.len(),
        if group.members.len() == 1 { "" } else { "s" },
        if group.protocol_data.is_empty() { "-" } else { &group.protocol_data },
    );
    let rows = partitions.iter().map(|partition| Row {
        partition,
        committed: committed.get(partition).copied(),
        end: ends.get(partition).copied(),
        owner: owners.get(partition).copied(),
    });
    out.push_str(&table(rows, &idle_members(&group, &owners)));
    Ok(())
}

async fn describe_group(
    client: &mut Client,
    coordinator: i32,
    name: &str,
) -> Result<DescribedGroup, ClientError> {
    let request = DescribeGroupsRequest::default().with_groups(vec![GroupId(text(name))]);
    let response = client.broker(coordinator).await?.call(&request).await?;
    let group = response.groups.into_iter().next().unwrap_or_default();
    if group.error_code == ErrorCode::GroupIdNotFound.code() {
        // From version 6 on; before, a group that does not exist is described as dead.
        return Ok(group.with_group_state(StrBytes::from_static_str("Dead")));
    }
    ClientError::check(|| format!("group {name}"), group.error_code, group.error_message.as_deref())?;
    Ok(group)
}

/// All offsets that the group has committed.
async fn committed(
    client: &mut Client,
    coordinator: i32,
    name: &str,
) -> Result<BTreeMap<Partition, i64>, ClientError> {
    let connection = client.broker(coordinator).await?;
    let request = if connection.version_of::<OffsetFetchRequest>()? >= 8 {
        let group = OffsetFetchRequestGroup::default().with_group_id(GroupId(text(name))).with_topics(None);
        OffsetFetchRequest::default().with_groups(vec![group])
    } else {
        OffsetFetchRequest::default().with_group_id(GroupId(text(name))).with_topics(None)
    };
    let response = connection.call(&request).await?;
    let what = || format!("the offsets of group {name}");
    ClientError::check(what, response.error_code, None)?;
    let mut offsets = BTreeMap::new();
    for topic in response.topics {
        for partition in topic.partitions {
            ClientError::check(what, partition.error_code, None)?;
            offsets.insert((topic.name.0.to_string(), partition.partition_index), partition.committed_offset);
        }
    }
    for group in response.groups {
        ClientError::check(what, group.error_code, None)?;
        for topic in group.topics {
            for partition in topic.partitions {
                ClientError::check(what, partition.error_code, None)?;
                let key = (topic.name.0.to_string(), partition.partition_index);
                offsets.insert(key, partition.committed_offset);
            }
        }
    }
    offsets.retain(|_, offset| *offset >= 0);
    Ok(offsets)
}

/// The log end offsets of partitions, asked of their leaders. One without a leader or that was deleted
/// is left out.
async fn ends(
    client: &mut Client,
    partitions: &BTreeSet<Partition>,
) -> Result<BTreeMap<Partition, i64>, ClientError> {
    let mut ends = BTreeMap::new();
    for (leader, partitions) in by_leader(client, partitions).await? {
        let mut topics: BTreeMap<&str, Vec<ListOffsetsPartition>> = BTreeMap::new();
        for (topic, index) in &partitions {
            let asked = ListOffsetsPartition::default()
                .with_partition_index(*index)
                .with_current_leader_epoch(-1)
                .with_timestamp(LATEST);
            topics.entry(topic).or_default().push(asked);
        }
        let topic = |(name, partitions): (&str, Vec<ListOffsetsPartition>)| {
            ListOffsetsTopic::default().with_name(TopicName(text(name))).with_partitions(partitions)
        };
        let request = ListOffsetsRequest::default()
            .with_replica_id((-1).into())
            .with_topics(topics.into_iter().map(topic).collect());
        let response = client.broker(leader).await?.call(&request).await?;
        for topic in response.topics {
            for partition in topic.partitions.iter().filter(|partition| partition.error_code == 0) {
                ends.insert((topic.name.0.to_string(), partition.partition_index), partition.offset);
            }
        }
    }
    Ok(ends)
}

async fn by_leader(
    client: &mut Client,
    partitions: &BTreeSet<Partition>,
) -> Result<BTreeMap<i32, Vec<Partition>>, ClientError> {
    let names: BTreeSet<&str> = partitions.iter().map(|(topic, _)| topic.as_str()).collect();
    let asked = |name: &&str| MetadataRequestTopic::default().with_name(Some(TopicName(text(name))));
    let request = MetadataRequest::default()
        .with_topics(Some(names.iter().map(asked).collect()))
        .with_allow_auto_topic_creation(false);
    let response = client.metadata(&request).await?;
    let mut leaders: BTreeMap<i32, Vec<Partition>> = BTreeMap::new();
    for topic in response.topics {
        let name = topic.name.map(|name| name.0.to_string()).unwrap_or_default();
        for partition in topic.partitions.iter().filter(|partition| partition.leader_id.0 >= 0) {
            let key = (name.clone(), partition.partition_index);
            if partitions.contains(&key) {
                leaders.entry(partition.leader_id.0).or_default().push(key);
            }
        }
    }
    Ok(leaders)
}

/// Which member each partition is assigned to.
fn owners(group: &DescribedGroup) -> BTreeMap<Partition, &DescribedGroupMember> {
    let mut owners = BTreeMap::new();
    for member in &group.members {
        for partition in assigned(&member.member_assignment) {
            owners.insert(partition, member);
        }
    }
    owners
}

/// The partitions of an assignment in the consumers' own format (`ConsumerProtocolAssignment`); none if
/// it is in another. Members write it, so nothing is believed of its lengths.
fn assigned(assignment: &Bytes) -> Vec<Partition> {
    let mut bytes = &assignment[..];
    read_assignment(&mut bytes).unwrap_or_default()
}

fn read_assignment(bytes: &mut &[u8]) -> Option<Vec<Partition>> {
    let _version = bytes.try_get_i16().ok()?;
    let topics = bytes.try_get_i32().ok()?;
    let mut partitions = Vec::new();
    for _ in 0..topics {
        let len = usize::try_from(bytes.try_get_i16().ok()?).ok()?;
        let name = bytes.split_off(..len)?;
        let name = std::str::from_utf8(name).ok()?;
        let count = bytes.try_get_i32().ok()?;
        for _ in 0..count {
            partitions.push((name.to_owned(), bytes.try_get_i32().ok()?));
        }
    }
    Some(partitions)
}

fn idle_members<'a>(
    group: &'a DescribedGroup,
    owners: &BTreeMap<Partition, &DescribedGroupMember>,
) -> Vec<&'a DescribedGroupMember> {
    let busy: BTreeSet<&str> = owners.values().map(|member| &*member.member_id).collect();
    group.members.iter().filter(|member| !busy.contains(&*member.member_id)).collect()
}

struct Row<'a> {
    partition: &'a Partition,
    committed: Option<i64>,
    end: Option<i64>,
    owner: Option<&'a DescribedGroupMember>,
}

fn table<'a>(rows: impl Iterator<Item = Row<'a>>, idle: &[&DescribedGroupMember]) -> String {
    let mut columns =
        Columns::new(&["TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "MEMBER", "HOST", "CLIENT"]);
    let number = |number: Option<i64>| number.map(|number| number.to_string()).unwrap_or_default();
    let member = |member: Option<&DescribedGroupMember>| {
        let fields = member.map(|member| (&member.member_id, &member.client_host, &member.client_id));
        fields.map_or(Default::default(), |(id, host, client)| {
            [id.to_string(), host.to_string(), client.to_string()]
        })
    };
    for row in rows {
        let (topic, index) = row.partition;
        let lag = row.end.zip(row.committed).map(|(end, committed)| end.saturating_sub(committed).max(0));
        let [id, host, client] = member(row.owner);
        let (committed, end, lag) = (number(row.committed), number(row.end), number(lag));
        columns.row([topic.clone(), index.to_string(), committed, end, lag, id, host, client]);
    }
    for one in idle {
        let [id, host, client] = member(Some(one));
        let none = String::new;
        columns.row([none(), none(), none(), none(), none(), id, host, client]);
    }
    columns.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_end_minus_committed_and_members_without_partitions_are_shown() {
        let member = DescribedGroupMember::default()
            .with_member_id(text("m-1"))
            .with_client_host(text("/127.0.0.1"))
            .with_client_id(text("app"));
        let (first, second, gone) = (("t".into(), 0), ("t".into(), 1), ("old".into(), 0));
        let rows = [
            Row { partition: &gone, committed: Some(3), end: None, owner: None },
            Row { partition: &first, committed: Some(7), end: Some(10), owner: Some(&member) },
            Row { partition: &second, committed: None, end: Some(4), owner: Some(&member) },
        ];
        let idle = member.clone().with_member_id(text("m-2"));
        assert_eq!(
            table(rows.into_iter(), &[&idle]),
            "TOPIC  PARTITION  COMMITTED  END  LAG  MEMBER  HOST        CLIENT\n\
             old    0          3          -    -    -       -           -\n\
             t      0          7          10   3    m-1     /127.0.0.1  app\n\
             t      1          -          4    -    m-1     /127.0.0.1  app\n\
             -      -          -          -    -    m-2     /127.0.0.1  app\n"
        );
    }

    #[test]
    fn an_assignment_that_is_not_the_consumers_names_no_partition() {
        for bytes in [&b""[..], b"\0", b"\0\0\xff\xff\xff\xff", b"\0\0\0\0\0\x09", b"streams: whatever"] {
            assert_eq!(assigned(&Bytes::copy_from_slice(bytes)), []);
        }
        let one = b"\0\0\0\0\0\x01\0\x01t\0\0\0\x02\0\0\0\0\0\0\0\x05\xff\xff\xff\xff";
        assert_eq!(assigned(&Bytes::from_static(one)), [("t".to_owned(), 0), ("t".to_owned(), 5)]);
    }
}
