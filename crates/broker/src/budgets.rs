//! The memory that clients' requests and their answers may take, by class, so that what one class or one disk holds keeps
//! nobody else waiting. `queued.max.request.bytes` is the sum of the classes of requests.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use norn_env::budget::{Budget, Permit};
use norn_log::Decoding;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder},
    metrics::{counter::ConstCounter, gauge::ConstGauge, MetricType},
};
use tracing::warn;

/// Bytes of requests under way, where `queued.max.request.bytes` does not say: several of the largest that clients send by
/// default, and a small part of what a broker may use.
const REQUEST_BYTES: u64 = 64 << 20;

/// How long a log directory that has no more room for records may give none back, before producers are refused: longer
/// than a disk's worst hiccup, and short beside the timeouts of those who wait for the memory that refused requests hold.
const PATIENCE: Duration = Duration::from_secs(5);

/// The budgets of a broker. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Budgets(Arc<Classes>);

#[derive(Debug)]
struct Classes {
    requests: Budget,
    large: Budget,
    /// By log directory, in the order of those that are open.
    data: Vec<(String, Budget)>,
    responses: Budget,
    decoding: Decoding,
}

impl Budgets {
    /// `request_bytes`: `queued.max.request.bytes`, if it is set. `dirs`: the paths of the open log directories.
    pub fn new(request_bytes: Option<u64>, dirs: impl IntoIterator<Item = String>) -> Self {
        let total = request_bytes.unwrap_or(REQUEST_BYTES);
        let total = if norn_env::buggify!("budgets are small", 1.0) { total >> 9 } else { total };
        let dirs: Vec<String> = dirs.into_iter().collect();
        // Each directory has a share of its own: were it one for all, those whose disk hangs would come to hold all of it.
        let share = total / 2 / dirs.len().max(1) as u64;
        let data =
            |dir: String| (dir.clone(), Budget::new(format!("the memory for records of {dir}"), share));
        Budgets(Arc::new(Classes {
            requests: Budget::new("the memory for small requests", total / 8),
            large: Budget::new("the memory for large requests (queued.max.request.bytes)", total / 8 * 3),
            data: dirs.into_iter().map(data).collect(),
            responses: Budget::new("the memory for responses", total / 2),
            decoding: Decoding::default(),
        }))
    }

    /// Small requests other than Produce, until they are with their owners. They never wait behind data.
    pub fn requests(&self) -> &Budget {
        &self.0.requests
    }

    /// Large requests, from when their size is known until they are with their owners.
    pub fn large(&self) -> &Budget {
        &self.0.large
    }

    /// Responses, until they are in the socket.
    pub fn responses(&self) -> &Budget {
        &self.0.responses
    }

    /// Records that are being decoded.
    pub fn decoding(&self) -> &Decoding {
        &self.0.decoding
    }

    /// Charges the log directory `dir` for records until the last slice of them is gone: they are written, and what the
    /// disk's journal needs of them is durable. `None` if the directory has no room and has given none back for a while.
    pub async fn charge(&self, dir: usize, records: Bytes) -> Option<Bytes> {
        let Some((path, budget)) = self.0.data.get(dir) else { return Some(records) };
        match budget.take_unless_stuck(records.len(), PATIENCE).await {
            Ok(permit) => Some(Bytes::from_owner(Charged { records, _permit: permit })),
            Err(stuck) => {
                if stuck.is_news {
                    warn!(
                        dir = path,
                        bytes = budget.used(),
                        "the log directory takes no records: as many as may wait for its disk do, and for {PATIENCE:?} \
                         none has come further; Produce requests for it are refused with REQUEST_TIMED_OUT until one has"
                    );
                }
                None
            }
        }
    }

    fn all(&self) -> impl Iterator<Item = (&'static str, &str, &Budget)> {
        let Classes { requests, large, data, responses, decoding } = &*self.0;
        let single = [("requests", requests), ("large_requests", large), ("responses", responses)];
        let single = single.into_iter().chain([("decoding", decoding.memory())]);
        let data = data.iter().map(|(dir, budget)| ("data", dir.as_str(), budget));
        single.map(|(class, budget)| (class, "", budget)).chain(data)
    }
}

/// Record bytes with the permit to hold them.
struct Charged {
    records: Bytes,
    _permit: Permit,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.records
    }
}

impl Collector for Budgets {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let help = "Bytes that may be held for clients at once";
        let gauge = encoder.encode_descriptor("norn_budget_bytes", help, None, MetricType::Gauge)?;
        self.encode_each(gauge, |budget| ConstGauge::new(budget.bound() as i64))?;
        let help = "Bytes that are held for clients";
        let gauge = encoder.encode_descriptor("norn_budget_used_bytes", help, None, MetricType::Gauge)?;
        self.encode_each(gauge, |budget| ConstGauge::new(budget.used() as i64))?;
        let help = "How often somebody had to wait for room in a budget";
        let counter = encoder.encode_descriptor("norn_budget_waits", help, None, MetricType::Counter)?;
        self.encode_each(counter, |budget| ConstCounter::new(budget.waits()))
    }
}

impl Budgets {
    fn encode_each<M: EncodeMetric>(
        &self,
        mut encoder: MetricEncoder,
        metric: impl Fn(&Budget) -> M,
    ) -> Result<(), std::fmt::Error> {
        for (class, dir, budget) in self.all() {
            metric(budget).encode(encoder.encode_family(&[("class", class), ("log_directory", dir)])?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use norn_env::{clock, testing::run};

    use super::*;

    #[test]
    fn a_directory_that_hangs_costs_no_other_and_no_small_request_its_room() {
        run(|| async {
            let budgets = Budgets::new(Some(1 << 30), ["a".to_owned(), "b".to_owned()]);
            let share = budgets.0.data[0].1.bound() as usize;
            let held = budgets.charge(0, Bytes::from(vec![0; share])).await.unwrap();
            let began = clock::now();
            assert!(budgets.charge(1, Bytes::from(vec![0; share])).await.is_some());
            drop(budgets.requests().take(1000).await);
            assert!(clock::now() - began < PATIENCE);
            assert!(budgets.charge(0, Bytes::from_static(b"x")).await.is_none());
            // A slice is enough to keep it; none is not.
            let slice = held.slice(7..8);
            drop(held);
            assert_eq!(budgets.0.data[0].1.used(), share as u64);
            drop(slice);
            assert_eq!(budgets.0.data[0].1.used(), 0);
            assert!(budgets.charge(0, Bytes::from_static(b"x")).await.is_some());
        });
    }

    #[test]
    fn every_budget_is_told_by_class_and_directory() {
        run(|| async {
            let budgets = Budgets::new(Some(1 << 30), ["/a".to_owned()]);
            let _held = budgets.charge(0, Bytes::from_static(b"seven b")).await;
            let mut registry = prometheus_client::registry::Registry::default();
            registry.register_collector(Box::new(budgets));
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            assert!(
                text.contains("norn_budget_used_bytes{class=\"data\",log_directory=\"/a\"} 7\n"),
                "{text}"
            );
            assert!(
                text.contains("norn_budget_used_bytes{class=\"responses\",log_directory=\"\"} 0\n"),
                "{text}"
            );
            assert!(
                text.contains("norn_budget_waits_total{class=\"decoding\",log_directory=\"\"} 0\n"),
                "{text}"
            );
        });
    }
}
