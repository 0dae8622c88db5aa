//! A member of a group: joins, reads what falls to it from where the group was, commits as it goes, beats its heart, joins
//! again when the group is rebalanced or forgot it. Once the faults have stopped it must be in the group, its commit must be
//! accepted, and the group's commits must reach the ends of all partitions, before it leaves.

use std::collections::BTreeMap;
use std::sync::Arc;

use norn_env::clock::{self, Duration};

use super::actor::Actor;
use super::commits::{fetch_committed, send_commit};
use super::errors::{FENCED_INSTANCE_ID, ILLEGAL_GENERATION, REBALANCE_IN_PROGRESS, UNKNOWN_MEMBER_ID};
use super::membership::{partitions_of, Membership, Refusal};
use super::plan::Role;
use super::reading::{latest, Reading};
use crate::check::{Event, Tp};
use crate::client::{Appetite, CallError, Connection};

/// What a member owns in one generation, and where the group was there.
struct Share {
    reading: Reading,
    committed: BTreeMap<Tp, i64>,
    /// Whether it has committed since the faults stopped.
    settled: bool,
    /// Whether there was nothing to read when it last looked.
    idle: bool,
}

/// How far the group must come once the faults have stopped.
type Goal = BTreeMap<Tp, i64>;

/// From one look at what the group has committed to the next.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The longest session of any member.
const SESSION_MAX: Duration = Duration::from_secs(12);

/// How a generation ended for a member.
enum Turn {
    /// Join again.
    Rejoin,
    /// Join again, but not at once: something else than the group is in the way.
    Later,
    /// The group does not know us any more.
    Forgotten,
    /// All that was to be done after the faults is done.
    Done,
}

/// Takes part until the faults have stopped, and then once more.
pub async fn run(actor: &mut Actor) {
    let Role::Member { group, topic, is_static, session_ms, .. } = actor.me.role.clone() else { return };
    let plan = actor.plan.topics[topic].clone();
    let topic: Arc<str> = plan.name.as_str().into();
    let instance = is_static.then(|| format!("instance-{}", actor.cluster.client()));
    let group: Arc<str> = format!("{group}-{topic}").into();
    let mut membership = Membership { group, instance, session_ms, member: String::new(), generation: -1 };
    let (mut settle, mut goal) = (None, None);
    loop {
        if !actor.works() && settle.is_none() {
            let what = format!("be a member of {}, which commits to the end", membership.group);
            settle = Some(actor.begin(what));
            goal = Some(aim(actor, &membership.group, &topic, plan.partitions).await);
        }
        if actor.cluster.topic(&topic).is_none() {
            // As subscribing does. Nobody else may ever ask for a topic that is to be made on demand.
            let _ = actor.cluster.refresh(&topic, true).await;
        }
        let connection = actor.cluster.coordinator(&membership.group).await;
        match membership.join(actor, &connection, &topic, plan.partitions).await {
            Ok(mine) => {
                let partitions = partitions_of(&topic, &mine);
                match generation(actor, &connection, &mut membership, &partitions, &goal).await {
                    Ok(Turn::Done) => return,
                    Ok(Turn::Rejoin) => {}
                    Ok(Turn::Forgotten) => membership.reset(),
                    Ok(Turn::Later) | Err(_) => actor.cluster.pause().await,
                }
            }
            Err(Refusal::Error(UNKNOWN_MEMBER_ID | FENCED_INSTANCE_ID)) => membership.reset(),
            Err(Refusal::Error(REBALANCE_IN_PROGRESS | ILLEGAL_GENERATION)) => {}
            Err(Refusal::Error(_)) => actor.cluster.pause().await,
            // The answer may have named us: who joins under no id once more is another member, which the group waits for
            // until its session ends.
            Err(Refusal::Call) => actor.cluster.pause().await,
        }
    }
}

/// Reads, commits and beats for as long as the generation lasts.
async fn generation(
    actor: &mut Actor,
    connection: &Connection,
    membership: &mut Membership,
    partitions: &[Tp],
    goal: &Option<Goal>,
) -> Result<Turn, CallError> {
    let Role::Member { leaves, session_ms, .. } = actor.me.role else { return Ok(Turn::Done) };
    let Some(mut share) = take_over(actor, connection, &membership.group, partitions).await? else {
        return Ok(Turn::Later);
    };
    actor.cluster.worked();
    let beat_every = Duration::from_millis(session_ms as u64 / 4);
    let mut next_beat = clock::now() + beat_every;
    loop {
        let last = !actor.works();
        if last && goal.is_none() {
            // To find out how far there is to go.
            return Ok(Turn::Rejoin);
        }
        if last || actor.cluster.dice().chance(0.3) {
            let anew = last && !share.settled;
            if let Some(turn) = commit(actor, connection, membership, &mut share, anew).await? {
                return Ok(turn);
            }
        }
        if last || clock::now() >= next_beat {
            next_beat = clock::now() + beat_every;
            match membership.heartbeat(actor, connection).await? {
                0 => {}
                REBALANCE_IN_PROGRESS => {
                    let turn = commit(actor, connection, membership, &mut share, false).await?;
                    return Ok(turn.unwrap_or(Turn::Rejoin));
                }
                error => return Ok(turn_after(error)),
            }
        }
        share.settled |= last;
        if let Some(goal) = goal.as_ref().filter(|_| last && share.idle) {
            if let Some(turn) = finish(actor, connection, membership, goal).await? {
                return Ok(turn);
            }
        }
        if leaves && actor.cluster.dice().chance(0.005) {
            membership.leave(actor, connection).await?;
            let pause = Duration::from_millis(actor.cluster.dice().range(0..5_000));
            actor.rest(pause).await;
            return Ok(Turn::Rejoin);
        }
        read(actor, connection, partitions, &mut share).await?;
        actor.think().await;
    }
}

/// Goes on where the group was in these partitions; none if the coordinator cannot say now.
async fn take_over(
    actor: &mut Actor,
    connection: &Connection,
    group: &Arc<str>,
    partitions: &[Tp],
) -> Result<Option<Share>, CallError> {
    let reading = Reading::new(actor.cluster.dice().chance(0.5));
    let mut share = Share { reading, committed: BTreeMap::new(), settled: false, idle: true };
    if !partitions.is_empty() {
        let Some(committed) = fetch_committed(actor, connection, group, partitions).await? else {
            return Ok(None);
        };
        for tp in partitions {
            let at = committed.get(tp).copied().unwrap_or(-1);
            share.reading.seek(actor, tp, at.max(0));
        }
        share.committed = committed;
    }
    Ok(Some(share))
}

/// Leaves once the group has come as far as it must: whoever is left shares what we had. Else pauses.
async fn finish(
    actor: &mut Actor,
    connection: &Connection,
    membership: &mut Membership,
    goal: &Goal,
) -> Result<Option<Turn>, CallError> {
    if !is_met(actor, connection, &membership.group, goal).await? {
        clock::sleep(LOOK_EVERY).await;
        return Ok(None);
    }
    membership.leave(actor, connection).await?;
    Ok(Some(Turn::Done))
}

/// Finds out where the partitions end.
async fn aim(actor: &mut Actor, group: &Arc<str>, topic: &Arc<str>, partitions: i32) -> Goal {
    let mut goal = BTreeMap::new();
    for tp in (0..partitions).map(|partition| Tp::new(topic, partition)) {
        let end = latest(actor, &tp).await;
        // Where there is nothing to read there may be nothing to commit.
        if end > 0 {
            goal.insert(tp, end);
        }
    }
    let ends = goal.iter().map(|(tp, end)| (tp.clone(), *end)).collect();
    let at = actor.history().now();
    actor.record(Event::GroupGoal { group: group.clone(), ends, session: SESSION_MAX, at });
    goal
}

/// Whether the group has come as far as that.
async fn is_met(
    actor: &mut Actor,
    connection: &Connection,
    group: &Arc<str>,
    goal: &Goal,
) -> Result<bool, CallError> {
    let partitions: Vec<Tp> = goal.keys().cloned().collect();
    if partitions.is_empty() {
        return Ok(true);
    }
    let committed = fetch_committed(actor, connection, group, &partitions).await?.unwrap_or_default();
    Ok(goal.iter().all(|(tp, end)| committed.get(tp).is_some_and(|offset| offset >= end)))
}

/// One fetch from what falls to this member; a pause if nothing does.
async fn read(
    actor: &mut Actor,
    coordinator: &Connection,
    partitions: &[Tp],
    share: &mut Share,
) -> Result<(), CallError> {
    let Some(first) = partitions.first() else {
        actor.rest(Duration::from_millis(200)).await;
        return Ok(());
    };
    if actor.cluster.topic(&first.topic).is_none() {
        // The next round asks again.
        actor.cluster.refresh(&first.topic, false).await?;
    }
    let (max_bytes, partition_max_bytes) = if actor.works() { (100_000, 20_000) } else { (1 << 20, 1 << 18) };
    let appetite = Appetite { max_wait_ms: 200, min_bytes: 1, max_bytes, partition_max_bytes };
    // One broker is leader and coordinator; with several this connection would be the leader's own.
    let polled = share.reading.poll(actor, coordinator, appetite).await?;
    share.idle = polled.records == 0;
    if polled.stale {
        share.reading.reconnected();
        actor.cluster.forget(&first.topic);
        actor.cluster.pause().await;
    }
    Ok(())
}

/// Commits where the reading is, if that is further than the group was; the last commit is made in any case.
async fn commit(
    actor: &mut Actor,
    connection: &Connection,
    membership: &Membership,
    share: &mut Share,
    last: bool,
) -> Result<Option<Turn>, CallError> {
    let mut offsets = vec![];
    for place in share.reading.places.values() {
        let committed = share.committed.get(&place.tp).copied().unwrap_or(-1);
        if place.position > committed || last && place.position == committed {
            offsets.push((place.tp.clone(), place.position));
        }
    }
    if offsets.is_empty() {
        return Ok(None);
    }
    let commit = send_commit(actor, connection, &membership.committer(), &offsets).await?;
    match commit.settle(actor).await? {
        0 => {
            share.committed.extend(offsets);
            Ok(None)
        }
        error => Ok(Some(turn_after(error))),
    }
}

/// What to do after an error of the coordinator.
fn turn_after(error: i16) -> Turn {
    match error {
        UNKNOWN_MEMBER_ID | FENCED_INSTANCE_ID => Turn::Forgotten,
        REBALANCE_IN_PROGRESS | ILLEGAL_GENERATION => Turn::Rejoin,
        _ => Turn::Later,
    }
}
