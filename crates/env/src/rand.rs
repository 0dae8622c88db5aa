//! Random numbers: the operating system's in production, the node's stream of the seed in simulation.
//!
//! For identifiers and jitter. Each call asks the kernel; nothing here is for hot paths.

/// Fills `buf` with random bytes.
pub fn fill(buf: &mut [u8]) {
    #[cfg(madsim)]
    crate::sim::world().random_of(crate::sim::node::current()).fill(buf);
    #[cfg(not(madsim))]
    {
        let mut filled = 0;
        while filled < buf.len() {
            let rest = &mut buf[filled..];
            // SAFETY: the pointer and the length are of one slice.
            let n = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
            if n < 0 {
                let error = std::io::Error::last_os_error();
                assert!(error.kind() == std::io::ErrorKind::Interrupted, "getrandom(2) failed: {error}");
            }
            filled += usize::try_from(n).unwrap_or(0);
        }
    }
}

/// 64 random bits.
pub fn u64() -> u64 {
    let mut bytes = [0; 8];
    fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// A number below `n`, which must not be 0. The bias is below n in 2^64.
pub fn below(n: u64) -> u64 {
    assert!(n > 0, "nothing is below 0");
    ((u128::from(u64()) * u128::from(n)) >> 64) as u64
}

/// A random (version 4) UUID.
pub fn uuid_bytes() -> [u8; 16] {
    let mut bytes = [0; 16];
    fill(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::testing::run;

    #[test]
    fn numbers_differ_and_stay_below() {
        run(|| async {
            let numbers: BTreeSet<u64> = (0..100).map(|_| super::u64()).collect();
            assert_eq!(numbers.len(), 100);
            assert!((0..1000).all(|_| super::below(3) < 3));
            assert_eq!(super::below(1), 0);
            let mut long = [0; 1000];
            super::fill(&mut long);
            assert!(long[990..].iter().any(|b| *b != 0));
        });
    }

    #[test]
    fn a_uuid_has_its_version_and_variant() {
        run(|| async {
            let bytes = super::uuid_bytes();
            assert_eq!((bytes[6] >> 4, bytes[8] >> 6), (4, 2));
            assert_ne!(bytes, super::uuid_bytes());
        });
    }
}
