//! `permits-whole`: once nobody asks for anything any more, all that requests and responses took of the broker's budgets is
//! given back.

use super::context::CheckContext;
use super::event::Event;
use super::log::Log;

pub fn check(log: &Log<'_>, _: &CheckContext) -> Vec<String> {
    let mut found = vec![];
    for event in log.events {
        let Event::Permits { broker, taken, at } = event else { continue };
        if taken.is_empty() {
            found.push(format!("broker {broker} tells nothing of its budgets"));
        }
        let left = taken.iter().filter(|(_, bytes)| *bytes != 0);
        found.extend(left.map(|(budget, bytes)| {
            let at = at.as_secs_f64();
            format!("broker {broker}: {bytes} bytes of {budget} are taken at {at:.3} s, when all is idle")
        }));
    }
    found
}

/// What is taken of each budget, by a broker's metrics.
pub fn taken(metrics: &str) -> Vec<(String, i64)> {
    let lines = metrics.lines().filter_map(|line| line.strip_prefix("norn_budget_used_bytes{"));
    let parsed = lines.filter_map(|line| {
        let (labels, value) = line.rsplit_once("} ")?;
        Some((labels.to_owned(), value.trim().parse().ok()?))
    });
    parsed.collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn what_is_not_given_back_is_found() {
        let permits = |bytes| {
            let taken = vec![("class=\"requests\"".to_owned(), bytes), ("class=\"data\"".to_owned(), 0)];
            Event::Permits { broker: 0, taken, at: secs(1) }
        };
        assert!(check(&Log::of(&[permits(0)]), &ctx()).is_empty());
        assert_eq!(check(&Log::of(&[permits(7)]), &ctx()).len(), 1);
        let none = Event::Permits { broker: 0, taken: vec![], at: secs(1) };
        assert_eq!(check(&Log::of(&[none]), &ctx()).len(), 1);
        // Given back twice.
        assert_eq!(check(&Log::of(&[permits(-7)]), &ctx()).len(), 1);
    }

    #[test]
    fn budgets_are_found_among_the_metrics() {
        let metrics = "# TYPE norn_budget_used_bytes gauge\n\
            norn_budget_used_bytes{class=\"data\",log_directory=\"/data/0\"} 12\n\
            norn_budget_bytes{class=\"data\",log_directory=\"/data/0\"} 99\n";
        assert_eq!(taken(metrics), [("class=\"data\",log_directory=\"/data/0\"".to_owned(), 12)]);
    }
}
