//! Takes libc's `syscall` in simulation binaries, for the entropy that madsim misses.
//!
//! getrandom 0.2 (so rand 0.8, so raft-rs's election timeouts) asks for `syscall(SYS_getrandom)`; madsim
//! replaces only libc's `getrandom`. Here the first becomes the second. Holds on x86_64 and aarch64 Linux,
//! where a variadic call passes integers as a fixed one does.

use libc::{c_int, c_long, c_void};

type SyscallFn = unsafe extern "C" fn(c_long, c_long, c_long, c_long, c_long, c_long, c_long) -> c_long;

fn next_syscall() -> SyscallFn {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let mut next = NEXT.load(Relaxed);
    if next == 0 {
        // SAFETY: the name is a C string; RTLD_NEXT looks behind this binary.
        next = unsafe { libc::dlsym(libc::RTLD_NEXT, c"syscall".as_ptr()) } as usize;
        assert!(next != 0, "libc has syscall");
        NEXT.store(next, Relaxed);
    }
    // SAFETY: libc's `syscall`, see the module doc for its arguments.
    unsafe { std::mem::transmute::<usize, SyscallFn>(next) }
}

/// libc's `syscall`, except that random bytes come from libc's `getrandom`, which madsim replaces.
///
/// # Safety
/// As libc's.
#[no_mangle]
pub unsafe extern "C" fn syscall(
    number: c_long,
    a: c_long,
    b: c_long,
    c: c_long,
    d: c_long,
    e: c_long,
    f: c_long,
) -> c_long {
    if number == libc::SYS_getrandom {
        return libc::getrandom(a as *mut c_void, b as usize, c as u32) as c_long;
    }
    next_syscall()(number, a, b, c, d, e, f)
}

/// Keeps this module in the binary that calls it.
#[inline(never)]
pub fn keep() -> c_int {
    // SAFETY: getpid takes nothing.
    unsafe { syscall(libc::SYS_getpid, 0, 0, 0, 0, 0, 0) as c_int }
}
