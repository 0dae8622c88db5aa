//! Production back end: the limits of the operating system.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use super::Share;

/// Where this process sees what it has open.
const OPEN: &str = "/proc/self/fd";

/// What the limit was, and is after [`raise_limit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raised {
    pub from: u64,
    pub to: u64,
}

/// Raises the limit as far as this process may, as the JVM does. Blocks nobody; meant for start-up.
pub fn raise_limit() -> io::Result<Raised> {
    let mut limits = limits()?;
    let from = limits.rlim_cur;
    limits.rlim_cur = limits.rlim_max;
    // SAFETY: a valid pointer to a local.
    match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limits) } {
        0 => Ok(Raised { from, to: limits.rlim_max }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// How many descriptors this process may have open.
pub fn limit() -> io::Result<u64> {
    Ok(limits()?.rlim_cur)
}

fn limits() -> io::Result<libc::rlimit> {
    let mut limits = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a valid pointer to a local.
    match unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limits) } {
        0 => Ok(limits),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether no descriptor was left for what failed so.
pub(crate) fn ran_out(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// The error of someone who ran out, with what can be done about it.
pub(crate) fn explain(error: io::Error) -> io::Error {
    match limit() {
        Ok(limit) if error.raw_os_error() == Some(libc::EMFILE) => {
            io::Error::other(format!("{error}: the limit of open files (ulimit -n) is {limit}, raise it"))
        }
        _ => error,
    }
}

/// An error if a connection of the broker that was just accepted is one too many.
pub(crate) fn check_connection(socket: &impl AsRawFd) -> io::Result<()> {
    check(socket.as_raw_fd(), limit()?, Share::Connections)
}

/// An error if a connection for metrics or health that was just accepted is one too many.
pub fn check_probe(socket: &impl AsRawFd) -> io::Result<()> {
    check(socket.as_raw_fd(), limit()?, Share::Probes)
}

pub(super) fn left(share: Share) -> Option<u64> {
    let limit = limit().ok()?;
    Some(share.of(limit).saturating_sub(taken(limit, OPEN)?))
}

/// How many descriptors are taken, unless that cannot be told: without /proc, or without the right to look.
fn taken(limit: u64, open: &str) -> Option<u64> {
    match std::fs::read_dir(open) {
        Ok(open) => Some(open.count() as u64),
        // Not even one to look with.
        Err(error) if ran_out(&error) => Some(limit),
        Err(_) => None,
    }
}

impl Share {
    fn of(self, limit: u64) -> u64 {
        limit / 8 * self as u64
    }
}

/// A new descriptor is the lowest that is free: all below it are taken, and so it tells how many are left.
fn check(new: RawFd, limit: u64, share: Share) -> io::Result<()> {
    let taken = u64::try_from(new).unwrap_or(0) + 1;
    match taken > share.of(limit) {
        true => Err(io::Error::other(format!(
            "{taken} of {limit} file descriptors are taken, the rest is kept for files; raise the limit of open files (ulimit -n)"
        ))),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_a_quarter_of_the_descriptors_and_probes_an_eighth() {
        assert!(check(767, 1024, Share::Connections).is_ok());
        let error = check(768, 1024, Share::Connections).unwrap_err().to_string();
        assert!(error.starts_with("769 of 1024 file descriptors are taken"), "{error}");
        assert!(check(895, 1024, Share::Probes).is_ok());
        assert!(check(896, 1024, Share::Probes).is_err());
        assert!(check(i32::MAX, libc::RLIM_INFINITY, Share::Connections).is_ok());
    }

    #[test]
    fn the_limit_is_raised_to_what_this_process_may_have() {
        let raised = raise_limit().unwrap();
        assert!(raised.from <= raised.to);
        assert_eq!(limit().unwrap(), raised.to);
        assert_eq!(limits().unwrap().rlim_max, raised.to);
    }

    #[test]
    fn what_is_created_can_be_started_and_what_is_started_connected_to() {
        let shares = [Share::NewLogs, Share::Start, Share::Connections, Share::Probes];
        assert_eq!(shares.map(|share| share.of(300)), [148, 185, 222, 259]);
        for limit in [64, 300, 1024, 1 << 20] {
            assert!(shares.map(|share| share.of(limit) + 8).is_sorted_by(|less, more| less + 8 <= *more));
        }
        assert!(0 < left(Share::NewLogs).unwrap());
    }

    #[test]
    fn nothing_is_refused_where_it_cannot_be_told_what_is_taken() {
        assert_eq!(taken(300, "/nowhere"), None);
        assert!((1..300).contains(&taken(300, OPEN).unwrap()));
    }

    #[test]
    fn who_ran_out_is_told_of_the_limit() {
        let error = explain(io::Error::from_raw_os_error(libc::EMFILE)).to_string();
        assert!(error.contains(&format!("(ulimit -n) is {}", limit().unwrap())), "{error}");
        let other = explain(io::Error::from_raw_os_error(libc::EIO));
        assert_eq!(other.raw_os_error(), Some(libc::EIO));
    }
}
