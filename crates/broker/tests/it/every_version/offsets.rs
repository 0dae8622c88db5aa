//! Offsets that are committed, fetched and deleted.

use kafka_protocol::messages::{
    offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
    offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic},
    offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics},
    *,
};
use norn_protocol::client::topic_name;

use super::{served, Run, MISSING, TOPIC};
use crate::support::text;

const GROUP_ID_NOT_FOUND: i16 = 69;

pub async fn all(run: &mut Run) {
    commit(run).await;
    fetch(run).await;
    delete(run).await;
}

fn group() -> GroupId {
    GroupId(text("committed"))
}

async fn commit(run: &mut Run) {
    for version in served(ApiKey::OffsetCommit) {
        run.ask(version, "empty", OffsetCommitRequest::default()).await;
        let topics = [TOPIC, MISSING].map(|name| {
            let partition = |index| {
                let partition = OffsetCommitRequestPartition::default()
                    .with_partition_index(index)
                    .with_committed_offset(2)
                    .with_committed_metadata(Some(text("note")));
                if version >= 6 {
                    partition.with_committed_leader_epoch(0)
                } else {
                    partition
                }
            };
            OffsetCommitRequestTopic::default()
                .with_name(topic_name(name))
                .with_partitions(vec![partition(0), partition(99)])
        });
        let request = OffsetCommitRequest::default()
            .with_group_id(group())
            .with_generation_id_or_member_epoch(-1)
            .with_topics(topics.into());
        let response = run.ask(version, "commit", request).await.unwrap();
        let errors = |topic: usize| response.topics[topic].partitions.iter().map(|p| p.error_code);
        assert_eq!(errors(0).chain(errors(1)).collect::<Vec<_>>(), [0, 3, 3, 3], "version {version}");
    }
}

async fn fetch(run: &mut Run) {
    for version in served(ApiKey::OffsetFetch) {
        run.ask(version, "empty", OffsetFetchRequest::default()).await;
        if version < 8 {
            let topics = [TOPIC, MISSING].map(|name| {
                OffsetFetchRequestTopic::default()
                    .with_name(topic_name(name))
                    .with_partition_indexes(vec![0, 99])
            });
            let request = OffsetFetchRequest::default().with_group_id(group());
            let some = request.clone().with_topics(Some(topics.into()));
            let response = run.ask(version, "some", some).await.unwrap();
            assert_eq!(response.topics[0].partitions[0].committed_offset, 2, "version {version}");
            if version >= 2 {
                run.ask(version, "all", request.with_topics(None)).await;
            }
            continue;
        }
        let topics = [TOPIC, MISSING].map(|name| {
            OffsetFetchRequestTopics::default()
                .with_name(topic_name(name))
                .with_partition_indexes(vec![0, 99])
        });
        let some = OffsetFetchRequestGroup::default().with_group_id(group()).with_topics(Some(topics.into()));
        let all = OffsetFetchRequestGroup::default().with_group_id(group()).with_topics(None);
        let none = OffsetFetchRequestGroup::default().with_group_id(GroupId(text(MISSING))).with_topics(None);
        let request =
            OffsetFetchRequest::default().with_groups(vec![some, all, none]).with_require_stable(true);
        let response = run.ask(version, "some", request).await.unwrap();
        for at in [0, 1] {
            assert_eq!(response.groups[at].topics[0].partitions[0].committed_offset, 2, "version {version}");
        }
    }
}

async fn delete(run: &mut Run) {
    let topics = [TOPIC, MISSING].map(|name| {
        let partition = |index| OffsetDeleteRequestPartition::default().with_partition_index(index);
        OffsetDeleteRequestTopic::default().with_name(topic_name(name)).with_partitions(vec![
            partition(0),
            partition(1),
            partition(99),
        ])
    });
    let request = OffsetDeleteRequest::default().with_topics(topics.into());
    for version in served(ApiKey::OffsetDelete) {
        run.ask(version, "empty", OffsetDeleteRequest::default()).await;
        let unknown = request.clone().with_group_id(GroupId(text(MISSING)));
        let response = run.ask(version, "unknown group", unknown).await.unwrap();
        assert_eq!((response.error_code, response.topics.len()), (GROUP_ID_NOT_FOUND, 0));
        let response = run.ask(version, "some", request.clone().with_group_id(group())).await.unwrap();
        let errors = |topic: usize| response.topics[topic].partitions.iter().map(|p| p.error_code);
        assert_eq!(errors(0).chain(errors(1)).collect::<Vec<_>>(), [0, 0, 3, 3, 3, 3], "version {version}");
        let all = OffsetFetchRequestGroup::default().with_group_id(group()).with_topics(None);
        let fetch = OffsetFetchRequest::default().with_groups(vec![all]);
        let left = run.ask(*served(ApiKey::OffsetFetch).end(), "deleted", fetch).await.unwrap();
        assert!(left.groups[0].topics.is_empty(), "version {version}: {left:?}");
    }
}
