//! What a tape from a file must not be: one that says more than a run would do.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Tape;

/// The paths of all fields in `json` that `tape`, which was read from it, does not have.
pub fn unknown_fields(json: &Value, tape: &Tape) -> Vec<String> {
    let mut unknown = vec![];
    // What was read is what is written again: of a field that nobody reads nothing is left.
    if let Ok(read) = serde_json::to_value(tape) {
        compare(json, &read, "", &mut unknown);
    }
    unknown
}

fn compare(json: &Value, read: &Value, at: &str, unknown: &mut Vec<String>) {
    match (json, read) {
        (Value::Object(json), Value::Object(read)) => {
            for (name, value) in json {
                let at = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                match read.get(name) {
                    Some(read) => compare(value, read, &at, unknown),
                    None => unknown.push(format!("unknown field {at}")),
                }
            }
        }
        (Value::Array(json), Value::Array(read)) => {
            for (i, (json, read)) in json.iter().zip(read).enumerate() {
                compare(json, read, &format!("{at}[{i}]"), unknown);
            }
        }
        _ => {}
    }
}

impl Tape {
    /// Why it cannot be executed as it is written: numbers of brokers, directories, clients or topics that it does not
    /// have, names that are there twice, faults out of their order.
    pub fn contradictions(&self) -> Vec<String> {
        let mut found = self.of_faults();
        let mut numbers = BTreeSet::new();
        let topics = &self.clients.topics;
        for (i, client) in self.clients.clients.iter().enumerate() {
            let at = format!("clients.clients[{i}]");
            if !numbers.insert(client.number) {
                found.push(format!("{at}: another client has the number {}", client.number));
            }
            let missing = client.role.topics().into_iter().filter(|topic| *topic >= topics.len());
            found.extend(missing.map(|topic| format!("{at}: there is no topic {topic}")));
        }
        let mut names = BTreeSet::new();
        let doubled = topics.iter().filter(|topic| !names.insert(&topic.name));
        found.extend(doubled.map(|topic| format!("clients.topics: {} is there twice", topic.name)));
        if self.world.brokers.is_empty() {
            found.push("world.brokers: there is none".to_owned());
        }
        found
    }

    fn of_faults(&self) -> Vec<String> {
        let mut found = vec![];
        let clients: BTreeSet<usize> = self.clients.clients.iter().map(|client| client.number).collect();
        let mut before = 0;
        for (i, timed) in self.faults.iter().enumerate() {
            let at = format!("faults[{i}]");
            let brokers = &self.world.brokers;
            match timed.fault.broker() {
                Some(broker) if broker >= brokers.len() => {
                    found.push(format!("{at}: there is no broker {broker}"));
                }
                Some(broker) => {
                    let dirs =
                        brokers[broker].config.get("log.dirs").map_or(0, |dirs| dirs.split(',').count());
                    let missing = timed.fault.dir().filter(|dir| *dir >= dirs);
                    found.extend(missing.map(|dir| format!("{at}: the broker has no data directory {dir}")));
                }
                None => {}
            }
            let missing = timed.fault.client().filter(|client| !clients.contains(client));
            found.extend(missing.map(|client| format!("{at}: there is no client {client}")));
            if timed.at_ms < before {
                found.push(format!("{at}: it strikes before the one ahead of it"));
            }
            if timed.at_ms >= self.world.phases.chaos_ms {
                found.push(format!("{at}: it strikes after the end of chaos"));
            }
            before = timed.at_ms;
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::Fault;
    use crate::tape::{TapeError, Timed};

    fn told(tape: &Tape, change: impl Fn(&mut Value)) -> Vec<String> {
        let mut json = serde_json::to_value(tape).unwrap();
        change(&mut json);
        match Tape::of_json(json, "t") {
            Ok(_) => vec![],
            Err(TapeError::Invalid { what, .. }) => what,
            Err(other) => vec![other.to_string()],
        }
    }

    #[test]
    fn what_a_seed_draws_can_be_executed() {
        for seed in 0..300 {
            assert_eq!(told(&Tape::draw(seed), |_| {}), [""; 0], "seed {seed}");
        }
    }

    #[test]
    fn fields_that_no_tape_has_are_told_with_their_paths() {
        let tape = Tape::draw(1);
        assert_eq!(told(&tape, |json| json["sede"] = 1.into()), ["unknown field sede"]);
        let nested = |json: &mut Value| {
            json["faults"][0]["dwon_ms"] = 1.into();
            json["clients"]["clients"][1]["thnik_ms"] = 1.into();
            json["world"]["brokers"][0]["disk"]["slwo"] = 1.into();
        };
        let paths = ["clients.clients[1].thnik_ms", "faults[0].dwon_ms", "world.brokers[0].disk.slwo"];
        assert_eq!(told(&tape, nested), paths.map(|path| format!("unknown field {path}")));
    }

    #[test]
    fn numbers_of_what_is_not_there_are_told() {
        let mut tape = Tape::draw(1);
        let fault = |at_ms, fault| Timed { at_ms, fault };
        tape.faults = vec![
            fault(5, Fault::Restart { broker: 7 }),
            fault(4, Fault::ClientCrash { client: 99, down_ms: 1 }),
            fault(6, Fault::DiskStall { broker: 0, dir: Some(9), for_ms: 1 }),
            fault(u64::MAX, Fault::LinkReset { broker: 0, client: None }),
        ];
        tape.clients.clients[1].number = 0;
        tape.clients.topics.clear();
        let told = told(&tape, |_| {});
        for what in [
            "faults[0]: there is no broker 7",
            "faults[1]: there is no client 99",
            "faults[1]: it strikes before the one ahead of it",
            "faults[2]: the broker has no data directory 9",
            "faults[3]: it strikes after the end of chaos",
            "clients.clients[1]: another client has the number 0",
            "clients.clients[0]: there is no topic 0",
        ] {
            assert!(told.iter().any(|line| line == what), "{what} is not in {told:#?}");
        }
    }
}
