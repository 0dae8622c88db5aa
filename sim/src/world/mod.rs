//! Executes a tape: builds the world, leads it through its phases, asks the checkers.

mod broker;
mod clients;
mod disks;
mod permits;
mod phase;
mod shape;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use norn_env::sim::{self, world};
use norn_env::{clock, task};
use tokio::sync::watch;

use broker::Exit;
pub use broker::{BrokerHost, ConfigRefused};
pub use clients::Clients;
pub use phase::Phase;
pub use shape::WorldShape;

use crate::check::{CheckContext, Event, Flip, History, Stats, Trouble};
use crate::faults::director::{Director, Harm};
use crate::faults::markers;
use crate::replay::history::Place;
use crate::report::Finding;
use crate::run::waits::{self, CULPRITS};
use crate::tape::{broker_ip, Tape};
use crate::workload;

/// After the verdict the broker must stop cleanly within this.
const LAST_STOP_MAX: Duration = Duration::from_secs(60);

/// What came of a world.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Whether the world came to its end, where the checkers are asked.
    pub judged: bool,
    /// Empty if all is well.
    pub findings: Vec<Finding>,
    pub harm: Harm,
    pub stats: Stats,
    /// Who waited for what, when something was found.
    pub waits: Vec<String>,
    /// What clients saw of the place that was asked about.
    pub history: Vec<String>,
}

/// Runs the world of `tape` on the main node of the current simulation, up to `until` if that is given. Tells what clients
/// saw of `place`.
pub async fn execute(
    tape: Tape,
    until: Option<Duration>,
    place: Option<Place>,
) -> Result<Outcome, ConfigRefused> {
    let history = History::new();
    let began = world().elapsed();
    let mut brokers = vec![];
    for (index, spec) in tape.world.brokers.iter().enumerate() {
        brokers.push(BrokerHost::build(index, spec.clone())?);
    }
    let brokers = Arc::new(brokers);
    let mut managers = task::Tasks::new();
    for broker in brokers.iter() {
        managers.spawn(format!("manager of {}", sim::node::name(broker.key)), broker.clone().manage());
    }
    let lived = live(&tape, brokers.clone(), history.clone(), began);
    let mut outcome = match until {
        None => lived.await,
        Some(until) => {
            let now = world().elapsed();
            let cut = clock::now() + until.saturating_sub(now);
            clock::timeout_at(cut, lived).await.unwrap_or_default()
        }
    };
    drop(managers);
    outcome.history = place.map(|place| history.with(|events| place.tell(events))).unwrap_or_default();
    Ok(outcome)
}

/// `began` is the virtual time at which the history began.
async fn live(tape: &Tape, brokers: Arc<Vec<BrokerHost>>, history: History, began: Duration) -> Outcome {
    let phases = &tape.world.phases;
    let ms = Duration::from_millis;
    let bootstrap = bootstrap(&brokers);
    let (phase, phases_seen) = watch::channel(Phase::Start);
    let enter = |next: Phase| {
        tracing::info!(target: "norn_sim::phase", "{next:?}");
        phase.send_replace(next);
    };
    let plan = plan(tape);
    let drive = workload::drive(plan.clone(), bootstrap.clone(), history.clone(), phases_seen);
    let mut drive = task::spawn("workload", drive);

    clock::sleep(ms(phases.start_ms)).await;
    enter(Phase::Steady);
    clock::sleep(ms(phases.steady_ms)).await;
    enter(Phase::Chaos);
    let end = clock::now() + ms(phases.chaos_ms);
    let director = Director::new(brokers.clone(), Clients { count: tape.clients.client_count() }, end);
    director.run(tape.faults.clone()).await;
    clock::sleep_until(end).await;
    director.heal();
    enter(Phase::Heal);

    let mut findings = vec![];
    let mut waits = vec![];
    let bound = clock::now() + ms(phases.heal_ms_max);
    if clock::timeout_at(bound, &mut drive).await.is_err() {
        waits = wait_lines();
        let detail = format!("clients did not end within {} s after the faults", phases.heal_ms_max / 1000);
        findings.push(Finding::new("liveness", detail));
    }
    enter(Phase::ReadBack);
    let bound = clock::now() + ms(phases.read_back_ms_max);
    let mut read_back = task::spawn("read-back", workload::read_back(plan, history.clone(), bootstrap));
    if clock::timeout_at(bound, &mut read_back).await.is_err() {
        if waits.is_empty() {
            waits = wait_lines();
        }
        let detail = format!("the read-back did not end within {} s", phases.read_back_ms_max / 1000);
        findings.push(Finding::new("liveness", detail));
    }
    drop((drive, read_back));
    look_around(&brokers, &history, began).await;
    enter(Phase::Done);

    let harm = director.harm();
    let violations = history.verdict(&context(&brokers, &harm, began));
    let violations: Vec<Finding> =
        violations.into_iter().map(|violation| Finding::new(violation.checker, violation.detail)).collect();
    if !violations.is_empty() {
        waits = when_it_mattered(&history, waits);
    }
    // What was lost or doubled says more than what did not end because of it.
    findings = violations.into_iter().chain(findings).chain(harm.findings.clone()).collect();
    findings.extend(last_stop(&brokers, &harm).await);
    let exits = brokers.iter().flat_map(BrokerHost::exits);
    findings.extend(exits.filter(|exit| !exit.explained).map(|exit| unexplained(&exit)));
    Outcome { judged: true, findings, harm, stats: history.stats(), waits, ..Outcome::default() }
}

/// Who waited for what: as a bound passed (`waits`, where that was a phase's), or an operation's did; else now.
fn when_it_mattered(history: &History, waits: Vec<String>) -> Vec<String> {
    let overdue = || history.with(|events| events.iter().find_map(Event::waits_when_overdue));
    let of_bound = Some(waits).filter(|waits| !waits.is_empty());
    overdue().or(of_bound).unwrap_or_else(wait_lines)
}

/// What the clients do, with what the brokers' settings say of it.
fn plan(tape: &Tape) -> workload::Plan {
    let settings = tape.world.brokers.first().map(|broker| broker.config.clone()).unwrap_or_default();
    let default_append_time = WorldShape { settings }.append_time();
    workload::Plan { default_append_time, ..tape.clients.clone() }
}

/// Where clients begin.
fn bootstrap(brokers: &[BrokerHost]) -> Vec<SocketAddr> {
    (0..brokers.len()).map(|index| SocketAddr::from((broker_ip(index), 9092))).collect()
}

/// Looks at what the brokers keep when nobody asks for anything any more.
async fn look_around(brokers: &[BrokerHost], history: &History, began: Duration) {
    disks::look(brokers, history, began).await;
    permits::look(brokers, history).await;
}

/// Stops the brokers as an operator does: each must come to a clean end.
async fn last_stop(brokers: &[BrokerHost], harm: &Harm) -> Vec<Finding> {
    let mut findings = vec![];
    for broker in brokers {
        broker.hold();
        broker.tell_to_stop();
        match clock::timeout_at(clock::now() + LAST_STOP_MAX, broker.ended()).await {
            Ok(true) => findings.extend(markers::missing(broker, harm)),
            Ok(false) => {}
            Err(_) => {
                let waits = waits::lines(Some(broker.key)).into_iter().take(CULPRITS).collect::<Vec<_>>();
                let detail =
                    format!("the broker did not stop within {LAST_STOP_MAX:?}\n{}", waits.join("\n"));
                findings.push(Finding::new("liveness", detail));
            }
        }
    }
    findings
}

fn unexplained(exit: &Exit) -> Finding {
    let Exit { broker, at, error, .. } = exit;
    let error = error.as_deref().unwrap_or("it returned");
    Finding::new(
        "no-error-log-unexplained",
        format!("the broker ended on its own: {error} (broker {broker}, at {at:?})"),
    )
}

fn context(brokers: &[BrokerHost], harm: &Harm, began: Duration) -> CheckContext {
    let since = |at: Duration| at.saturating_sub(began);
    CheckContext {
        losses: harm.losses.iter().map(|loss| since(*loss.start())..=since(*loss.end())).collect(),
        flips: harm
            .corrupted
            .iter()
            .map(|flip| Flip {
                topic: flip.topic.clone(),
                topic_id: flip.topic_id.clone(),
                partition: flip.partition,
                offsets: flip.first_offset..=flip.last_offset,
                at: since(flip.at),
            })
            .collect(),
        restarts: brokers.iter().flat_map(BrokerHost::ends).map(since).collect(),
        troubles: harm
            .troubles
            .iter()
            .filter_map(|trouble| {
                let client = trouble.fault.struck()?.map(|client| client as u32);
                let span = since(*trouble.span.start())..=since(*trouble.span.end());
                Some(Trouble { client, span })
            })
            // A broker whose disk was bad is replaced when all faults end.
            .chain([Trouble { client: None, span: since(harm.healed)..=since(harm.healed) }])
            .collect(),
        single_broker: brokers.len() == 1,
    }
}

/// The wait-for report, what matters most first.
fn wait_lines() -> Vec<String> {
    waits::lines(None)
}
