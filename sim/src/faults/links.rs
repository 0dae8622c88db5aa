//! Faults of the links between brokers and clients.

use norn_env::sim::NetCtl;

use super::director::Director;
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
        let set = |factor: f64| {
            for peer in &peers {
                NetCtl::current().slow(broker, *peer, factor);
                NetCtl::current().slow(*peer, broker, factor);
            }
        };
        set(f64::from(factor));
        self.wait_ms(for_ms).await;
        set(1.0);
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
        let set = |loss: f64| {
            for peer in &peers {
                NetCtl::current().lose(broker, *peer, loss);
                NetCtl::current().lose(*peer, broker, loss);
            }
        };
        set(f64::from(percent) / 100.0);
        self.wait_ms(for_ms).await;
        set(0.0);
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
        for peer in &peers {
            match cut {
                Direction::Both => NetCtl::current().cut_both(broker, *peer),
                Direction::ToBroker => NetCtl::current().cut(*peer, broker),
                Direction::FromBroker => NetCtl::current().cut(broker, *peer),
            }
        }
        self.wait_ms(for_ms).await;
        for peer in &peers {
            NetCtl::current().heal_both(broker, *peer);
        }
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
