//! The functions of the tree that this was built from, by file and line.

include!(concat!(env!("OUT_DIR"), "/functions.rs"));

/// The full name of the function around a place such as `crates/log/src/lib.rs:7:1`.
pub fn function_at(place: &str) -> Option<&'static str> {
    let mut parts = place.split(':');
    let (file, line) = (parts.next()?, parts.next()?.parse::<u32>().ok()?);
    let known = FUNCTIONS.binary_search_by_key(&file, |(path, _)| *path).ok()?;
    let functions = FUNCTIONS[known].1;
    let after = functions.partition_point(|(begins, _)| *begins <= line);
    functions.get(after.checked_sub(1)?).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use super::*;

    struct Here;

    impl Here {
        async fn place() -> String {
            // In what the line tables call `{closure#0}` of `{async_fn#0}`.
            let place = || format!("{}:{}:9", file!(), line!());
            place()
        }
    }

    #[test]
    fn places_are_in_functions_also_if_these_are_futures() {
        let waker = std::task::Waker::noop();
        let place = std::pin::pin!(Here::place()).poll(&mut std::task::Context::from_waker(waker));
        let std::task::Poll::Ready(place) = place else { panic!("it waits for nothing") };
        assert_eq!(function_at(&place), Some("norn_sim::functions::tests::place"));
        assert_eq!(function_at("sim/src/functions.rs:1:1"), None);
        assert_eq!(function_at("sim/src/nothing.rs:1:1"), None);
        let at = |line: u32| function_at(&format!("sim/src/report.rs:{line}:1"));
        assert!((1..400).filter_map(at).any(|name| name == "norn_sim::report::Report::line"));
    }
}
