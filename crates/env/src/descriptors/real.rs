//! Production back end: the limits of the operating system.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

/// One in so many descriptors is kept for files, against the broker's connections.
const KEPT_FROM_CONNECTIONS: u64 = 4;
/// As [`KEPT_FROM_CONNECTIONS`], against those who look after the broker and are to see why it refuses connections.
const KEPT_FROM_PROBES: u64 = 8;
/// As [`KEPT_FROM_CONNECTIONS`], against new logs: what those that are there need for their next segments.
const KEPT_FROM_NEW_LOGS: u64 = 8;

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
    check(socket.as_raw_fd(), limit()?, KEPT_FROM_CONNECTIONS)
}

/// An error if a connection for metrics or health that was just accepted is one too many.
pub fn check_probe(socket: &impl AsRawFd) -> io::Result<()> {
    check(socket.as_raw_fd(), limit()?, KEPT_FROM_PROBES)
}

/// How many descriptors are taken, and the limit. `None` where that cannot be told, as when all are.
pub(super) fn taken_of_limit() -> Option<(u64, u64)> {
    let taken = std::fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    Some((taken, limit().ok()?))
}

/// How many of the others new logs may take.
pub(super) fn left_for_logs(taken: u64, limit: u64) -> u64 {
    (limit - limit / KEPT_FROM_NEW_LOGS).saturating_sub(taken)
}

/// A new descriptor is the lowest that is free: all below it are taken, and so it tells how many are left.
fn check(new: RawFd, limit: u64, kept: u64) -> io::Result<()> {
    let taken = u64::try_from(new).unwrap_or(0) + 1;
    match taken > limit - limit / kept {
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
        assert!(check(767, 1024, KEPT_FROM_CONNECTIONS).is_ok());
        let error = check(768, 1024, KEPT_FROM_CONNECTIONS).unwrap_err().to_string();
        assert!(error.starts_with("769 of 1024 file descriptors are taken"), "{error}");
        assert!(check(895, 1024, KEPT_FROM_PROBES).is_ok());
        assert!(check(896, 1024, KEPT_FROM_PROBES).is_err());
        assert!(check(i32::MAX, libc::RLIM_INFINITY, KEPT_FROM_CONNECTIONS).is_ok());
    }

    #[test]
    fn the_limit_is_raised_to_what_this_process_may_have() {
        let raised = raise_limit().unwrap();
        assert!(raised.from <= raised.to);
        assert_eq!(limit().unwrap(), raised.to);
        assert_eq!(limits().unwrap().rlim_max, raised.to);
    }

    #[test]
    fn new_logs_have_room_where_descriptors_are_free() {
        let (free, room) = (super::super::free(), super::super::room_for_logs());
        assert!(0 < room && room <= free, "{room} of {free}");
        assert_eq!([20, 262, 263, 299].map(|taken| left_for_logs(taken, 300)), [243, 1, 0, 0]);
    }

    #[test]
    fn who_ran_out_is_told_of_the_limit() {
        let error = explain(io::Error::from_raw_os_error(libc::EMFILE)).to_string();
        assert!(error.contains(&format!("(ulimit -n) is {}", limit().unwrap())), "{error}");
        let other = explain(io::Error::from_raw_os_error(libc::EIO));
        assert_eq!(other.raw_os_error(), Some(libc::EIO));
    }
}
