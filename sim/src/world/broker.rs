//! A broker's host in the world: it outlives the processes on it, and starts the next one when one ends on its own, as
//! a service manager does.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use madsim::runtime::Handle;
use madsim::task::NodeId;
use norn_broker::config::{Config, Layer, Source};
use norn_broker::Probe;
use norn_env::sim::{self, node, world, ClockCtl, DiskCtl, NetCtl};
use norn_env::task::{self, ShutdownTrigger};
use norn_env::{clock, select};
use tokio::sync::watch;

use crate::tape::{broker_ip, BrokerNode};

/// From the end of a process to the start of the next.
const RESTART_AFTER: Duration = Duration::from_secs(1);

/// What the process on a host is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Process {
    Running,
    /// Ended on its own.
    Exited,
    /// Killed, or the host is without power.
    Dead,
}

/// A process that ended on its own.
#[derive(Clone, Debug)]
pub struct Exit {
    pub broker: usize,
    pub at: Duration,
    /// The error that it ended with; none after a clean stop.
    pub error: Option<String>,
    /// Whether it was told to stop, or an injected fault lets one expect it.
    pub explained: bool,
}

struct State {
    process: Process,
    /// Counts processes.
    incarnation: u64,
    trigger: Option<ShutdownTrigger>,
    /// Tells about the process once it has started.
    probe: Option<Probe>,
    told_to_stop: bool,
    /// Whether the process has got through its start.
    served: bool,
    /// Faults that make the disk fail now.
    failing: usize,
    /// Whether the disk failed while the process ran: what it then closed for good it goes on without, on a good disk too.
    trouble: bool,
    /// Faults that hold the process down.
    holds: usize,
    /// Whether a fault has taken the power away.
    dark: bool,
    exits: Vec<Exit>,
    /// When processes ended, for whatever reason.
    ends: Vec<Duration>,
}

/// A host with its broker. Clones are the same.
#[derive(Clone)]
pub struct BrokerHost {
    pub id: NodeId,
    /// The node's number in the control surfaces of `norn_env::sim`.
    pub key: u64,
    pub spec: Arc<BrokerNode>,
    state: Arc<Mutex<State>>,
    changed: Arc<watch::Sender<u64>>,
}

/// The settings that a tape holds cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the broker's settings are refused: {0}")]
pub struct ConfigRefused(String);

impl BrokerHost {
    /// Builds the host; its broker starts at once.
    pub fn build(index: usize, spec: BrokerNode) -> Result<Self, ConfigRefused> {
        let config = config(&spec.config)?;
        let spec = Arc::new(spec);
        let state = State {
            process: Process::Running,
            incarnation: 1,
            trigger: None,
            probe: None,
            told_to_stop: false,
            served: false,
            failing: 0,
            trouble: false,
            holds: 0,
            dark: false,
            exits: vec![],
            ends: vec![],
        };
        let state = Arc::new(Mutex::new(state));
        let (changed, _) = watch::channel(0);
        let changed = Arc::new(changed);
        let process = {
            let (state, changed) = (state.clone(), changed.clone());
            move || {
                let main = process(index, config.clone(), state.clone(), changed.clone());
                sim::supervised("process", main)
            }
        };
        let name = format!("broker-{}", index + 1);
        let built = Handle::current().create_node().name(&name).init(process).build();
        let key = node::key(built.id());
        node::register(built.id(), &name, IpAddr::V4(broker_ip(index)));
        let clocks = ClockCtl::current();
        clocks.set_offset(key, spec.clock_offset_ms);
        clocks.set_drift(key, spec.clock_drift_ppm);
        let disks = DiskCtl::current();
        disks.set_latency(key, spec.disk.latency(1));
        disks.set_cold_reads(key, spec.disk.cold_reads);
        Ok(Self { id: built.id(), key, spec, state, changed })
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().expect("no holder panics"))
    }

    /// Whether a process runs.
    pub fn is_running(&self) -> bool {
        self.with(|state| state.process == Process::Running)
    }

    /// Tells about the process that runs, if it has started.
    pub fn probe(&self) -> Option<Probe> {
        self.with(|state| state.probe.clone().filter(|_| state.process == Process::Running))
    }

    /// Counts the processes, from 1.
    pub fn incarnation(&self) -> u64 {
        self.with(|state| state.incarnation)
    }

    /// Ends the process, if there is one, without a word.
    pub fn kill(&self) {
        let incarnation = self.with(|state| {
            if state.process == Process::Running {
                state.ends.push(world().elapsed());
            }
            state.process = Process::Dead;
            state.incarnation
        });
        Handle::current().kill(self.id);
        self.changed.send_replace(incarnation);
    }

    /// Starts a process, if none runs.
    pub fn start(&self) {
        let start = self.with(|state| {
            let start = state.process != Process::Running;
            if start {
                state.process = Process::Running;
                state.incarnation += 1;
                state.told_to_stop = false;
                state.served = false;
                state.trouble = state.failing > 0;
                (state.trigger, state.probe) = (None, None);
            }
            start
        });
        if start {
            DiskCtl::current().forget_failed(self.key);
            // The simulators hear of the end of a process by its kill only.
            Handle::current().kill(self.id);
            Handle::current().restart(self.id);
        }
    }

    /// Keeps the process down after its end, until as many `release` as `hold`.
    pub fn hold(&self) {
        self.with(|state| state.holds += 1);
    }

    /// With the last of them: starts a process, if none runs, and lets the manager start others.
    pub fn release(&self) {
        let free = self.with(|state| {
            state.holds = state.holds.saturating_sub(1);
            state.holds == 0
        });
        if free {
            self.start();
        }
    }

    /// Takes the power away, whether a process runs or not, and keeps the host down until `regain_power`. False if there
    /// was none.
    pub fn lose_power(&self) -> bool {
        let had_power = !self.with(|state| std::mem::replace(&mut state.dark, true));
        if had_power {
            self.hold();
            DiskCtl::current().power_fail_on_next_reset(self.key);
            NetCtl::current().host_power_off(self.key);
            self.kill();
        }
        had_power
    }

    /// Gives the power back, and starts a process unless something else holds it down.
    pub fn regain_power(&self) {
        self.with(|state| state.dark = false);
        NetCtl::current().host_power_on(self.key);
        self.release();
    }

    /// Tells the process to stop. False if there is none, or it was told before.
    pub fn tell_to_stop(&self) -> bool {
        self.with(|state| {
            let news = state.process == Process::Running && !state.told_to_stop;
            if news {
                state.told_to_stop = true;
            }
            if let Some(trigger) = state.trigger.as_ref().filter(|_| news) {
                trigger.signal();
            }
            news
        })
    }

    /// Waits until the process that runs now has ended. Whether it did so on its own: else whoever killed it has its
    /// successor in hand.
    pub async fn ended(&self) -> bool {
        let mut changed = self.changed.subscribe();
        let incarnation = self.with(|state| state.incarnation);
        let runs = |state: &mut State| state.incarnation == incarnation && state.process == Process::Running;
        while self.with(runs) {
            if changed.changed().await.is_err() {
                break;
            }
        }
        self.with(|state| state.incarnation == incarnation && state.process == Process::Exited)
    }

    /// Notes that the disk is failing: from here the process may end on its own.
    pub fn expect_trouble(&self) {
        self.with(|state| {
            state.failing += 1;
            state.trouble = true;
        });
    }

    /// The data directories, in the order of the settings.
    pub fn data_dirs(&self) -> Vec<String> {
        self.spec
            .config
            .get("log.dirs")
            .map(|dirs| dirs.split(',').map(str::to_owned).collect())
            .unwrap_or_default()
    }

    /// Notes that the disk is good again, as far as one fault goes.
    pub fn trouble_over(&self) {
        self.with(|state| state.failing = state.failing.saturating_sub(1));
    }

    /// What the operator does some time after that: a process that has seen the disk fail may have closed some of its data
    /// for good, so another takes its place. Not if a fault holds the host down; that fault starts the next one.
    pub fn replace_after_trouble(&self) {
        if self.with(|state| state.holds == 0 && state.trouble) {
            self.replace();
        }
    }

    fn replace(&self) {
        self.kill();
        self.start();
    }

    /// Ends all faults of the host itself.
    pub fn heal(&self) {
        let disks = DiskCtl::current();
        disks.clear_failures(self.key);
        disks.clear_stalls(self.key);
        disks.clear_capacity(self.key);
        disks.set_latency(self.key, self.spec.disk.latency(1));
        NetCtl::current().host_power_on(self.key);
        Handle::current().resume(self.id);
        self.with(|state| (state.holds, state.dark) = (0, false));
        if self.with(|state| std::mem::take(&mut state.failing) > 0 || state.trouble) {
            self.replace();
        }
        self.release();
    }

    /// Whether the process that runs, or ran last, has got through its start.
    pub fn served(&self) -> bool {
        self.with(|state| state.served)
    }

    /// The processes that ended on their own, so far.
    pub fn exits(&self) -> Vec<Exit> {
        self.with(|state| state.exits.clone())
    }

    /// When processes ended, for whatever reason, so far.
    pub fn ends(&self) -> Vec<Duration> {
        self.with(|state| state.ends.clone())
    }

    /// Starts a new process whenever one ended on its own. Never returns.
    pub async fn manage(self) {
        let mut changed = self.changed.subscribe();
        loop {
            if changed.changed().await.is_err() {
                return;
            }
            let Some(ended) =
                self.with(|state| (state.process == Process::Exited).then_some(state.incarnation))
            else {
                continue;
            };
            // What the process held is free only when the node was killed, too.
            Handle::current().kill(self.id);
            clock::sleep(RESTART_AFTER).await;
            let still = |state: &mut State| {
                state.process == Process::Exited && state.incarnation == ended && state.holds == 0
            };
            if self.with(still) {
                self.start();
            }
        }
    }
}

/// One process of the broker, from its start to its end.
async fn process(index: usize, config: Config, state: Arc<Mutex<State>>, changed: Arc<watch::Sender<u64>>) {
    let (trigger, shutdown) = task::shutdown();
    {
        let mut state = state.lock().expect("no holder panics");
        if state.told_to_stop {
            trigger.signal();
        }
        state.trigger = Some(trigger);
    }
    let mut stop = shutdown.clone();
    let told = state.clone();
    let broker = task::spawn("broker", async move {
        let start = norn_broker::start(config, shutdown);
        let started = select! {
            started = start => started,
            // As the binary does: a start that is told to stop is given up.
            _ = stop.signaled() => return Ok(()),
        };
        match started {
            Ok(broker) => {
                {
                    let mut told = told.lock().expect("no holder panics");
                    (told.served, told.probe) = (true, Some(broker.probe()));
                }
                broker.run().await.map_err(|error| error.to_string())
            }
            Err(error) => Err(format!("start: {error}")),
        }
    });
    let error = match broker.await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error),
        Err(stopped) => Some(stopped.to_string()),
    };
    let incarnation = {
        let mut state = state.lock().expect("no holder panics");
        state.process = Process::Exited;
        state.ends.push(world().elapsed());
        let explained = state.trouble || (state.told_to_stop && error.is_none());
        state.exits.push(Exit { broker: index, at: world().elapsed(), error, explained });
        state.incarnation
    };
    changed.send_replace(incarnation);
}

fn config(settings: &BTreeMap<String, String>) -> Result<Config, ConfigRefused> {
    let layers = settings.iter().map(|(key, value)| Layer::new(Source::Default, key, value)).collect();
    let (config, _) = Config::from_layers(layers).map_err(|errors| {
        ConfigRefused(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    })?;
    Ok(config)
}
