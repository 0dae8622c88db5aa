//! OffsetFetch (key 9): of one group up to version 7, of several from version 8 on. A coordinator reads a bounded number of
//! offsets at a time: of a larger request, later parts may see commits that came after it.

use std::{collections::VecDeque, sync::Arc};

use kafka_protocol::messages::{
    offset_fetch_request::{OffsetFetchRequestTopic, OffsetFetchRequestTopics},
    offset_fetch_response::{
        OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
        OffsetFetchResponseTopic, OffsetFetchResponseTopics,
    },
    OffsetFetchRequest, OffsetFetchResponse, TopicName,
};
use norn_core::group::{Coordinator, FetchedOffset, FetchedPart, FetchedTopic};
use norn_env::clock::{self, Instant};
use norn_protocol::{
    types::{LeaderEpoch, Offset, PartitionIndex},
    ErrorCode,
};
use tokio::sync::oneshot;

use super::{
    group::{text, wire, ANSWER_MAX, PARTITIONS_AT_ONCE},
    Answer, Call, Context, Pace, Session,
};
use crate::{
    controller::Controller,
    coordinator::{answer_by, CoordinatorHandle},
    server::{self, Reply},
};

type Partitions = Vec<(Arc<str>, Vec<PartitionIndex>)>;

pub(super) async fn handle(call: Call, _session: &mut Session) -> Reply {
    let request: OffsetFetchRequest = match call.decode() {
        Ok(request) => request,
        Err(close) => return close,
    };
    let answer = call.answer();
    if call.version < 8 {
        let asked = match &request.topics {
            Some(topics) => Asked::Of(parts(topics.iter().map(of_topic).collect()).await),
            None => Asked::All { after: None, ended: false },
        };
        let (group_id, deadline) = (text(&request.group_id.0), call.received + ANSWER_MAX);
        let question = Question::ask(&call.ctx, group_id, deadline, asked).await;
        return Reply::Waiting(Box::pin(async move {
            match question.answer().await {
                Ok(topics) => respond(answer, topics, 0).await,
                Err(error) => respond(answer, unanswered(&request).await, error.code()).await,
            }
        }));
    }
    let mut asked_of_each = Vec::with_capacity(request.groups.len());
    let mut pace = Pace::default();
    for group in &request.groups {
        pace.next().await;
        let asked = match &group.topics {
            Some(topics) => Asked::Of(parts(topics.iter().map(of_topics).collect()).await),
            None => Asked::All { after: None, ended: false },
        };
        asked_of_each.push((group.group_id.clone(), asked));
    }
    let ctx = call.ctx.clone();
    Reply::Waiting(Box::pin(async move {
        let mut groups = Vec::with_capacity(asked_of_each.len());
        for (group_id, asked) in asked_of_each {
            pace.next().await;
            // Only now, or the answers to many groups would wait here for the peer to take earlier replies.
            let deadline = clock::now() + ANSWER_MAX;
            let question = Question::ask(&ctx, text(&group_id.0), deadline, asked).await;
            let response = OffsetFetchResponseGroup::default().with_group_id(group_id);
            groups.push(match question.answer().await {
                Ok(topics) => response.with_topics(group_topics(topics).await),
                Err(error) => response.with_error_code(error.code()),
            });
        }
        answer.respond(&OffsetFetchResponse::default().with_groups(groups))
    }))
}

fn of_topic(topic: &OffsetFetchRequestTopic) -> (&TopicName, &[i32]) {
    (&topic.name, &topic.partition_indexes)
}

fn of_topics(topic: &OffsetFetchRequestTopics) -> (&TopicName, &[i32]) {
    (&topic.name, &topic.partition_indexes)
}

/// What is asked for, in parts that a coordinator reads at once.
async fn parts(topics: Vec<(&TopicName, &[i32])>) -> VecDeque<Partitions> {
    let mut parts: VecDeque<Partitions> = VecDeque::from([vec![]]);
    let (mut room, mut pace) = (PARTITIONS_AT_ONCE, Pace::default());
    for (name, indexes) in topics {
        pace.next().await;
        let name = text(&name.0);
        let mut rest = indexes;
        loop {
            if room == 0 {
                room = PARTITIONS_AT_ONCE;
                parts.push_back(vec![]);
            }
            let (some, after) = rest.split_at(rest.len().min(room));
            if let Some(part) = parts.back_mut() {
                part.push((name.clone(), some.iter().copied().map(PartitionIndex).collect()));
            }
            // A topic without partitions is work, too.
            room -= some.len().clamp(1, room);
            rest = after;
            if rest.is_empty() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    parts
}

/// What is still to be asked.
enum Asked {
    All { after: Option<(Arc<str>, PartitionIndex)>, ended: bool },
    Of(VecDeque<Partitions>),
}

type Answered = Result<oneshot::Receiver<Result<FetchedPart, ErrorCode>>, ErrorCode>;

/// A question to a coordinator, whose first part is with it.
struct Question {
    coordinator: Result<CoordinatorHandle, ErrorCode>,
    controller: Controller,
    group_id: Arc<str>,
    deadline: Instant,
    asked: Asked,
    first: Answered,
}

impl Question {
    async fn ask(ctx: &Context, group_id: Arc<str>, deadline: Instant, asked: Asked) -> Question {
        let mut question = Question {
            coordinator: ctx.coordinators.of(&group_id),
            controller: ctx.controller.clone(),
            group_id,
            deadline,
            asked,
            first: Err(ErrorCode::UnknownServerError),
        };
        if let Some(first) = question.ask_next().await {
            question.first = first;
        }
        question
    }

    /// Hands the next part over; `None` if there is none.
    async fn ask_next(&mut self) -> Option<Answered> {
        enum Part {
            Of(Partitions),
            After(Option<(Arc<str>, PartitionIndex)>),
        }
        let part = match &mut self.asked {
            Asked::Of(parts) => Part::Of(parts.pop_front()?),
            Asked::All { ended: true, .. } => return None,
            Asked::All { after, .. } => Part::After(after.clone()),
        };
        let coordinator = match &self.coordinator {
            Ok(coordinator) => coordinator,
            Err(error) => return Some(Err(*error)),
        };
        let (controller, group_id) = (self.controller.clone(), self.group_id.clone());
        let read = move |state: &Coordinator| {
            let image = controller.image();
            match part {
                Part::Of(partitions) => {
                    FetchedPart { topics: state.fetch_offsets(&group_id, &partitions, &*image), last: None }
                }
                Part::After(after) => {
                    state.fetch_all_offsets(&group_id, after.as_ref(), PARTITIONS_AT_ONCE, &*image)
                }
            }
        };
        Some(coordinator.look(self.deadline, read).await)
    }

    async fn answer(mut self) -> Result<Vec<FetchedTopic>, ErrorCode> {
        let mut answered = std::mem::replace(&mut self.first, Err(ErrorCode::UnknownServerError));
        let mut topics: Vec<FetchedTopic> = vec![];
        loop {
            let part = answer_by(answered?, self.deadline).await??;
            if let Asked::All { after, ended } = &mut self.asked {
                *ended = part.last.is_none();
                *after = part.last;
            }
            for topic in part.topics {
                match topics.last_mut() {
                    // A topic that was split between parts is answered as one.
                    Some(last) if last.topic == topic.topic => last.partitions.extend(topic.partitions),
                    _ => topics.push(topic),
                }
            }
            match self.ask_next().await {
                Some(next) => answered = next,
                None => return Ok(topics),
            }
        }
    }
}

/// What was asked for, without offsets: for answers that carry an error.
async fn unanswered(request: &OffsetFetchRequest) -> Vec<FetchedTopic> {
    let none = |index: &i32| FetchedOffset {
        partition: PartitionIndex(*index),
        offset: Offset::NONE,
        leader_epoch: LeaderEpoch::NONE,
        metadata: Arc::from(""),
    };
    let (mut topics, mut pace) = (vec![], Pace::default());
    for topic in request.topics.iter().flatten() {
        let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
        for index in &topic.partition_indexes {
            pace.next().await;
            partitions.push(none(index));
        }
        topics.push(FetchedTopic { topic: text(&topic.name.0), partitions });
    }
    topics
}

async fn respond(answer: Answer, fetched: Vec<FetchedTopic>, error: i16) -> server::Response {
    // Before version 2 there is only a code for each partition.
    let each = if answer.version < 2 { error } else { 0 };
    let (mut topics, mut pace) = (Vec::with_capacity(fetched.len()), Pace::default());
    for topic in fetched {
        pace.next().await;
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for p in &topic.partitions {
            pace.next().await;
            let response = OffsetFetchResponsePartition::default()
                .with_partition_index(p.partition.0)
                .with_committed_offset(p.offset.0)
                .with_committed_leader_epoch(p.leader_epoch.0)
                .with_metadata(Some(wire(&p.metadata)))
                .with_error_code(each);
            partitions.push(response);
        }
        let name = TopicName(wire(&topic.topic));
        topics.push(OffsetFetchResponseTopic::default().with_name(name).with_partitions(partitions));
    }
    answer.respond(&OffsetFetchResponse::default().with_topics(topics).with_error_code(error))
}

async fn group_topics(fetched: Vec<FetchedTopic>) -> Vec<OffsetFetchResponseTopics> {
    let (mut topics, mut pace) = (Vec::with_capacity(fetched.len()), Pace::default());
    for topic in fetched {
        pace.next().await;
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for p in &topic.partitions {
            pace.next().await;
            let response = OffsetFetchResponsePartitions::default()
                .with_partition_index(p.partition.0)
                .with_committed_offset(p.offset.0)
                .with_committed_leader_epoch(p.leader_epoch.0)
                .with_metadata(Some(wire(&p.metadata)));
            partitions.push(response);
        }
        let name = TopicName(wire(&topic.topic));
        topics.push(OffsetFetchResponseTopics::default().with_name(name).with_partitions(partitions));
    }
    topics
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use kafka_protocol::messages::ApiKey;

    use super::*;

    #[test]
    fn very_many_partitions_are_not_asked_for_or_answered_in_one_go() {
        norn_env::testing::run(|| async {
            let name = TopicName::default();
            let indexes = [0];
            let asked = vec![(&name, &indexes[..]); 1000];
            assert!(parts(asked).now_or_never().is_none());
            let offset = FetchedOffset {
                partition: PartitionIndex(0),
                offset: Offset::NONE,
                leader_epoch: LeaderEpoch::NONE,
                metadata: Arc::from(""),
            };
            let fetched = vec![FetchedTopic { topic: Arc::from("t"), partitions: vec![offset; 1000] }];
            let answer = Answer { key: ApiKey::OffsetFetch, version: 7, correlation: 1 };
            assert!(respond(answer, fetched.clone(), 0).now_or_never().is_none());
            assert!(group_topics(fetched).now_or_never().is_none());
        });
    }
}
