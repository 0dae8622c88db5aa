//! Work on several threads whose outcome does not depend on which of them was faster.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::Mutex;

/// The first of `count` items for which `test` holds. Those after one that was found are not begun.
pub fn first(jobs: usize, count: usize, test: impl Fn(usize) -> bool + Sync) -> Option<usize> {
    let (next, found) = (AtomicUsize::new(0), AtomicUsize::new(usize::MAX));
    std::thread::scope(|threads| {
        for _ in 0..jobs.min(count) {
            threads.spawn(|| loop {
                let item = next.fetch_add(1, Relaxed);
                if item >= count.min(found.load(Relaxed)) {
                    return;
                }
                if test(item) {
                    found.fetch_min(item, Relaxed);
                }
            });
        }
    });
    Some(found.into_inner()).filter(|found| *found < count)
}

/// What `work` makes of each item, in their order.
pub fn each<T: Send>(jobs: usize, count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, T)>> = Mutex::new(vec![]);
    std::thread::scope(|threads| {
        for _ in 0..jobs.min(count) {
            threads.spawn(|| loop {
                let item = next.fetch_add(1, Relaxed);
                if item >= count {
                    return;
                }
                let made = work(item);
                done.lock().expect("no holder panics").push((item, made));
            });
        }
    });
    let mut done = done.into_inner().expect("no holder panics");
    done.sort_by_key(|(item, _)| *item);
    done.into_iter().map(|(_, made)| made).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_holds_is_found_whoever_is_faster() {
        for jobs in 1..5 {
            let slow = |item: usize| {
                std::thread::sleep(std::time::Duration::from_millis(if item == 3 { 20 } else { 0 }));
                item == 3 || item > 5
            };
            assert_eq!(first(jobs, 20, slow), Some(3));
            assert_eq!(first(jobs, 3, |_| false), None);
            assert_eq!(first(jobs, 0, |_| true), None);
        }
    }

    #[test]
    fn what_was_made_is_in_the_order_of_the_items() {
        assert_eq!(each(3, 10, |item| item * 2), (0..10).map(|item| item * 2).collect::<Vec<_>>());
    }
}
