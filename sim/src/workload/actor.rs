//! What all clients have: their way to the cluster, their part of the plan, and the phase of the world.

use std::sync::Arc;
use std::time::Duration;

use norn_env::{clock, select};
use tokio::sync::watch;
use uuid::Uuid;

use super::plan::{ClientPlan, Plan, TopicPlan};
use crate::check::{Event, History, OpGuard, Span, Tp};
use crate::client::Cluster;
use crate::world::Phase;

/// Streams of one process of a client; the next process begins at the next multiple.
const STREAMS_PER_PROCESS: u32 = 100_000;

/// One process of a client.
pub struct Actor {
    pub cluster: Cluster,
    pub plan: Arc<Plan>,
    pub me: ClientPlan,
    /// Counts the processes of this client, from 0.
    pub process: u32,
    pub phase: watch::Receiver<Phase>,
    streams: u32,
    passes: u32,
}

impl Actor {
    pub fn new(
        cluster: Cluster,
        plan: Arc<Plan>,
        me: ClientPlan,
        process: u32,
        phase: watch::Receiver<Phase>,
    ) -> Self {
        let first = process * STREAMS_PER_PROCESS;
        Self { cluster, plan, me, process, phase, streams: first, passes: first }
    }

    /// Whether there is something new to be begun: not after the faults have stopped.
    pub fn works(&self) -> bool {
        *self.phase.borrow() < Phase::Heal
    }

    /// Pauses between two things to do, up to what the plan says.
    pub async fn think(&mut self) {
        let pause = Duration::from_micros(self.cluster.dice().range(0..self.me.think_ms * 1_000 + 1));
        self.rest(pause).await;
    }

    /// Pauses, but not beyond the end of the work.
    pub async fn rest(&mut self, pause: Duration) {
        let mut phase = self.phase.clone();
        let end = async move {
            if phase.wait_for(|phase| *phase >= Phase::Heal).await.is_err() {
                // The world was cut off: no end comes any more, and nothing may go on without a pause.
                std::future::pending::<()>().await;
            }
        };
        select! {
            () = end => {}
            () = clock::sleep(pause) => {}
        }
    }

    /// A stream that no other process or partition has.
    pub fn new_stream(&mut self) -> u32 {
        self.streams += 1;
        self.streams
    }

    /// A pass over a partition that no other reading of this client has.
    pub fn new_pass(&mut self) -> u32 {
        self.passes += 1;
        self.passes
    }

    pub fn history(&self) -> &History {
        self.cluster.history()
    }

    pub fn record(&self, event: Event) {
        self.history().record(event);
    }

    /// Begins something that must end once the faults have stopped.
    pub fn begin(&self, what: impl Into<String>) -> OpGuard {
        self.history().begin(self.cluster.client(), what)
    }

    /// Records where a partition reaches.
    pub fn saw_bounds(&self, tp: &Tp, start: Option<i64>, hw: i64, span: Span) {
        let client = self.cluster.client();
        self.record(Event::Bounds { client, tp: tp.clone(), start, hw, span });
    }

    /// An answer that no broker should give.
    pub fn surprise(&self, detail: String) {
        let (client, at) = (self.cluster.client(), self.history().now());
        self.record(Event::Malformed { client, detail, at });
    }

    /// The topics of the plan with these places.
    pub fn topics(&self, places: &[usize]) -> Vec<TopicPlan> {
        places.iter().filter_map(|place| self.plan.topics.get(*place)).cloned().collect()
    }

    /// All partitions of some topics, as histories name them.
    pub fn partitions(&self, places: &[usize]) -> Vec<Tp> {
        let of_topic = |topic: TopicPlan| {
            let name: Arc<str> = topic.name.into();
            (0..topic.partitions).map(move |partition| Tp { topic: name.clone(), id: Uuid::nil(), partition })
        };
        self.topics(places).into_iter().flat_map(of_topic).collect()
    }

    /// The lowest version of Fetch that can carry what is produced in this world.
    pub fn fetch_floor(&self) -> i16 {
        if self.plan.zstd {
            10
        } else {
            4
        }
    }
}
