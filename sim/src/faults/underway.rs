//! What the faults under way do: of those that overlap at one place the strongest holds, and with the last of them its
//! place is as the world has it.

use std::collections::BTreeMap;

/// Where a fault holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// A broker's disk is slower.
    Disk(u64),
    /// The way from a node to another is slower.
    Slow(u64, u64),
    /// It loses pieces.
    Loss(u64, u64),
    /// It is cut.
    Cut(u64, u64),
    /// A process, by its broker and its number among the processes there, does not run.
    Paused(u64, u64),
}

/// The faults under way, each with its strength.
#[derive(Debug, Default)]
pub(super) struct Underway(BTreeMap<Place, Vec<u32>>);

impl Underway {
    /// What holds at `place` from now on.
    pub(super) fn begin(&mut self, place: Place, strength: u32) -> Option<u32> {
        self.0.entry(place).or_default().push(strength);
        self.at(place)
    }

    /// Ends one of this strength. What holds at `place` from now on, if anything.
    pub(super) fn end(&mut self, place: Place, strength: u32) -> Option<u32> {
        let all = self.0.entry(place).or_default();
        if let Some(one) = all.iter().position(|other| *other == strength) {
            all.swap_remove(one);
        }
        self.at(place)
    }

    fn at(&self, place: Place) -> Option<u32> {
        self.0.get(&place)?.iter().max().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_faults_that_overlap_the_strongest_holds_until_its_own_end() {
        let mut underway = Underway::default();
        let place = Place::Slow(1, 2);
        assert_eq!(underway.begin(place, 100), Some(100));
        assert_eq!(underway.begin(place, 2), Some(100));
        assert_eq!(underway.begin(Place::Slow(2, 1), 7), Some(7));
        assert_eq!(underway.begin(place, 100), Some(100));
        assert_eq!(underway.end(place, 2), Some(100));
        assert_eq!(underway.end(place, 100), Some(100));
        assert_eq!(underway.end(place, 100), None);
        assert_eq!(underway.begin(place, 3), Some(3));
    }
}
