//! What the clients of a world do, as data (the [`Plan`]) and as deeds: each client is a process on a host of its own,
//! which may crash and be started again. What they see goes to the history, for the checkers.

mod actor;
mod admin;
mod commits;
mod committer;
mod consumer;
mod dribbler;
mod errors;
mod idempotent;
mod member;
mod membership;
mod plain;
mod plan;
mod read_back;
mod reading;
mod setup;
mod short_lived;
mod strike;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use madsim::runtime::Handle;
use norn_env::sim::{self, node, DiskCtl, NetCtl, Stream};
use norn_env::{clock, wait_report};
use tokio::sync::watch;

use crate::check::{Event, History, TopicFacts, Trim};
use crate::client::{Cluster, Style, VersionChoice};
use crate::world::Phase;

use actor::Actor;
pub use plan::{ClientPlan, Plan, Role, TopicPlan, TrimPlan};
#[cfg(test)]
pub(crate) use setup::create_topics;

/// All that is under way when the faults stop must end within this.
const HEAL_MAX: Duration = Duration::from_secs(75);
/// How often gauges are read.
const GAUGE_EVERY: Duration = Duration::from_secs(2);
/// Connections that a client may have at a time, those counted that its broker has not yet seen end.
const CONNECTIONS_PER_CLIENT: u64 = 40;
/// Tasks that a connection, a partition and a broker may have.
const TASKS_MAX: u64 = 3_000;
/// Handles that a broker may have of each of its files, and beside them of files that are being written anew or deleted.
const HANDLES_PER_FILE: u64 = 2;
const HANDLES_UNDER_WAY: u64 = 200;
/// The client number of the final reading, as the checkers know it.
const READER: u32 = u32::MAX;
/// The client that creates the topics.
const SETUP: u32 = u32::MAX - 1;
/// The topic that holds the groups.
const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// The name of a client's node.
pub fn client_name(client: usize) -> String {
    format!("client-{client}")
}

fn client_ip(client: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 1 + (client / 200) as u8, 1 + (client % 200) as u8))
}

/// Who has come to the end of its work.
#[derive(Clone, Default)]
struct Board(Arc<Mutex<BTreeSet<usize>>>);

impl Board {
    fn set(&self, client: usize, done: bool) {
        let mut board = self.0.lock().expect("no holder panics");
        if done {
            board.insert(client);
        } else {
            board.remove(&client);
        }
    }

    fn done(&self) -> usize {
        self.0.lock().expect("no holder panics").len()
    }

    fn is_done(&self, client: usize) -> bool {
        self.0.lock().expect("no holder panics").contains(&client)
    }
}

/// Starts the clients and returns when all have ended their work, which is after the faults have stopped; or when the
/// bound for that has passed, with an event for each operation that was still under way.
pub async fn drive(
    plan: Plan,
    bootstrap: Vec<SocketAddr>,
    history: History,
    mut phase: watch::Receiver<Phase>,
) {
    let plan = Arc::new(plan);
    announce(&plan, &history);
    on_node("setup", IpAddr::V4(Ipv4Addr::new(10, 0, 99, 1)), {
        let (plan, bootstrap, history) = (plan.clone(), bootstrap.clone(), history.clone());
        async move {
            let style = Style { versions: VersionChoice::Any, request_timeout_ms: 10_000 };
            let dice = Stream::traced(plan.seed, "setup");
            let mut cluster = Cluster::new(SETUP, "setup", bootstrap, &style, history, dice);
            setup::create_topics(&mut cluster, &plan).await;
        }
    })
    .await;
    let board = Board::default();
    for client in &plan.clients {
        start(client.clone(), &plan, &bootstrap, &history, &phase, &board);
    }
    while *phase.borrow_and_update() < Phase::Heal {
        gauges(&plan, bootstrap.len(), &history);
        // A sender that is gone has nothing more to say.
        if let Ok(Err(_)) = clock::timeout_at(clock::now() + GAUGE_EVERY, phase.changed()).await {
            return;
        }
    }
    history.record(Event::Healed { at: history.now() });
    let bound = clock::now() + HEAL_MAX;
    while board.done() < plan.clients.len() {
        if clock::now() > bound {
            stragglers(&plan, &board, &history);
            return;
        }
        gauges(&plan, bootstrap.len(), &history);
        clock::sleep(Duration::from_millis(100)).await;
    }
}

/// A fresh client reads all topics and groups back.
pub async fn read_back(plan: Plan, history: History, bootstrap: Vec<SocketAddr>) {
    let (sender, phase) = watch::channel(Phase::ReadBack);
    on_node("reader", IpAddr::V4(Ipv4Addr::new(10, 0, 99, 2)), async move {
        let style = Style { versions: VersionChoice::Newest, request_timeout_ms: 10_000 };
        let role = Role::Admin { topics: vec![] };
        let dice = Stream::traced(plan.seed, "reader");
        let cluster = Cluster::new(READER, "reader", bootstrap, &style, history, dice);
        let me = ClientPlan { number: READER as usize, style, think_ms: 0, role };
        let mut actor = Actor::new(cluster, Arc::new(plan), me, 0, phase);
        let _op = actor.begin("read everything back");
        read_back::run(&mut actor).await;
        drop(sender);
    })
    .await;
}

/// Tells the checkers what may happen to the records of each topic.
fn announce(plan: &Plan, history: &History) {
    for topic in &plan.topics {
        history.record(Event::Topic {
            topic: topic.name.as_str().into(),
            facts: topic.facts(plan.default_append_time),
        });
        // Settings of Norn's own are not described.
        for (name, value) in topic.configs.iter().filter(|(name, _)| !name.starts_with("internal.")) {
            let change = history.set_setting(&topic.name, name, Some(value.clone()));
            history.record(Event::SettingDone { change, acked: true, at: history.now() });
        }
    }
    let facts = TopicFacts { sync: plan.offsets_sync, trim: Trim::Never, append_time: false };
    history.record(Event::Topic { topic: OFFSETS_TOPIC.into(), facts });
}

/// Runs something on a node of its own.
async fn on_node(name: &str, ip: IpAddr, work: impl std::future::Future<Output = ()> + Send + 'static) {
    let built = Handle::current().create_node().name(name).build();
    node::register(built.id(), name, ip);
    // The node lives as long as the world: its task is not stopped from outside.
    let _ = built.spawn(sim::supervised(name.to_owned(), work)).await;
}

/// Starts a client on a node of its own; each time that the node starts, another process of it.
fn start(
    me: ClientPlan,
    plan: &Arc<Plan>,
    bootstrap: &[SocketAddr],
    history: &History,
    phase: &watch::Receiver<Phase>,
    board: &Board,
) {
    let client = me.number;
    let processes = Arc::new(Mutex::new(0_u32));
    let (plan, bootstrap, history) = (plan.clone(), bootstrap.to_vec(), history.clone());
    let (phase, board) = (phase.clone(), board.clone());
    let process = move || {
        let number = {
            let mut processes = processes.lock().expect("no holder panics");
            *processes += 1;
            *processes - 1
        };
        let (plan, bootstrap, history) = (plan.clone(), bootstrap.clone(), history.clone());
        let (phase, board, me) = (phase.clone(), board.clone(), me.clone());
        sim::supervised("client", async move {
            board.set(client, false);
            let dice = Stream::traced(plan.seed, &format!("client/{client}/{number}"));
            let name = client_name(client);
            let cluster = Cluster::new(client as u32, &name, bootstrap, &me.style, history, dice);
            let mut actor = Actor::new(cluster, plan, me, number, phase);
            work(&mut actor).await;
            board.set(client, true);
        })
    };
    let name = client_name(client);
    let built = Handle::current().create_node().name(&name).init(process).build();
    node::register(built.id(), &name, client_ip(client));
}

async fn work(actor: &mut Actor) {
    match actor.me.role {
        Role::Idempotent { .. } => idempotent::run(actor).await,
        Role::Plain { .. } => plain::run(actor).await,
        Role::Consumer { .. } => consumer::run(actor).await,
        Role::Member { .. } => member::run(actor).await,
        Role::Committer { .. } => committer::run(actor).await,
        Role::Admin { .. } => admin::run(actor).await,
        Role::Dribbler { .. } => dribbler::run(actor).await,
    }
}

/// Reads what must stay below a limit.
fn gauges(plan: &Plan, brokers: usize, history: &History) {
    let at = history.now();
    let connections = NetCtl::current().connections() as u64;
    let limit = CONNECTIONS_PER_CLIENT * (plan.clients.len() as u64 + 1);
    history.record(Event::Gauge { name: "connections", value: connections, limit, at });
    let tasks = wait_report::snapshot().len() as u64;
    history.record(Event::Gauge { name: "waiting tasks", value: tasks, limit: TASKS_MAX, at });
    for broker in (1..=brokers).filter_map(|number| Handle::current().get_node(format!("broker-{number}"))) {
        let (disks, key) = (DiskCtl::current(), node::key(broker.id()));
        let limit = HANDLES_PER_FILE * disks.files(key).len() as u64 + HANDLES_UNDER_WAY;
        history.record(Event::Gauge { name: "open files", value: disks.open_files(key), limit, at });
    }
}

/// Records the clients that have not come to the end of their work, and what they were at.
fn stragglers(plan: &Plan, board: &Board, history: &History) {
    let left = plan.clients.iter().filter(|client| !board.is_done(client.number));
    let open: Vec<_> = left
        .map(|client| {
            history.begin(client.number as u32, format!("end the work of a client ({:?})", client.role))
        })
        .collect();
    overdue(history);
    drop(open);
}

/// Records all operations that have not ended, and who waits for what.
fn overdue(history: &History) {
    let at = history.now();
    let mut waits = crate::run::waits::lines(None);
    let open = history.with(|events| {
        let mut open = BTreeSet::new();
        for event in events {
            match event {
                Event::OpBegan { op, .. } => drop(open.insert(*op)),
                Event::OpEnded { op } => drop(open.remove(op)),
                _ => {}
            }
        }
        open
    });
    for op in open {
        // With the first of them; it is the same for all.
        history.record(Event::OpOverdue { op, at, waits: std::mem::take(&mut waits) });
    }
}
