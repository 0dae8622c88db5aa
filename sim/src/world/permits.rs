//! What is taken of the brokers' budgets once nobody asks for anything.

use std::time::Duration;

use norn_env::clock;

use super::BrokerHost;
use crate::check::{taken_of_budgets, Event, History};

/// How long connections may take to end, and what was under way on them.
const LETS_GO_WITHIN: Duration = Duration::from_secs(30);
/// From one look to the next.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Waits until all is given back, for as long as a connection may stay open whose peer is gone; and notes what is not.
pub async fn look(brokers: &[BrokerHost], history: &History) {
    for (index, broker) in brokers.iter().enumerate() {
        let bound = clock::now() + idle_max(broker) + LETS_GO_WITHIN;
        let mut pause = LOOK_EVERY;
        loop {
            let Some(probe) = broker.probe() else { break };
            let taken = taken_of_budgets(&probe.metrics());
            if (!taken.is_empty() && taken.iter().all(|(_, bytes)| *bytes == 0)) || clock::now() >= bound {
                history.record(Event::Permits { broker: index, taken, at: history.now() });
                break;
            }
            clock::sleep(pause).await;
            pause = (pause * 2).min(LETS_GO_WITHIN);
        }
    }
}

fn idle_max(broker: &BrokerHost) -> Duration {
    let max = broker.spec.config.get("connections.max.idle.ms").and_then(|ms| ms.parse().ok());
    Duration::from_millis(max.unwrap_or(600_000))
}
