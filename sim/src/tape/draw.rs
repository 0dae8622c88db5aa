//! From a seed to a tape: swarm testing. Each seed has a random part of the features and faults on, at random rates,
//! instead of a little of everything.

use std::time::Duration;

use norn_env::sim::net::NetConfig;
use norn_env::sim::Stream;

use super::{config, schedule, BrokerNode, DiskSpeed, Phases, Tape, World};
use crate::workload::Plan;
use crate::world::WorldShape;

impl Tape {
    /// The tape of a default seed.
    pub fn draw(seed: u64) -> Self {
        let stream = |name: &str| Stream::detached(seed, name);
        let phases = phases(&stream("tape/phases"));
        let world = World {
            brokers: vec![broker(&stream("tape/broker/0"), 0)],
            net: net(&stream("tape/net")),
            buggify: stream("tape/buggify").chance(0.7),
            phases,
        };
        let shape = WorldShape { settings: world.brokers[0].config.clone() };
        let clients = Plan::draw(&mut stream("tape/workload"), &shape);
        let mut faults = schedule::draw(&stream("tape/faults"), &world, clients.client_count());
        schedule::disturb_stops(&stream("tape/disturbed-stops"), &mut faults);
        schedule::interrupt_syncs(&stream("tape/interrupted-syncs"), &world, &mut faults);
        Self { seed, world, faults, clients }
    }
}

fn phases(dice: &Stream) -> Phases {
    Phases {
        start_ms: 1_000,
        steady_ms: dice.range(2_000..6_000),
        chaos_ms: dice.range(60_000..75_000),
        heal_ms_max: 90_000,
        read_back_ms_max: 300_000,
    }
}

fn broker(dice: &Stream, index: usize) -> BrokerNode {
    let wrong_clock = dice.chance(0.5);
    let clock = |range: u64| match wrong_clock {
        true => dice.range(0..2 * range) as i64 - range as i64,
        false => 0,
    };
    BrokerNode {
        clock_offset_ms: clock(120_000),
        clock_drift_ppm: clock(500),
        disk: disk(dice),
        config: config::draw(dice, index),
    }
}

fn disk(dice: &Stream) -> DiskSpeed {
    let cold_reads = [0.0, 0.02, 0.1, 0.5][dice.below(4) as usize];
    let (read_us, write_us, sync_us, meta_us, slow) = match dice.below(10) {
        // A disk with a battery behind its cache.
        0..=1 => (5..50, 2..10, 20..200, 5..50, 0.001),
        // A solid-state disk.
        2..=6 => (20..300, 4..40, 50..2_000, 10..200, 0.005),
        // A busy one.
        7..=8 => (50..2_000, 4..200, 500..10_000, 50..2_000, 0.02),
        // One that turns.
        _ => (1_000..12_000, 4..100, 3_000..20_000, 100..8_000, 0.01),
    };
    DiskSpeed { read_us, write_us, sync_us, meta_us, slow, cold_reads }
}

fn net(dice: &Stream) -> NetConfig {
    let ms =
        |range: std::ops::Range<u64>| Duration::from_micros(range.start)..Duration::from_micros(range.end);
    let latency = match dice.below(4) {
        0 => ms(20..120),
        1 | 2 => ms(100..2_000),
        _ => ms(500..12_000),
    };
    let mut net = NetConfig { latency, ..NetConfig::default() };
    net.spike_probability = [0.0, 0.002, 0.01][dice.below(3) as usize];
    if dice.chance(0.15) {
        net.loss = dice.unit() * 0.01;
    }
    if dice.chance(0.2) {
        net.bandwidth = Some(dice.range(2..50) << 20);
    }
    // A small window makes a long way too slow for the bounds of the clients.
    if dice.chance(0.3) && net.latency.end <= Duration::from_millis(2) {
        net.window = 4 << 10..16 << 10;
    }
    if dice.chance(0.1) {
        net.reset_probability = dice.unit() * 0.000_2;
    }
    net.kill_fin_probability = dice.unit();
    net
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::Fault;

    #[test]
    fn a_seed_draws_one_tape() {
        let text = |seed| serde_json::to_string(&Tape::draw(seed)).unwrap();
        assert_eq!(text(7), text(7));
        assert_ne!(text(7), text(8));
    }

    #[test]
    fn a_tape_survives_its_file() {
        for seed in 0..100 {
            let text = serde_json::to_string(&Tape::draw(seed)).unwrap();
            let tape: Tape = serde_json::from_str(&text).unwrap();
            assert_eq!(serde_json::to_string(&tape).unwrap(), text);
        }
    }

    #[test]
    fn some_worlds_lose_power_while_what_was_sent_again_waits_for_its_sync() {
        let interrupted = |seed: &u64| {
            let faults = Tape::draw(*seed).faults;
            faults.windows(3).any(|three| {
                let [slow, reset, dark] = three else { return false };
                matches!(slow.fault, Fault::DiskSlow { for_ms, .. } if slow.at_ms + for_ms == dark.at_ms)
                    && matches!(reset.fault, Fault::LinkReset { client: None, .. })
                    && matches!(dark.fault, Fault::PowerLoss { .. })
            })
        };
        assert!((10..80).contains(&(0..200).filter(interrupted).count()));
    }

    #[test]
    fn faults_strike_in_order_and_end_with_chaos() {
        for seed in 0..200 {
            let tape = Tape::draw(seed);
            assert!(tape.world.phases.chaos_ms >= 60_000);
            assert!(tape.faults.windows(2).all(|pair| pair[0].at_ms <= pair[1].at_ms));
            assert!(tape.faults.iter().all(|timed| timed.at_ms < tape.world.phases.chaos_ms));
        }
    }
}
