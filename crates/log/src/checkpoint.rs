//! Small files that are replaced as a whole: written beside the old one, synced, renamed over it, and the
//! directory synced, so that after a crash one of the two is there. The last four bytes are a CRC-32C of the
//! rest, since a file at rest can rot.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use norn_env::disk::{Disk, Open};

/// What [`read`] found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Missing,
    /// Not what was written: too short, or the CRC differs.
    Corrupt,
    Body(Bytes),
}

/// The suffix of a file that is being written; what has it after a crash is removed.
pub(crate) const UNFINISHED: &str = ".tmp";

/// Replaces `dir/name`, durably.
pub(crate) async fn write(disk: &Disk, dir: &str, name: &str, body: &[u8]) -> io::Result<()> {
    write_plain(disk, dir, name, &seal(body)).await
}

/// Replaces `dir/name` by exactly these bytes, durably.
pub(crate) async fn write_plain(disk: &Disk, dir: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
    let path = format!("{dir}/{name}");
    let unfinished = format!("{path}{UNFINISHED}");
    let file = disk.open_file(&unfinished, Open::Create).await?;
    file.truncate(0).await?;
    file.write_at(0, vec![Bytes::copy_from_slice(bytes)]).await?;
    file.sync_data().await?;
    // Syncing the directory takes a descriptor: all logs that are closed at once would hold one and wait for another.
    drop(file);
    disk.rename(&unfinished, &path).await?;
    disk.sync_dir(dir).await
}

/// Reads a file that [`write`] made.
pub(crate) async fn read(disk: &Disk, dir: &str, name: &str) -> io::Result<Found> {
    let file = match disk.open_file(&format!("{dir}/{name}"), Open::Read).await {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Found::Missing),
        Err(e) => return Err(e),
    };
    let len = file.len().await?;
    let bytes = file.read_at(0, usize::try_from(len).map_err(io::Error::other)?).await?;
    Ok(unseal(bytes).map_or(Found::Corrupt, Found::Body))
}

fn seal(body: &[u8]) -> Bytes {
    let mut sealed = BytesMut::with_capacity(body.len() + 4);
    sealed.put_slice(body);
    sealed.put_u32(crc32c::crc32c(body));
    sealed.freeze()
}

fn unseal(mut sealed: Bytes) -> Option<Bytes> {
    let body_len = sealed.len().checked_sub(4)?;
    let crc = sealed.split_off(body_len);
    (crc32c::crc32c(&sealed).to_be_bytes() == crc[..]).then_some(sealed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_is_noticed() {
        let sealed = seal(b"0\n1\n3 17\n");
        assert_eq!(unseal(sealed.clone()).as_deref(), Some(&b"0\n1\n3 17\n"[..]));
        for bit in 0..sealed.len() * 8 {
            let mut bytes = sealed.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(unseal(bytes.into()), None);
        }
        assert_eq!(unseal(Bytes::from_static(b"abc")), None);
        assert_eq!(unseal(Bytes::new()), None);
    }
}
