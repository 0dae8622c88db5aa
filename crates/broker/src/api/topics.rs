//! Creating topics, for the three requests that may: CreateTopics, Metadata, and FindCoordinator.

use norn_core::metadata::{
    controller::{self, AdminError, CreateTopic, Defaults, Placement},
    Command, ConfigLayers, Image,
};
use norn_env::{
    clock::{self, Instant},
    rand, select, task,
};
use norn_protocol::{
    types::{PartitionIndex, TopicId},
    ErrorCode,
};
use tracing::info;
use uuid::Uuid;

use super::{
    room::{Room, Turn},
    Context, Pace,
};
use crate::{controller::ChangeError, coordinator::OFFSETS_TOPIC};

/// What `segment.bytes` and `internal.segment.bytes` allow at the least. `offsets.topic.segment.bytes` allows less, as it
/// does in Kafka.
const SEGMENT_BYTES_MIN: i32 = 1 << 20;
const SEGMENT_BYTES_LEAST: i32 = 256;

/// Why a topic was not created: what clients are told.
pub(super) struct Failure {
    pub code: ErrorCode,
    pub message: String,
}

impl From<AdminError> for Failure {
    fn from(error: AdminError) -> Self {
        Failure { code: error.code(), message: error.to_string() }
    }
}

impl From<ChangeError> for Failure {
    fn from(error: ChangeError) -> Self {
        Failure { code: error.code(), message: error.to_string() }
    }
}

/// Creates topics with the broker's defaults. Gives back those that could not be; one that another client created in the
/// meantime is none of them.
pub(super) async fn auto_create(
    ctx: &Context,
    names: Vec<String>,
    deadline: Instant,
) -> Vec<(String, ErrorCode)> {
    let mut failed = vec![];
    let mut placement = Placement::of(&ctx.controller.image());
    let mut pace = Pace::default();
    for name in names {
        pace.next().await;
        let configs = vec![];
        let created = if name == OFFSETS_TOPIC {
            create_offsets_topic(ctx, deadline).await
        } else {
            let asked = CreateTopic {
                name: &name,
                partitions: -1,
                replication_factor: -1,
                assignments: &[],
                configs: &configs,
            };
            create(ctx, &mut placement, &asked, deadline).await.map(|_| ()).map_err(|failure| failure.code)
        };
        match created {
            Ok(()) => {}
            Err(ErrorCode::TopicAlreadyExists) => {
                wait_until_open(ctx, &name, deadline).await;
            }
            // Clients retry this one.
            Err(ErrorCode::RequestTimedOut | ErrorCode::NotController) => {
                failed.push((name, ErrorCode::LeaderNotAvailable))
            }
            Err(error) => failed.push((name, error)),
        }
    }
    failed
}

/// Creates the topic that holds groups and their offsets; that it exists already is fine.
pub(super) async fn create_offsets_topic(ctx: &Context, deadline: Instant) -> Result<(), ErrorCode> {
    let offsets = &ctx.config.offsets;
    let segment_bytes = match offsets.topic_segment_bytes {
        ..SEGMENT_BYTES_MIN => "internal.segment.bytes",
        _ => "segment.bytes",
    };
    let configs = vec![
        ("cleanup.policy".to_owned(), Some("compact".to_owned())),
        ("compression.type".to_owned(), Some("producer".to_owned())),
        (segment_bytes.to_owned(), Some(offsets.topic_segment_bytes.max(SEGMENT_BYTES_LEAST).to_string())),
    ];
    let asked = CreateTopic {
        name: OFFSETS_TOPIC,
        partitions: offsets.topic_num_partitions,
        replication_factor: offsets.topic_replication_factor,
        assignments: &[],
        configs: &configs,
    };
    match create(ctx, &mut Placement::of(&ctx.controller.image()), &asked, deadline).await {
        Ok(_) => Ok(()),
        Err(failure) if failure.code == ErrorCode::TopicAlreadyExists => Ok(()),
        Err(failure) => {
            info!("{OFFSETS_TOPIC} is not created: {}", failure.message);
            Err(ErrorCode::CoordinatorNotAvailable)
        }
    }
}

/// Decides, proposes and waits until the topic's partitions are open here, so that what the client sends next finds them.
pub(super) async fn create(
    ctx: &Context,
    placement: &mut Placement,
    asked: &CreateTopic<'_>,
    deadline: Instant,
) -> Result<TopicId, Failure> {
    let turn = Turn::of(ctx, deadline).await?;
    let image = ctx.controller.image();
    let (id, command) = decide(ctx, &image, placement, asked)?;
    Room::of(ctx, &image).take(&command)?;
    turn.change(command, deadline).await?;
    drop(turn);
    wait_until_open(ctx, asked.name, deadline).await;
    Ok(id)
}

/// The command that creates a topic, under a new id.
pub(super) fn decide(
    ctx: &Context,
    image: &Image,
    placement: &mut Placement,
    asked: &CreateTopic<'_>,
) -> Result<(TopicId, Command), AdminError> {
    let layers: ConfigLayers<'_> = ctx.layers.of_broker(image);
    let topics = &ctx.config.topics;
    let defaults = Defaults {
        partitions: topics.num_partitions,
        replication_factor: topics.default_replication_factor,
        layers,
    };
    let id = TopicId(Uuid::from_bytes(rand::uuid_bytes()));
    let command = controller::create_topic(image, placement, &defaults, asked, id)?;
    Ok((id, command))
}

/// Refuses a client's command that loses what an internal topic holds, unless the broker's settings allow it.
pub(super) fn protect_internal(ctx: &Context, image: &Image, command: &Command) -> Result<(), AdminError> {
    if ctx.config.topics.change_internal {
        return Ok(());
    }
    controller::protect_internal_topics(image, command, &ctx.layers.of_broker(image))
}

/// Waits until each partition of the topic is open here, or the deadline: then clients find it a little later.
pub(super) async fn wait_until_open(ctx: &Context, name: &str, deadline: Instant) {
    let mut partitions = ctx.partitions.clone();
    let opened = partitions.wait_for(|table| {
        let image = ctx.controller.image();
        image.topic_by_name(name).is_none_or(|topic| {
            let mut here = topic.partitions().filter(|(_, p)| p.replicas.contains(&ctx.node));
            here.all(|(index, _)| table.is_settled(topic.id, index.0))
        })
    });
    // What is not open by the deadline is found by the client's retry.
    let _ =
        task::wait(|| format!("the partitions of {name} to open"), clock::timeout_at(deadline, opened)).await;
}

/// Waits until a partition that this broker leads, as the image has it, is open, or was tried to be, or the deadline;
/// whether there was something to wait for.
pub(super) async fn wait_until_led(
    ctx: &Context,
    name: Option<&str>,
    id: TopicId,
    index: i32,
    deadline: Instant,
) -> bool {
    let image = ctx.controller.image();
    let topic = match name {
        Some(name) => image.topic_by_name(name),
        None => image.topic(id),
    };
    let assigned = topic.and_then(|topic| topic.partition(PartitionIndex(index)));
    let (Some(topic), Some(assigned)) = (topic, assigned) else { return false };
    if assigned.leader != Some(ctx.node) {
        return false;
    }
    let (mut partitions, mut stopping) = (ctx.partitions.clone(), ctx.stopping.clone());
    let mut images = ctx.controller.images();
    let opened = async {
        select! {
            _ = stopping.signaled() => {}
            // An error of these says that there will be no other table, or image.
            _ = partitions.wait_for(|table| table.is_settled(topic.id, index)) => {}
            _ = images.wait_for(|image| image.topic(topic.id).is_none()) => {}
        }
    };
    let what = || format!("partition {}-{index} to open", topic.name);
    let _ = task::wait(what, clock::timeout_at(deadline, opened)).await;
    true
}
