//! Which failures of reading a log an operator was told: clients ask for a place that cannot be read again and again.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use norn_log::ReadError;

/// Places that are remembered for one log. Past them new ones are not told one by one.
const PLACES_MAX: usize = 64;

/// The failures of one log that were logged.
#[derive(Debug, Default)]
pub(super) struct ReadFaults(Mutex<BTreeSet<String>>);

/// Whether a failure is worth a line in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum News {
    New,
    /// New, and the last one that is told.
    Last,
    Known,
}

impl ReadFaults {
    /// Notes a failure. Its text names the file and the place.
    pub fn note(&self, fault: &ReadError) -> News {
        let mut logged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.len() >= PLACES_MAX || !logged.insert(fault.to_string()) {
            return News::Known;
        }
        match logged.len() {
            PLACES_MAX => News::Last,
            _ => News::New,
        }
    }
}

#[cfg(test)]
mod tests {
    use norn_protocol::types::Offset;

    use super::*;

    #[test]
    fn each_place_is_news_once_and_very_many_are_not_told() {
        let faults = ReadFaults::default();
        let at = |position| ReadError::Corrupt {
            file: "0.log".to_owned(),
            position,
            first: Offset(1),
            next: Offset(2),
        };
        assert_eq!([7, 7, 8, 7].map(|position| faults.note(&at(position))), {
            [News::New, News::Known, News::New, News::Known]
        });
        let told: Vec<News> = (100..300).map(|position| faults.note(&at(position))).collect();
        assert_eq!(told.iter().filter(|news| **news == News::New).count(), PLACES_MAX - 3);
        assert_eq!(told.iter().filter(|news| **news == News::Last).count(), 1);
    }
}
