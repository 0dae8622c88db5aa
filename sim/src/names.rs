//! What the clients are called that the plan does not have.

/// The one that reads everything back at the end.
const FINAL_READER: u32 = u32::MAX;
/// The one that creates the topics of the plan.
const SETUP: u32 = u32::MAX - 1;

/// The name of a client by its number in the history.
pub fn client(number: u32) -> String {
    match number {
        FINAL_READER => "the final reader".to_owned(),
        SETUP => "the client that creates the topics".to_owned(),
        number => format!("client {number}"),
    }
}

/// `text` with the names of clients in the place of numbers that no plan has.
pub fn named(text: &str) -> String {
    [FINAL_READER, SETUP]
        .into_iter()
        .fold(text.to_owned(), |text, number| text.replace(&format!("client {number}"), &client(number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_outside_of_the_plan_have_names() {
        let told = "t0-1: client 4294967295 got offset 3, client 4294967294 made it, client 12 did not";
        let named = named(told);
        assert_eq!(
            named,
            "t0-1: the final reader got offset 3, the client that creates the topics made it, client 12 did not"
        );
    }
}
