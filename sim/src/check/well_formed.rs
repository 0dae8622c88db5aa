//! `well-formed`: what comes on a connection is the answer to what was asked next, and decodes in its version.

use super::context::CheckContext;
use super::event::Event;
use super::log::Log;

pub fn check(log: &Log<'_>, _: &CheckContext) -> Vec<String> {
    let malformed = |event: &Event| match event {
        Event::Malformed { client, detail, at } => {
            Some(format!("client {client} at {:.3} s: {detail}", at.as_secs_f64()))
        }
        _ => None,
    };
    log.events.iter().filter_map(malformed).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn an_answer_that_is_none_is_found() {
        let events =
            [Event::Malformed { client: 1, detail: "correlation 3 after 1".to_owned(), at: secs(1) }];
        assert_eq!(check(&Log::of(&events), &ctx()).len(), 1);
        assert!(check(&Log::of(&[]), &ctx()).is_empty());
    }
}
