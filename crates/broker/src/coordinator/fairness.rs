//! Deadlines and requests take turns: neither waits for more than a bounded number of the other. Pure.

/// When a due deadline is to be told, among the requests of a queue.
#[derive(Debug, Default)]
pub(super) struct Fairness {
    /// Once a deadline is due: the requests that came before, which are still to be heard.
    ahead: Option<usize>,
}

impl Fairness {
    /// Whether a deadline is to be told now, where `waiting` requests stand in the queue. Those that waited when the
    /// deadline was found due come first: a member whose heartbeat is among them is not late. Later ones come after, so
    /// that a busy queue delays no deadline.
    pub fn tells_deadline(&mut self, is_due: bool, waiting: usize) -> bool {
        if !is_due {
            self.ahead = None;
            return false;
        }
        *self.ahead.get_or_insert(waiting) == 0
    }

    /// A request was taken from the queue.
    pub fn heard(&mut self) {
        self.ahead = self.ahead.map(|ahead| ahead.saturating_sub(1));
    }

    /// The deadline was told; the next one lets requests go first again.
    pub fn told(&mut self) {
        self.ahead = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_that_is_never_empty_delays_a_deadline_by_what_came_before_it() {
        let mut fairness = Fairness::default();
        assert!(!fairness.tells_deadline(false, 5));
        for left in [3, 2, 1] {
            // As many come as are heard.
            assert!(!fairness.tells_deadline(true, 3), "{left} came before");
            fairness.heard();
        }
        assert!(fairness.tells_deadline(true, 3));
    }

    #[test]
    fn deadlines_that_are_always_due_let_the_queue_go_on() {
        let mut fairness = Fairness::default();
        assert!(fairness.tells_deadline(true, 0));
        fairness.told();
        assert!(!fairness.tells_deadline(true, 1), "one came since");
        fairness.heard();
        assert!(fairness.tells_deadline(true, 0));
    }

    #[test]
    fn a_deadline_that_a_request_has_moved_is_not_told() {
        let mut fairness = Fairness::default();
        assert!(!fairness.tells_deadline(true, 2));
        fairness.heard();
        assert!(!fairness.tells_deadline(false, 1));
        assert!(!fairness.tells_deadline(true, 4), "a later one waits for what is there then");
    }
}
