//! When which faults strike: a random part of the kinds, each at its own pace.

use norn_env::sim::Stream;

use super::{Timed, World};
use crate::faults::{Direction, DiskVerb, Fault};

/// How likely a seed has a kind on.
const KIND_ON: f64 = 0.4;
/// One seed in so many has no faults at all.
const QUIET_ONE_IN: u64 = 40;
/// The last faults strike this long before the end of chaos, so that what they cause still meets load.
const CALM_MS: u64 = 2_000;
/// How likely another fault strikes a process that was told to stop, and within which time.
const STOP_DISTURBED: f64 = 0.5;
const STOP_TAKES_MS: u64 = 60;
/// How likely a world has syncs that take long and are never done, and from one to the next.
const SYNCS_INTERRUPTED: f64 = 0.3;
const INTERRUPTION_EVERY_MS: u64 = 12_000;
/// A process goes on after its disk was bad for less than this.
const STAYS_MS_MAX: u64 = 20_000;
/// What no fault outlasts.
const LASTS_MS_MAX: u64 = 15_000;

/// Draws the faults of a tape.
pub fn draw(dice: &Stream, world: &World, clients: usize) -> Vec<Timed> {
    if dice.below(QUIET_ONE_IN) == 0 {
        return vec![];
    }
    let end = world.phases.chaos_ms - CALM_MS;
    let mut faults = vec![];
    while faults.is_empty() {
        for kind in Fault::KINDS {
            if !dice.chance(KIND_ON) {
                continue;
            }
            let mut at_ms = 0;
            loop {
                at_ms += pause_ms(kind, dice);
                if at_ms >= end {
                    break;
                }
                faults.push(Timed { at_ms, fault: fault(kind, dice, world, clients) });
            }
        }
    }
    faults.sort_by_key(|timed| timed.at_ms);
    faults
}

/// Lets some processes die while they stop, when the mark of a clean end is being written.
pub fn disturb_stops(dice: &Stream, faults: &mut Vec<Timed>) {
    let stops = faults.iter().filter_map(|timed| match timed.fault {
        Fault::GracefulStop { broker, down_ms } => Some((timed.at_ms, broker, down_ms)),
        _ => None,
    });
    let disturbed = stops.filter(|_| dice.chance(STOP_DISTURBED)).map(|(at_ms, broker, down_ms)| {
        let fault = match dice.below(3) {
            0 => Fault::Kill { broker, down_ms },
            1 => Fault::PowerLoss { broker, down_ms },
            _ => Fault::Restart { broker },
        };
        Timed { at_ms: at_ms + dice.below(STOP_TAKES_MS), fault }
    });
    let disturbed: Vec<Timed> = disturbed.collect();
    faults.extend(disturbed);
    faults.sort_by_key(|timed| timed.at_ms);
}

/// In some worlds: power goes while what producers were not yet told of, and therefore send again, waits for its sync.
pub fn interrupt_syncs(dice: &Stream, world: &World, faults: &mut Vec<Timed>) {
    // A world without faults stays one.
    if faults.is_empty() || !dice.chance(SYNCS_INTERRUPTED) {
        return;
    }
    let end = world.phases.chaos_ms - CALM_MS;
    let mut at_ms = dice.range(0..INTERRUPTION_EVERY_MS);
    loop {
        let broker = dice.below(world.brokers.len() as u64) as usize;
        let reset_ms = at_ms + dice.range(500..2_000);
        // Clients have come back, and sent again.
        let dark_ms = reset_ms + dice.range(300..2_500);
        if dark_ms >= end {
            break;
        }
        // Writes return soon, for syncs take hundreds of times as long.
        let sync_us = dice.range(1_000_000..4_000_000);
        let factor = (sync_us / world.brokers[broker].disk.sync_us.end.max(1)) as u32;
        let down_ms = dice.range(50..1_000);
        faults.extend([
            Timed { at_ms, fault: Fault::DiskSlow { broker, factor, for_ms: dark_ms - at_ms } },
            Timed { at_ms: reset_ms, fault: Fault::LinkReset { broker, client: None } },
            Timed { at_ms: dark_ms, fault: Fault::PowerLoss { broker, down_ms } },
        ]);
        at_ms = dark_ms + dice.range(INTERRUPTION_EVERY_MS / 2..INTERRUPTION_EVERY_MS * 2);
    }
    faults.sort_by_key(|timed| timed.at_ms);
}

/// From one fault of a kind to the next. Faults that take the broker away for long come less often.
fn pause_ms(kind: &str, dice: &Stream) -> u64 {
    let mean = match kind {
        "disk-error" | "disk-full" | "clock-drift" | "disk-slow" => 45_000,
        "kill" | "graceful-stop" | "power-loss" | "pause" | "disk-stall" | "log-stall" | "link-cut"
        | "client-crash" => 25_000,
        _ => 15_000,
    };
    dice.range(mean / 10..mean * 2)
}

/// Mostly short, sometimes long.
fn lasts_ms(dice: &Stream) -> u64 {
    match dice.below(10) {
        0..=4 => dice.range(50..1_000),
        5..=7 => dice.range(1_000..4_000),
        _ => dice.range(4_000..LASTS_MS_MAX),
    }
}

/// For how long a process goes on after its disk was bad.
fn stays_ms(dice: &Stream) -> u64 {
    match dice.chance(0.5) {
        true => 0,
        false => dice.range(500..STAYS_MS_MAX),
    }
}

fn fault(kind: &str, dice: &Stream, world: &World, clients: usize) -> Fault {
    let broker = dice.below(world.brokers.len() as u64) as usize;
    let some_client = |dice: &Stream| dice.below(clients.max(1) as u64) as usize;
    let client = |dice: &Stream| dice.chance(0.6).then(|| some_client(dice));
    let for_ms = lasts_ms(dice);
    let down_ms = for_ms.min(8_000);
    match kind {
        "kill" => Fault::Kill { broker, down_ms },
        "restart" => Fault::Restart { broker },
        "pause" => Fault::Pause { broker, for_ms },
        "graceful-stop" => Fault::GracefulStop { broker, down_ms },
        "power-loss" => Fault::PowerLoss { broker, down_ms },
        "disk-slow" => Fault::DiskSlow { broker, factor: dice.range(2..30) as u32, for_ms },
        "disk-stall" => {
            let dirs = world.brokers[broker].config["log.dirs"].split(',').count() as u64;
            let dir = dice.chance(0.7).then(|| dice.below(dirs) as usize);
            Fault::DiskStall { broker, dir, for_ms: for_ms.min(8_000) }
        }
        "log-stall" => {
            let log = ["t0-0", "__consumer_offsets-0"][dice.below(2) as usize].to_owned();
            Fault::LogStall { broker, log, for_ms: for_ms.min(8_000) }
        }
        "disk-error" => {
            let op = [DiskVerb::Sync, DiskVerb::Sync, DiskVerb::Write, DiskVerb::Read, DiskVerb::Meta];
            let op = op[dice.below(5) as usize];
            Fault::DiskError {
                broker,
                op,
                count: dice.range(1..4),
                for_ms: for_ms.min(5_000),
                stays_ms: stays_ms(dice),
            }
        }
        "disk-full" => {
            let room_bytes = dice.range(0..64) << 10;
            Fault::DiskFull { broker, room_bytes, for_ms: for_ms.min(5_000), stays_ms: stays_ms(dice) }
        }
        "bit-flip" => Fault::BitFlip { broker, file: dice.u64(), batch: dice.u64(), bit: dice.u64() },
        "link-slow" => {
            Fault::LinkSlow { broker, client: client(dice), factor: dice.range(2..100) as u32, for_ms }
        }
        "link-loss" => {
            Fault::LinkLoss { broker, client: client(dice), percent: dice.range(1..40) as u32, for_ms }
        }
        "link-cut" => {
            let cut = [Direction::Both, Direction::ToBroker, Direction::FromBroker][dice.below(3) as usize];
            Fault::LinkCut { broker, client: client(dice), cut, for_ms }
        }
        "link-reset" => Fault::LinkReset { broker, client: client(dice) },
        "client-crash" => Fault::ClientCrash { client: some_client(dice), down_ms },
        "clock-jump" => Fault::ClockJump { broker, by_ms: dice.range(0..1_200_000) as i64 - 600_000 },
        "clock-drift" => Fault::ClockDrift { broker, ppm: dice.range(0..20_000) as i64 - 10_000 },
        other => unreachable!("{other} is not a kind of fault"),
    }
}
