//! The memory that clients' requests and their answers may take, by class, so that what one class or one disk holds keeps
//! nobody else waiting. `queued.max.request.bytes` is the sum of the classes of requests.

use std::sync::Arc;

use bytes::Bytes;
use norn_env::budget::{Budget, Permit};
use norn_log::Decoding;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder},
    metrics::{counter::ConstCounter, gauge::ConstGauge, MetricType},
};

/// Bytes of requests under way, where `queued.max.request.bytes` does not say: several of the largest that clients send by
/// default, and a small part of what a broker may use.
const REQUEST_BYTES: u64 = 64 << 20;

/// The least that each log directory's records may take then, however many directories there are: some rounds of syncs.
const DATA_BYTES_MIN: u64 = 16 << 20;

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
        let share = if request_bytes.is_none() { share.max(DATA_BYTES_MIN.min(total / 2)) } else { share };
        let data =
            |dir: String| (dir.clone(), Budget::new(format!("the memory for records of {dir}"), share));
        Budgets(Arc::new(Classes {
            requests: Budget::new("the memory for small requests", total / 8),
            large: Budget::new("the memory for large requests", total / 8 * 3),
            data: dirs.into_iter().map(data).collect(),
            responses: Budget::new("the memory for responses", total / 2),
            decoding: Decoding::default(),
        }))
    }

    /// Small requests, until they are with their owners. They wait for nothing, and so for nobody's data: a connection has
    /// one at a time, so that their number is bounded, and they are only counted.
    pub fn requests(&self) -> &Budget {
        &self.0.requests
    }

    /// Large requests other than Produce, from when their size is known until they are with their owners; and a Produce
    /// whose log directory is not known by then.
    pub fn large(&self) -> &Budget {
        &self.0.large
    }

    /// Large Produce requests for the log directory `dir`, from when their size is known, and the records of others.
    pub fn data(&self, dir: usize) -> Option<&Budget> {
        self.0.data.get(dir).map(|(_, budget)| budget)
    }

    /// Responses, until they are in the socket.
    pub fn responses(&self) -> &Budget {
        &self.0.responses
    }

    /// Records that are being decoded.
    pub fn decoding(&self) -> &Decoding {
        &self.0.decoding
    }

    /// Charges the log directory `dir` for records of a request that is not charged to one, until the last slice of them is
    /// gone. The caller puts a deadline on it.
    pub async fn charge(&self, dir: usize, records: Bytes) -> Bytes {
        match self.data(dir) {
            Some(budget) => {
                let permit = budget.take(records.len()).await;
                charged(records, permit)
            }
            None => records,
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

/// Bytes that keep the permit to hold them until the last slice of them is gone: records are written, and what the disk's
/// journal needs of them is durable.
pub(crate) fn charged(bytes: Bytes, permit: Permit) -> Bytes {
    Bytes::from_owner(Charged { bytes, _permit: permit })
}

struct Charged {
    bytes: Bytes,
    _permit: Permit,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
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
    use norn_env::testing::run;

    use super::*;

    #[test]
    fn a_directory_that_hangs_costs_no_other_its_room() {
        run(|| async {
            let budgets = Budgets::new(Some(1 << 30), ["a".to_owned(), "b".to_owned()]);
            let used = || budgets.data(0).unwrap().used();
            let share = budgets.data(0).unwrap().bound() as usize;
            let held = budgets.charge(0, Bytes::from(vec![0; share])).await;
            budgets.charge(1, Bytes::from(vec![0; share])).await;
            let mut next = Box::pin(budgets.charge(0, Bytes::from_static(b"x")));
            assert!(futures::poll!(&mut next).is_pending());
            // A slice is enough to keep it.
            let slice = held.slice(7..8);
            drop(held);
            assert!(futures::poll!(&mut next).is_pending());
            drop(slice);
            drop(next.await);
            assert_eq!(used(), 0);
        });
    }

    #[test]
    fn many_directories_have_room_for_some_rounds_each() {
        run(|| async {
            let dirs = || (0..20).map(|dir| dir.to_string());
            assert_eq!(Budgets::new(None, dirs()).data(19).unwrap().bound(), DATA_BYTES_MIN);
            let told = Budgets::new(Some(40 << 20), dirs());
            assert_eq!(told.data(19).unwrap().bound(), 1 << 20);
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
