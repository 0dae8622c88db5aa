//! Delta debugging (Zeller, Hildebrandt: "Simplifying and Isolating Failure-Inducing Input", 2002).

/// The items of `0..count` that are left when as many as possible were struck. `first_failing` is asked with several
/// sets of items to keep, and says which of them is the first that still fails, if any does.
///
/// Of what is left no single item can be struck, provided that `first_failing` gives one set one answer.
pub fn minimise(count: usize, mut first_failing: impl FnMut(&[Vec<usize>]) -> Option<usize>) -> Vec<usize> {
    let mut kept: Vec<usize> = (0..count).collect();
    if count == 0 || first_failing(&[vec![]]).is_some() {
        return vec![];
    }
    let mut parts = 2;
    while kept.len() >= 2 {
        parts = parts.min(kept.len());
        let candidates = without_each_part(&kept, parts);
        match first_failing(&candidates) {
            Some(found) => {
                kept.clone_from(&candidates[found]);
                parts = (parts - 1).max(2);
            }
            None if parts == kept.len() => break,
            None => parts *= 2,
        }
    }
    kept
}

/// `items` without the first part, without the second and so on. The parts are as equal as can be.
fn without_each_part(items: &[usize], parts: usize) -> Vec<Vec<usize>> {
    let edge = |part: usize| part * items.len() / parts;
    (0..parts).map(|part| [&items[..edge(part)], &items[edge(part + 1)..]].concat()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of `count` items if those sets fail in which `fails` holds, and how many sets were tried.
    fn left(count: usize, fails: impl Fn(&[usize]) -> bool) -> (Vec<usize>, usize) {
        let mut tried = 0;
        let kept = minimise(count, |candidates| {
            tried += candidates.len();
            candidates.iter().position(|kept| fails(kept))
        });
        (kept, tried)
    }

    #[test]
    fn what_the_failure_needs_is_left_and_nothing_else() {
        for needed in [vec![0], vec![99], vec![3, 77], vec![10, 11, 12, 50, 98]] {
            let (kept, tried) = left(100, |kept| needed.iter().all(|item| kept.contains(item)));
            assert_eq!(kept, needed);
            assert!(tried < 250, "{tried} sets were tried for {needed:?}");
        }
        assert_eq!(left(100, |_| true), (vec![], 1));
        assert_eq!(left(0, |_| true), (vec![], 0));
        assert_eq!(left(1, |kept| kept.len() == 1), (vec![0], 1));
    }

    #[test]
    fn no_single_item_of_what_is_left_can_be_struck() {
        // Any three of those that can be divided by 7, in whatever company.
        let fails = |kept: &[usize]| kept.iter().filter(|item| *item % 7 == 0).count() >= 3;
        let (kept, _) = left(60, fails);
        assert_eq!(kept.len(), 3);
        assert!(fails(&kept));
    }

    #[test]
    fn what_fails_no_more_at_all_stays_whole() {
        assert_eq!(left(9, |_| false).0, (0..9).collect::<Vec<_>>());
    }
}
