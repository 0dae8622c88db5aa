//! One who keeps offsets in a group without being a member: rising ones, many commits in flight on one connection, of
//! which the last must be in force; after each restart it looks for what it committed before.

use std::collections::VecDeque;
use std::sync::Arc;

use super::actor::Actor;
use super::commits::{fetch_committed, send_commit, Commit, Committer};
use super::plan::Role;
use crate::check::Tp;

/// Commits until the faults have stopped, and once more; then all that was committed must be there.
pub async fn run(actor: &mut Actor) {
    let Role::Committer { partitions, .. } = actor.me.role else { return };
    let topic: Arc<str> = actor.plan.topics[0].name.as_str().into();
    let partitions: Vec<Tp> =
        (0..partitions.min(actor.plan.topics[0].partitions)).map(|p| Tp::new(&topic, p)).collect();
    let client = actor.cluster.client();
    let name = |process: u32| -> Arc<str> { format!("offsets-{client}-{process}").into() };
    for process in 0..actor.process {
        look(actor, &name(process), &partitions).await;
    }
    let by = Committer { group: name(actor.process), generation: -1, member: String::new(), instance: None };
    let mut next = 1;
    while actor.works() {
        commit(actor, &by, &partitions, &mut next).await;
        if actor.cluster.dice().chance(0.3) {
            look(actor, &by.group, &partitions).await;
        }
    }
    let _op = actor.begin(format!("commit to {}", by.group));
    while !commit(actor, &by, &partitions, &mut next).await {}
    for process in 0..=actor.process {
        look(actor, &name(process), &partitions).await;
    }
}

/// Some commits at once; whether all were acknowledged.
async fn commit(actor: &mut Actor, by: &Committer, partitions: &[Tp], next: &mut i64) -> bool {
    let Role::Committer { window, .. } = actor.me.role else { return true };
    let connection = actor.cluster.coordinator(&by.group).await;
    let mut flight: VecDeque<Commit<'_>> = VecDeque::new();
    let mut well = true;
    for _ in 0..actor.cluster.dice().range(1..3 * window as u64 + 1) {
        let offsets: Vec<(Tp, i64)> = partitions.iter().map(|tp| (tp.clone(), *next)).collect();
        *next += 1;
        match send_commit(actor, &connection, by, &offsets).await {
            Ok(commit) => flight.push_back(commit),
            Err(_) => {
                well = false;
                break;
            }
        }
        if flight.len() >= window {
            well &= settle(actor, flight.pop_front()).await;
        }
    }
    while !flight.is_empty() {
        well &= settle(actor, flight.pop_front()).await;
    }
    if well {
        actor.cluster.worked();
        actor.think().await;
    } else {
        actor.cluster.pause().await;
    }
    well
}

async fn settle(actor: &Actor, oldest: Option<Commit<'_>>) -> bool {
    match oldest {
        Some(commit) => commit.settle(actor).await == Ok(0),
        None => true,
    }
}

/// Looks what a group has committed, until the coordinator says it.
async fn look(actor: &mut Actor, group: &Arc<str>, partitions: &[Tp]) {
    loop {
        let connection = actor.cluster.coordinator(group).await;
        if let Ok(Some(_)) = fetch_committed(actor, &connection, group, partitions).await {
            return;
        }
        actor.cluster.pause().await;
    }
}
