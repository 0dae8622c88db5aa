//! Applies the faults of a tape at their times, and takes them back.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use norn_env::task::Tasks;
use norn_env::{clock, sim};

use super::flip::Corrupted;
use super::underway::{Place, Underway};
use super::Fault;
use crate::tape::Timed;
use crate::world::{BrokerHost, Clients};

/// What the faults did so far.
#[derive(Clone, Debug, Default)]
pub struct Harm {
    /// In the order of their times. Those that met nothing to strike are left out.
    pub applied: Vec<Fault>,
    /// When written but unsynced bytes may have been lost.
    pub losses: Vec<RangeInclusive<Duration>>,
    /// What was under way when; of those that have not ended, until when they will be.
    pub troubles: Vec<Trouble>,
    /// Batches that were flipped a bit.
    pub corrupted: Vec<Corrupted>,
    /// When all ended.
    pub healed: Duration,
    /// What the faults themselves found wrong, as a stop that did not end.
    pub findings: Vec<crate::report::Finding>,
}

/// A fault under way.
#[derive(Clone, Debug)]
pub struct Trouble {
    pub fault: Fault,
    pub span: RangeInclusive<Duration>,
}

impl Trouble {
    /// Whether it was under way at any time between these two.
    pub fn meets(&self, from: Duration, to: Duration) -> bool {
        *self.span.start() <= to && *self.span.end() >= from
    }
}

impl Harm {
    /// How often each kind was applied.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for fault in &self.applied {
            *counts.entry(fault.kind().to_owned()).or_default() += 1;
        }
        counts
    }

    /// Whether any fault of one of these kinds was applied.
    pub fn any(&self, kinds: &[&str]) -> bool {
        self.applied.iter().any(|fault| kinds.contains(&fault.kind()))
    }
}

/// Applies faults. Clones share what was done.
#[derive(Clone)]
pub struct Director {
    pub(super) brokers: Arc<Vec<BrokerHost>>,
    pub(super) clients: Clients,
    /// No fault lasts longer.
    pub(super) end: Instant,
    pub(super) harm: Arc<Mutex<Harm>>,
    underway: Arc<Mutex<Underway>>,
}

impl Director {
    /// A director whose faults all end at `end`.
    pub fn new(brokers: Arc<Vec<BrokerHost>>, clients: Clients, end: Instant) -> Self {
        Self { brokers, clients, end, harm: Arc::default(), underway: Arc::default() }
    }

    /// Applies all of `faults`, whose times count from now. Returns when the last was taken back.
    pub async fn run(&self, faults: Vec<Timed>) {
        let start = clock::now();
        let mut running = Tasks::new();
        for Timed { at_ms, fault } in faults {
            clock::sleep_until(start + Duration::from_millis(at_ms)).await;
            let director = self.clone();
            running.spawn(format!("fault {}", fault.kind()), async move { director.strike(fault).await });
        }
        // Not before: who waits for an end is woken by it, and what each fault does to the schedule of tasks would depend
        // on whether another one follows.
        clock::sleep_until(self.end).await;
        while running.join_next().await.is_some() {}
    }

    /// Ends every fault, also those that have no end of their own, and rare turns: what the groups have left to read is
    /// bounded in time, and a turn may stand in the way of each record.
    pub fn heal(&self) {
        sim::probes::stop_buggify();
        sim::NetCtl::current().heal_all();
        for broker in self.brokers.iter() {
            broker.heal();
        }
        self.clients.heal();
        self.harm.lock().expect("no holder panics").healed = sim::world().elapsed();
    }

    /// What was done so far.
    pub fn harm(&self) -> Harm {
        self.harm.lock().expect("no holder panics").clone()
    }

    /// Notes that `fault` was applied now.
    pub(super) fn note(&self, fault: &Fault) {
        self.announce(fault);
        self.count(fault);
    }

    /// Tells the log that `fault` begins.
    pub(super) fn announce(&self, fault: &Fault) {
        tracing::info!(target: "norn_sim::fault", "{fault:?}");
    }

    /// Notes that `fault` has struck something.
    pub(super) fn count(&self, fault: &Fault) {
        self.harm.lock().expect("no holder panics").applied.push(fault.clone());
    }

    /// Notes that unsynced bytes may have been lost at any time since `began`.
    pub(super) fn note_loss(&self, began: Duration) {
        self.harm.lock().expect("no holder panics").losses.push(began..=sim::world().elapsed());
    }

    /// Waits for so long, at most until the end of all faults.
    pub(super) async fn wait_ms(&self, ms: u64) {
        clock::sleep_until((clock::now() + Duration::from_millis(ms)).min(self.end)).await;
    }

    /// Lets a fault hold at `places` for so long. `set` is told whenever another strength holds at one of them, or none.
    pub(super) async fn hold(
        &self,
        places: &[Place],
        strength: u32,
        for_ms: u64,
        set: impl Fn(Place, Option<u32>),
    ) {
        let underway = || self.underway.lock().expect("no holder panics");
        for place in places {
            let holds = underway().begin(*place, strength);
            set(*place, holds);
        }
        self.wait_ms(for_ms).await;
        for place in places {
            let holds = underway().end(*place, strength);
            set(*place, holds);
        }
    }

    /// Applies a fault, and notes for how long it was under way.
    async fn strike(&self, fault: Fault) {
        let began = sim::world().elapsed();
        let lasts = Duration::from_millis(fault.lasts_ms());
        let ends = began + lasts.min(self.end.saturating_duration_since(clock::now()));
        let harm = || self.harm.lock().expect("no holder panics");
        let place = {
            let mut harm = harm();
            harm.troubles.push(Trouble { fault: fault.clone(), span: began..=ends });
            harm.troubles.len() - 1
        };
        self.apply(fault).await;
        // A stall is left to end by itself.
        let ended = sim::world().elapsed().max(ends);
        if let Some(trouble) = harm().troubles.get_mut(place) {
            trouble.span = began..=ended;
        }
    }

    async fn apply(&self, fault: Fault) {
        if fault.lasts_no_time() {
            return;
        }
        match &fault {
            Fault::Kill { broker, down_ms } => self.kill(&fault, *broker, *down_ms).await,
            Fault::Restart { broker } => self.kill(&fault, *broker, 0).await,
            Fault::Pause { broker, for_ms } => self.pause(&fault, *broker, *for_ms).await,
            Fault::GracefulStop { broker, down_ms } => self.graceful_stop(&fault, *broker, *down_ms).await,
            Fault::PowerLoss { broker, down_ms } => self.power_loss(&fault, *broker, *down_ms).await,
            Fault::ClientCrash { client, down_ms } => self.client_crash(&fault, *client, *down_ms).await,
            Fault::ClockJump { broker, by_ms } => self.clock_jump(&fault, *broker, *by_ms),
            Fault::ClockDrift { broker, ppm } => self.clock_drift(&fault, *broker, *ppm),
            Fault::DiskSlow { broker, factor, for_ms } => {
                self.disk_slow(&fault, *broker, *factor, *for_ms).await;
            }
            Fault::LogStall { broker, log, for_ms } => self.log_stall(&fault, *broker, log, *for_ms),
            Fault::DiskStall { broker, dir, for_ms } => self.disk_stall(&fault, *broker, *dir, *for_ms).await,
            Fault::DiskError { broker, op, count, for_ms, stays_ms } => {
                self.disk_error(&fault, (*broker, *op, *count), *for_ms, *stays_ms).await;
            }
            Fault::DiskFull { broker, room_bytes, for_ms, stays_ms } => {
                self.disk_full(&fault, *broker, *room_bytes, *for_ms, *stays_ms).await;
            }
            Fault::BitFlip { broker, file, batch, bit } => {
                self.bit_flip(&fault, *broker, [*file, *batch, *bit])
            }
            Fault::LinkSlow { broker, client, factor, for_ms } => {
                self.link_slow(&fault, *broker, *client, *factor, *for_ms).await;
            }
            Fault::LinkLoss { broker, client, percent, for_ms } => {
                self.link_loss(&fault, *broker, *client, *percent, *for_ms).await;
            }
            Fault::LinkCut { broker, client, cut, for_ms } => {
                self.link_cut(&fault, *broker, *client, *cut, *for_ms).await;
            }
            Fault::LinkReset { broker, client } => self.link_reset(&fault, *broker, *client),
        }
    }
}
