//! The content of a file: a length and pages, where a missing page is a hole that reads as zeros.
//!
//! Pages are shared between images until one of them is written, so that the cached and the durable view
//! of a file cost the memory of one, and a large preallocation costs nothing.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

pub(super) const PAGE: u64 = 4096;
/// What a disk writes as a whole, or, when the power goes, tears.
pub(super) const SECTOR: u64 = 512;

type Page = [u8; PAGE as usize];

#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    len: u64,
    pages: BTreeMap<u64, Arc<Page>>,
}

impl Image {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The bytes of the range, as far as the file reaches.
    pub(super) fn read(&self, pos: u64, len: usize) -> Vec<u8> {
        let len = self.len.saturating_sub(pos).min(len as u64);
        let mut bytes = vec![0; len as usize];
        for (page, within, at) in pieces(pos..pos + len) {
            if let Some(page) = self.pages.get(&page) {
                let piece = &page[within.start as usize..within.end as usize];
                bytes[at..at + piece.len()].copy_from_slice(piece);
            }
        }
        bytes
    }

    /// Writes; a gap behind the old end reads as zeros.
    pub(super) fn write(&mut self, pos: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = pos + bytes.len() as u64;
        for (page, within, at) in pieces(pos..end) {
            let page = Arc::make_mut(self.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE as usize])));
            let piece = &mut page[within.start as usize..within.end as usize];
            piece.copy_from_slice(&bytes[at..at + piece.len()]);
        }
        self.len = self.len.max(end);
    }

    /// Cuts off the tail or extends with zeros.
    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.pages.split_off(&len.div_ceil(PAGE));
            // What lay behind the end must read as zeros if the file grows again.
            if let Some(page) = self.pages.get_mut(&(len / PAGE)) {
                Arc::make_mut(page)[(len % PAGE) as usize..].fill(0);
            }
        }
        self.len = len;
    }

    /// Takes over the pages that the range touches from `other`, whole, as a disk is written from a page
    /// cache. The length is left to the caller.
    pub(super) fn take_pages(&mut self, other: &Image, range: Range<u64>) {
        for (index, _, _) in pieces(range) {
            match other.pages.get(&index) {
                Some(page) => self.pages.insert(index, page.clone()),
                None => self.pages.remove(&index),
            };
        }
    }

    pub(super) fn flip_bit(&mut self, pos: u64, bit: u8) {
        if pos < self.len {
            let flipped = self.read(pos, 1)[0] ^ (1 << (bit % 8));
            self.write(pos, &[flipped]);
        }
    }

    /// The number of pages at and behind `pos`.
    pub(super) fn pages_from(&self, pos: u64) -> u64 {
        self.pages.range(pos / PAGE..).count() as u64
    }

    /// The number of pages that a write to the range would add.
    pub(super) fn holes(&self, range: Range<u64>) -> u64 {
        pieces(range).filter(|(index, _, _)| !self.pages.contains_key(index)).count() as u64
    }
}

/// The pages of a byte range: (index, range within the page, position within the byte range).
fn pieces(range: Range<u64>) -> impl Iterator<Item = (u64, Range<u64>, usize)> {
    split(range, PAGE)
}

/// The sectors of a byte range, as [`pieces`].
pub(super) fn sectors(range: Range<u64>) -> impl Iterator<Item = (u64, Range<u64>, usize)> {
    split(range, SECTOR)
}

fn split(range: Range<u64>, unit: u64) -> impl Iterator<Item = (u64, Range<u64>, usize)> {
    let indexes = if range.is_empty() { 0..0 } else { range.start / unit..range.end.div_ceil(unit) };
    indexes.map(move |index| {
        let base = index * unit;
        let start = range.start.max(base);
        let end = range.end.min(base + unit);
        (index, start - base..end - base, (start - range.start) as usize)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_and_regrown_tails_read_as_zeros() {
        let mut image = Image::default();
        image.write(5000, b"abc");
        assert_eq!(image.len(), 5003);
        assert_eq!(image.read(4998, 100), b"\0\0abc");
        image.set_len(5001);
        image.set_len(5004);
        assert_eq!(image.read(5000, 100), b"a\0\0\0");
        image.set_len(1 << 40);
        assert_eq!(image.pages_from(0), 1);
        assert_eq!(image.holes(4095..8193), 2);
        assert_eq!(image.read((1 << 40) - 2, 100), [0, 0]);
    }

    #[test]
    fn taken_pages_do_not_follow_later_writes() {
        let mut cache = Image::default();
        let mut durable = Image::default();
        cache.write(0, b"one");
        durable.set_len(3);
        durable.take_pages(&cache, 0..3);
        cache.write(0, b"two");
        assert_eq!(durable.read(0, 3), b"one");
    }

    #[test]
    fn a_range_is_cut_at_sector_borders() {
        let cut: Vec<_> = sectors(510..1025).collect();
        assert_eq!(cut, [(0, 510..512, 0), (1, 0..512, 2), (2, 0..1, 514)]);
        assert_eq!(sectors(512..512).count(), 0);
    }
}
