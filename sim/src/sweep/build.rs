//! Which build of the simulator a result is of: one commit has many, with changes and with mutants.

use std::fs;
use std::io;
use std::path::Path;

use super::child::MUTANT_VAR;

/// The hash of the binary, and the mutant that it runs with.
pub fn id(exe: &Path) -> io::Result<String> {
    let hash = hash(&fs::read(exe)?);
    Ok(match std::env::var(MUTANT_VAR) {
        Ok(mutant) if !mutant.is_empty() => format!("{hash:016x} {mutant}"),
        _ => format!("{hash:016x}"),
    })
}

/// Eight bytes at a time: each step is a bijection of the state (the multiplier is odd).
fn hash(bytes: &[u8]) -> u64 {
    bytes.chunks(8).fold(bytes.len() as u64, |hash, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        (hash.rotate_left(23) ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_differ_by_any_byte() {
        let bytes: Vec<u8> = (0..100).collect();
        let mut other = bytes.clone();
        other[50] ^= 1;
        assert_eq!(hash(&bytes), hash(&bytes.clone()));
        assert_ne!(hash(&bytes), hash(&other));
        assert_ne!(hash(&bytes), hash(&bytes[..99]));
        assert_ne!(hash(&[0; 8]), hash(&[0; 16]));
    }
}
