//! The world in which nothing happens: what a virtual second costs when nobody asks anything of the broker.

use std::collections::BTreeMap;

use norn_env::sim::net::NetConfig;

use super::{broker_ip, BrokerNode, DiskSpeed, Phases, Tape, World};
use crate::workload::{Plan, TopicPlan, TrimPlan};

/// Long enough for what a process costs at its start to vanish in it.
const LASTS_MS: u64 = 3_000_000;
const PARTITIONS: i32 = 6;

impl Tape {
    /// One broker with default settings and an empty topic, on a good disk and a good network; no client, no fault.
    pub fn idle(seed: u64) -> Self {
        let settings = [
            ("node.id", "1".to_owned()),
            ("listeners", format!("PLAINTEXT://{}:9092", broker_ip(0))),
            ("http.port", "-1".to_owned()),
            ("log.dirs", "/data/0".to_owned()),
        ];
        let disk = DiskSpeed {
            read_us: 20..300,
            write_us: 4..40,
            sync_us: 50..2_000,
            meta_us: 10..200,
            slow: 0.0,
            cold_reads: 0.0,
        };
        let broker = BrokerNode {
            config: settings.map(|(name, value)| (name.to_owned(), value)).into(),
            clock_offset_ms: 0,
            clock_drift_ppm: 0,
            disk,
        };
        let topic = TopicPlan {
            name: "t0".to_owned(),
            partitions: PARTITIONS,
            auto: false,
            sync: true,
            trim: TrimPlan::Never,
            configs: BTreeMap::new(),
        };
        let phases = Phases {
            start_ms: 1_000,
            steady_ms: 1_000,
            chaos_ms: LASTS_MS,
            heal_ms_max: 90_000,
            read_back_ms_max: 300_000,
        };
        Self {
            seed,
            world: World { brokers: vec![broker], net: NetConfig::default(), buggify: false, phases },
            faults: vec![],
            clients: Plan {
                seed,
                topics: vec![topic],
                clients: vec![],
                offsets_sync: true,
                default_sync: true,
                default_append_time: false,
                zstd: false,
            },
        }
    }
}
