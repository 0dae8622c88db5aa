//! What goes wrong in a world: each kind of fault as data ([`Fault`]) and as a verb ([`director`]).
//!
//! A schedule never breaks what the broker's contract needs: all that a fault took away is given back by the end of
//! chaos, but for the bits that it flipped.

pub mod director;
mod disk;
pub mod flip;
mod links;
pub mod markers;
mod process;
#[cfg(test)]
mod tests;
mod underway;

use serde::{Deserialize, Serialize};

/// One fault of a tape. Brokers and clients are counted from 0; one about a client that the world does not have is passed
/// over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Fault {
    /// The process dies (SIGKILL), and is started again later.
    Kill { broker: usize, down_ms: u64 },
    /// The process dies and is started again at once.
    Restart { broker: usize },
    /// The process does not run for a while (a long collection, a stopped machine).
    Pause { broker: usize, for_ms: u64 },
    /// The process is told to stop (SIGTERM), and is started again later.
    GracefulStop { broker: usize, down_ms: u64 },
    /// The host loses power: unsynced writes are lost or torn, peers hear nothing.
    PowerLoss { broker: usize, down_ms: u64 },
    /// Disk operations take so many times as long.
    DiskSlow { broker: usize, factor: u32, for_ms: u64 },
    /// No disk operation below a data directory ends for a while; all directories without one.
    DiskStall { broker: usize, dir: Option<usize>, for_ms: u64 },
    /// No operation on one log's files ends for a while, in whichever data directory it is.
    LogStall { broker: usize, log: String, for_ms: u64 },
    /// Disk operations fail with EIO. On the good disk that follows the process goes on for `stays_ms`, with what it has
    /// closed for good; then the operator restarts it.
    DiskError {
        broker: usize,
        op: DiskVerb,
        count: u64,
        for_ms: u64,
        #[serde(default)]
        stays_ms: u64,
    },
    /// The disk is full but for so many bytes; later the operator makes room, and after `stays_ms` restarts the broker.
    DiskFull {
        broker: usize,
        room_bytes: u64,
        for_ms: u64,
        #[serde(default)]
        stays_ms: u64,
    },
    /// A bit of a durable record batch of a user topic decays. The words choose file, batch and bit among those there are.
    BitFlip { broker: usize, file: u64, batch: u64, bit: u64 },
    /// The links between a broker and a client (all without one) become slower.
    LinkSlow { broker: usize, client: Option<usize>, factor: u32, for_ms: u64 },
    /// Pieces are lost on the way, and come late.
    LinkLoss { broker: usize, client: Option<usize>, percent: u32, for_ms: u64 },
    /// Nothing gets through, in one direction or both.
    LinkCut { broker: usize, client: Option<usize>, cut: Direction, for_ms: u64 },
    /// Connections are reset.
    LinkReset { broker: usize, client: Option<usize> },
    /// A client's process dies, and is started again later.
    ClientCrash { client: usize, down_ms: u64 },
    /// The broker's wall clock jumps.
    ClockJump { broker: usize, by_ms: i64 },
    /// The broker's wall clock gains so many microseconds a second from now on.
    ClockDrift { broker: usize, ppm: i64 },
}

/// The disk operations that a fault may make fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskVerb {
    Read,
    Write,
    Sync,
    Meta,
}

/// The direction in which a link is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    Both,
    ToBroker,
    FromBroker,
}

impl Fault {
    /// All kinds, by the names that reports use.
    pub const KINDS: [&'static str; 18] = [
        "kill",
        "restart",
        "pause",
        "graceful-stop",
        "power-loss",
        "disk-slow",
        "disk-stall",
        "log-stall",
        "disk-error",
        "disk-full",
        "bit-flip",
        "link-slow",
        "link-loss",
        "link-cut",
        "link-reset",
        "client-crash",
        "clock-jump",
        "clock-drift",
    ];

    /// Whether what it does is taken back at once, so that nothing comes of it.
    pub fn lasts_no_time(&self) -> bool {
        match self {
            Self::Pause { for_ms, .. }
            | Self::DiskSlow { for_ms, .. }
            | Self::DiskStall { for_ms, .. }
            | Self::DiskError { for_ms, .. }
            | Self::DiskFull { for_ms, .. }
            | Self::LinkSlow { for_ms, .. }
            | Self::LinkLoss { for_ms, .. }
            | Self::LinkCut { for_ms, .. } => *for_ms == 0,
            _ => false,
        }
    }

    /// The broker that it is about.
    pub fn broker(&self) -> Option<usize> {
        match self {
            Self::Kill { broker, .. }
            | Self::Restart { broker }
            | Self::Pause { broker, .. }
            | Self::GracefulStop { broker, .. }
            | Self::PowerLoss { broker, .. }
            | Self::DiskSlow { broker, .. }
            | Self::DiskStall { broker, .. }
            | Self::LogStall { broker, .. }
            | Self::DiskError { broker, .. }
            | Self::DiskFull { broker, .. }
            | Self::BitFlip { broker, .. }
            | Self::LinkSlow { broker, .. }
            | Self::LinkLoss { broker, .. }
            | Self::LinkCut { broker, .. }
            | Self::LinkReset { broker, .. }
            | Self::ClockJump { broker, .. }
            | Self::ClockDrift { broker, .. } => Some(*broker),
            Self::ClientCrash { .. } => None,
        }
    }

    /// The data directory that it is about.
    pub fn dir(&self) -> Option<usize> {
        match self {
            Self::DiskStall { dir, .. } => *dir,
            _ => None,
        }
    }

    /// The client that it is about; none for one about all clients, or about none.
    pub fn client(&self) -> Option<usize> {
        match self {
            Self::LinkSlow { client, .. }
            | Self::LinkLoss { client, .. }
            | Self::LinkCut { client, .. }
            | Self::LinkReset { client, .. } => *client,
            Self::ClientCrash { client, .. } => Some(*client),
            _ => None,
        }
    }

    /// Whose answers it may hold up: everybody's, one client's; nobody's at all.
    pub fn struck(&self) -> Option<Option<usize>> {
        match self {
            Self::BitFlip { .. }
            | Self::ClockJump { .. }
            | Self::ClockDrift { .. }
            | Self::ClientCrash { .. } => None,
            Self::LinkSlow { client, .. }
            | Self::LinkLoss { client, .. }
            | Self::LinkCut { client, .. }
            | Self::LinkReset { client, .. } => Some(*client),
            _ => Some(None),
        }
    }

    /// For how long it holds, where it has an end.
    pub fn lasts_ms(&self) -> u64 {
        match self {
            Self::Kill { down_ms, .. }
            | Self::GracefulStop { down_ms, .. }
            | Self::PowerLoss { down_ms, .. }
            | Self::ClientCrash { down_ms, .. } => *down_ms,
            Self::Pause { for_ms, .. }
            | Self::DiskSlow { for_ms, .. }
            | Self::DiskStall { for_ms, .. }
            | Self::LogStall { for_ms, .. }
            | Self::DiskError { for_ms, .. }
            | Self::DiskFull { for_ms, .. }
            | Self::LinkSlow { for_ms, .. }
            | Self::LinkLoss { for_ms, .. }
            | Self::LinkCut { for_ms, .. } => *for_ms,
            Self::Restart { .. }
            | Self::BitFlip { .. }
            | Self::LinkReset { .. }
            | Self::ClockJump { .. }
            | Self::ClockDrift { .. } => 0,
        }
    }

    /// The name of this kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Kill { .. } => "kill",
            Self::Restart { .. } => "restart",
            Self::Pause { .. } => "pause",
            Self::GracefulStop { .. } => "graceful-stop",
            Self::PowerLoss { .. } => "power-loss",
            Self::DiskSlow { .. } => "disk-slow",
            Self::DiskStall { .. } => "disk-stall",
            Self::LogStall { .. } => "log-stall",
            Self::DiskError { .. } => "disk-error",
            Self::DiskFull { .. } => "disk-full",
            Self::BitFlip { .. } => "bit-flip",
            Self::LinkSlow { .. } => "link-slow",
            Self::LinkLoss { .. } => "link-loss",
            Self::LinkCut { .. } => "link-cut",
            Self::LinkReset { .. } => "link-reset",
            Self::ClientCrash { .. } => "client-crash",
            Self::ClockJump { .. } => "clock-jump",
            Self::ClockDrift { .. } => "clock-drift",
        }
    }
}
