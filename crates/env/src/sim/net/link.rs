//! Links: directed, between two hosts. How long a piece takes, and whether it gets there.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{NetConfig, Stream};

/// Within a host.
const LOOPBACK_MIN: Duration = Duration::from_micros(10);
const LOOPBACK_MAX: Duration = Duration::from_micros(60);
/// A lost piece comes after this, twice this if lost again, and so on (Linux: TCP_RTO_MIN).
const RETRANSMISSION: Duration = Duration::from_millis(200);
const LOST_IN_A_ROW_MAX: u32 = 6;

struct Link {
    cut_since: Option<Instant>,
    slower: f64,
    loss: f64,
}

const PLAIN: Link = Link { cut_since: None, slower: 1.0, loss: 0.0 };

/// The links that are not plain, by (from, to).
#[derive(Default)]
pub(super) struct Links(BTreeMap<(u64, u64), Link>);

impl Links {
    fn get(&self, src: u64, dst: u64) -> &Link {
        self.0.get(&(src, dst)).unwrap_or(&PLAIN)
    }

    fn change(&mut self, src: u64, dst: u64) -> &mut Link {
        self.0.entry((src, dst)).or_insert(PLAIN)
    }

    pub(super) fn is_cut(&self, src: u64, dst: u64) -> bool {
        self.get(src, dst).cut_since.is_some()
    }

    pub(super) fn cut(&mut self, src: u64, dst: u64, now: Instant) {
        if src != dst {
            self.change(src, dst).cut_since.get_or_insert(now);
        }
    }

    pub(super) fn heal(&mut self, src: u64, dst: u64) {
        self.change(src, dst).cut_since = None;
    }

    pub(super) fn slow(&mut self, src: u64, dst: u64, factor: f64) {
        self.change(src, dst).slower = factor;
    }

    pub(super) fn lose(&mut self, src: u64, dst: u64, loss: f64) {
        self.change(src, dst).loss = loss;
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The cut links, with the time of their cut.
    pub(super) fn cuts(&self) -> impl Iterator<Item = ((u64, u64), Instant)> + '_ {
        self.0.iter().filter_map(|(route, link)| Some((*route, link.cut_since?)))
    }

    /// Draws how long a piece takes from `src` to `dst`, its retransmissions included.
    pub(super) fn delay(&self, src: u64, dst: u64, config: &NetConfig, random: &Stream) -> Duration {
        if src == dst {
            return random.duration(LOOPBACK_MIN..LOOPBACK_MAX);
        }
        let link = self.get(src, dst);
        let mut delay = random.duration(config.latency.clone());
        if random.chance(config.spike_probability) {
            delay += random.duration(config.spike.clone());
        }
        if link.slower != PLAIN.slower {
            delay = delay.mul_f64(link.slower);
        }
        let loss = link.loss.max(config.loss);
        let mut lost = 0;
        while lost < LOST_IN_A_ROW_MAX && random.chance(loss) {
            delay += RETRANSMISSION * 2u32.pow(lost);
            lost += 1;
        }
        delay
    }
}
