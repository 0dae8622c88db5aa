//! The operating system's calls that `std::fs` lacks. They go through libc's functions as those beneath `std::fs` do, never
//! raw system calls, so that a preloaded library can watch or fail them.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use bytes::{Buf, Bytes};

use super::Space;

/// Most buffers in one call (`IOV_MAX` of Linux).
const BUFFERS_MAX: usize = 1024;
/// Bytes that are read at a time where only the page cache is to have them.
const TOUCHED_AT_ONCE: usize = 64 << 10;

fn off_t(pos: u64) -> io::Result<libc::off_t> {
    libc::off_t::try_from(pos).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

/// Repeats a call that a signal interrupted; negative results become errors.
fn retry<N: TryInto<usize>>(mut call: impl FnMut() -> N) -> io::Result<usize> {
    loop {
        if let Ok(done) = call().try_into() {
            return Ok(done);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

pub(super) fn write_all(file: &fs::File, pos: u64, bufs: Vec<Bytes>) -> io::Result<()> {
    let mut pos = pos;
    let mut bufs = std::collections::VecDeque::from(bufs);
    bufs.retain(|buf| !buf.is_empty());
    while !bufs.is_empty() {
        let slices: Vec<libc::iovec> = bufs
            .iter()
            .take(BUFFERS_MAX)
            .map(|buf| libc::iovec { iov_base: buf.as_ptr().cast_mut().cast(), iov_len: buf.len() })
            .collect();
        let at = off_t(pos)?;
        // SAFETY: the slices point into `bufs`, which outlives the call; the kernel only reads them.
        let mut done =
            retry(|| unsafe { libc::pwritev(file.as_raw_fd(), slices.as_ptr(), slices.len() as i32, at) })?;
        if done == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        pos += done as u64;
        while done > 0 {
            let step = done.min(bufs[0].len());
            bufs[0].advance(step);
            done -= step;
            if bufs[0].is_empty() {
                bufs.pop_front();
            }
        }
    }
    Ok(())
}

/// Appends up to `want` bytes, found at `pos` plus what `bytes` already holds, and returns their number.
pub(super) fn pread(file: &fs::File, bytes: &mut Vec<u8>, want: usize, pos: u64) -> io::Result<usize> {
    let at = off_t(pos.saturating_add(bytes.len() as u64))?;
    bytes.reserve(want);
    let spare = bytes.spare_capacity_mut().as_mut_ptr();
    // SAFETY: `want` bytes are reserved behind the initialised ones.
    let done = retry(|| unsafe { libc::pread(file.as_raw_fd(), spare.cast(), want, at) })?;
    // SAFETY: the kernel has initialised that many of them.
    unsafe { bytes.set_len(bytes.len() + done) };
    Ok(done)
}

/// Reads the range, up to the end of the file, for the page cache to have it.
pub(super) fn touch(file: &fs::File, mut pos: u64, len: u64) -> io::Result<()> {
    let end = pos + len;
    let mut scratch = Vec::with_capacity(TOUCHED_AT_ONCE);
    while pos < end {
        scratch.clear();
        match pread(file, &mut scratch, TOUCHED_AT_ONCE.min((end - pos) as usize), pos)? {
            0 => break,
            read => pos += read as u64,
        }
    }
    Ok(())
}

/// As [`pread`], but `EAGAIN` instead of waiting for the device.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(super) fn pread_nowait(file: &fs::File, bytes: &mut Vec<u8>, want: usize, pos: u64) -> io::Result<usize> {
    let at = off_t(pos.saturating_add(bytes.len() as u64))?;
    bytes.reserve(want);
    let slice = libc::iovec { iov_base: bytes.spare_capacity_mut().as_mut_ptr().cast(), iov_len: want };
    // SAFETY: `want` bytes are reserved behind the initialised ones.
    let done = retry(|| unsafe { libc::preadv2(file.as_raw_fd(), &slice, 1, at, libc::RWF_NOWAIT) })?;
    // SAFETY: the kernel has initialised that many of them.
    unsafe { bytes.set_len(bytes.len() + done) };
    Ok(done)
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) fn pread_nowait(_: &fs::File, _: &mut Vec<u8>, _: usize, _: u64) -> io::Result<usize> {
    Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP))
}

pub(super) fn allocate(file: &fs::File, len: u64) -> io::Result<()> {
    if len == 0 {
        return Ok(());
    }
    #[cfg(target_os = "linux")]
    {
        let len = off_t(len)?;
        // SAFETY: a call without pointers.
        let allocated = retry(|| unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, len) });
        match allocated.map_err(|error| (error.raw_os_error(), error)) {
            Err((Some(libc::EOPNOTSUPP | libc::ENOSYS), _)) => {}
            Err((_, error)) => return Err(error),
            Ok(_) => return Ok(()),
        }
    }
    // A file system that cannot reserve: at least the length is the same everywhere.
    match file.metadata()?.len() < len {
        true => file.set_len(len),
        false => Ok(()),
    }
}

pub(super) fn space(root: &Path) -> io::Result<Space> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(root.as_os_str().as_bytes())?;
    let mut stat = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: a terminated path and a place for the result.
    retry(|| unsafe { libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) })?;
    // SAFETY: statvfs succeeded; besides, zeros are a valid value.
    let stat = unsafe { stat.assume_init() };
    #[allow(clippy::unnecessary_cast)] // The types differ between platforms.
    let bytes = |blocks: libc::fsblkcnt_t| (blocks as u64).saturating_mul(stat.f_frsize as u64);
    Ok(Space { total: bytes(stat.f_blocks), usable: bytes(stat.f_bavail) })
}
