//! Faults of the links between brokers and clients.

use norn_env::sim::NetCtl;

use super::director::Director;
use super::underway::Place;
use super::{Direction, Fault};

impl Director {
    /// The nodes of the clients that a fault is about.
    fn peers(&self, client: Option<usize>) -> Vec<u64> {
        match client {
            Some(client) => self.clients.key(client).into_iter().collect(),
            None => self.clients.keys(),
        }
    }

    pub(super) async fn link_slow(
        &self,
        fault: &Fault,
        broker: usize,
        client: Option<usize>,
        factor: u32,
        for_ms: u64,
    ) {
        let (broker, peers) = (self.brokers[broker].key, self.peers(client));
        if peers.is_empty() {
            return;
        }
        self.note(fault);
        let set = |place, factor: Option<u32>| {
            if let Place::Slow(from, to) = place {
                NetCtl::current().slow(from, to, factor.map_or(1.0, f64::from));
            }
        };
        let ways = peers.iter().flat_map(|peer| [Place::Slow(broker, *peer), Place::Slow(*peer, broker)]);
        self.hold(&ways.collect::<Vec<_>>(), factor, for_ms, set).await;
    }

    pub(super) async fn link_loss(
        &self,
        fault: &Fault,
        broker: usize,
        client: Option<usize>,
        percent: u32,
        for_ms: u64,
    ) {
        let (broker, peers) = (self.brokers[broker].key, self.peers(client));
        if peers.is_empty() {
            return;
        }
        self.note(fault);
        let set = |place, percent: Option<u32>| {
            if let Place::Loss(from, to) = place {
                NetCtl::current().lose(from, to, f64::from(percent.unwrap_or_default()) / 100.0);
            }
        };
        let ways = peers.iter().flat_map(|peer| [Place::Loss(broker, *peer), Place::Loss(*peer, broker)]);
        self.hold(&ways.collect::<Vec<_>>(), percent, for_ms, set).await;
    }

    pub(super) async fn link_cut(
        &self,
        fault: &Fault,
        broker: usize,
        client: Option<usize>,
        cut: Direction,
        for_ms: u64,
    ) {
        let (broker, peers) = (self.brokers[broker].key, self.peers(client));
        if peers.is_empty() {
            return;
        }
        self.note(fault);
        let set = |place, cut: Option<u32>| match (place, cut) {
            (Place::Cut(from, to), Some(_)) => NetCtl::current().cut(from, to),
            (Place::Cut(from, to), None) => NetCtl::current().heal(from, to),
            _ => {}
        };
        let ways = peers.iter().flat_map(|peer| {
            let to_broker = (cut != Direction::FromBroker).then_some(Place::Cut(*peer, broker));
            let from_broker = (cut != Direction::ToBroker).then_some(Place::Cut(broker, *peer));
            from_broker.into_iter().chain(to_broker)
        });
        self.hold(&ways.collect::<Vec<_>>(), 1, for_ms, set).await;
    }

    pub(super) fn link_reset(&self, fault: &Fault, broker: usize, client: Option<usize>) {
        let (net, broker) = (NetCtl::current(), self.brokers[broker].key);
        let before = net.stats().resets;
        for peer in self.peers(client) {
            net.reset_connections(broker, Some(peer));
        }
        if net.stats().resets > before {
            self.note(fault);
        }
    }
}
