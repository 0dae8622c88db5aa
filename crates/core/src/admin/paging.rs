//! Pages of DescribeTopicPartitions (KIP-966): Kafka's `KRaftMetadataCache.describeTopicResponse`.

use std::ops::Range;

/// Partitions in one page at most: the default of Kafka's `max.request.partition.size.limit`.
pub const PARTITIONS_PER_PAGE_MAX: usize = 2000;

/// Fills one page with topics in the order of their names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pager {
    /// Where the page begins.
    from: Option<(String, usize)>,
    remaining: usize,
    next: Option<(String, usize)>,
}

impl Pager {
    /// A page of so many partitions as the client wants and is given at most, from its cursor on.
    pub fn new(from: Option<(String, usize)>, limit: i32) -> Pager {
        let limit = usize::try_from(limit).unwrap_or(0);
        Pager { from, remaining: limit.clamp(1, PARTITIONS_PER_PAGE_MAX), next: None }
    }

    /// Whether there is room for another topic; else the next page begins with this one.
    pub fn begin(&mut self, topic: &str) -> bool {
        if self.remaining == 0 && self.next.is_none() {
            self.next = Some((topic.to_owned(), 0));
        }
        self.next.is_none()
    }

    /// Which of a topic's partitions are on the page. Where not all are, the next page goes on with the topic.
    pub fn take(&mut self, topic: &str, partitions: usize) -> Range<usize> {
        let from = self.from.as_ref().filter(|(name, _)| name == topic);
        let start = from.map_or(0, |(_, index)| *index).min(partitions);
        let end = partitions.min(start.saturating_add(self.remaining));
        self.remaining -= end - start;
        if end < partitions {
            self.next = Some((topic.to_owned(), end));
        }
        start..end
    }

    /// Where the next page begins, if this is not the last.
    pub fn next(self) -> Option<(String, usize)> {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All pages over these topics.
    fn pages(topics: &[(&str, usize)], limit: i32) -> Vec<Vec<(String, Range<usize>)>> {
        let (mut pages, mut from) = (vec![], None::<(String, usize)>);
        loop {
            let mut pager = Pager::new(from.clone(), limit);
            let mut page = vec![];
            for (name, partitions) in topics {
                if from.as_ref().is_some_and(|(first, _)| *name < first.as_str()) {
                    continue;
                }
                if !pager.begin(name) {
                    break;
                }
                page.push(((*name).to_owned(), pager.take(name, *partitions)));
            }
            pages.push(page);
            from = pager.next();
            if from.is_none() {
                return pages;
            }
        }
    }

    #[test]
    fn pages_go_on_where_the_last_one_ended() {
        let page = |parts: &[(&str, Range<usize>)]| {
            parts.iter().map(|(name, range)| ((*name).to_owned(), range.clone())).collect::<Vec<_>>()
        };
        assert_eq!(
            pages(&[("a", 3), ("b", 2), ("c", 1)], 2),
            [page(&[("a", 0..2)]), page(&[("a", 2..3), ("b", 0..1)]), page(&[("b", 1..2), ("c", 0..1)]),]
        );
        // A full page names the next topic, though that may not exist.
        assert_eq!(pages(&[("a", 2), ("b", 2)], 2), [page(&[("a", 0..2)]), page(&[("b", 0..2)])]);
        assert_eq!(pages(&[("a", 2)], 2), [page(&[("a", 0..2)])]);
    }

    #[test]
    fn a_page_has_one_partition_at_least_and_a_bound() {
        for limit in [0, -1, 1] {
            assert_eq!(Pager::new(None, limit).take("a", 5), 0..1);
        }
        assert_eq!(Pager::new(None, i32::MAX).take("a", 10_000), 0..PARTITIONS_PER_PAGE_MAX);
    }

    #[test]
    fn a_cursor_behind_the_last_partition_shows_none_of_them() {
        let mut pager = Pager::new(Some(("a".to_owned(), 9)), 10);
        assert!(pager.begin("a"));
        assert!(pager.take("a", 3).is_empty());
        assert_eq!(pager.next(), None);
    }
}
