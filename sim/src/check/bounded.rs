//! `bounded`: what is gauged while the clients work stays below its limit: the connections of all hosts, the waits in the
//! wait-for report, and the files that each broker has open, which may be as many as it has on its disks and some more.

use std::collections::BTreeMap;

use super::context::CheckContext;
use super::event::Event;
use super::log::Log;

pub fn check(log: &Log<'_>, _: &CheckContext) -> Vec<String> {
    // The worst moment of each gauge says enough.
    let mut worst: BTreeMap<&str, (u64, u64, f64)> = BTreeMap::new();
    for event in log.events {
        if let Event::Gauge { name, value, limit, at } = event {
            let most = worst.entry(name).or_insert((*value, *limit, at.as_secs_f64()));
            if *value > most.0 {
                *most = (*value, *limit, at.as_secs_f64());
            }
        }
    }
    let over = worst.into_iter().filter(|(_, (value, limit, _))| value > limit);
    over.map(|(name, (value, limit, at))| format!("{name}: {value} at {at:.3} s, limit {limit}")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn a_gauge_above_its_limit_is_found_once() {
        let gauge = |value| Event::Gauge { name: "connections", value, limit: 10, at: secs(1) };
        assert!(check(&Log::of(&[gauge(10)]), &ctx()).is_empty());
        assert_eq!(check(&Log::of(&[gauge(11), gauge(12), gauge(3)]), &ctx()).len(), 1);
    }
}
