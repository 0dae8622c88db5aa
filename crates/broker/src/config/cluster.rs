//! Who this node is and where it listens: node id, roles, voters and listeners, which Kafka spreads over ten
//! names that must agree.

use norn_core::metadata::list;

use super::error::{ConfigError, Warning};
use super::layers::{Stated, Values};
use super::listener::{self, Listener, Written};
use super::source::Source;

/// The stated value of `name`, or its default as if stated there.
fn at(values: &Values, name: &str) -> Stated {
    values.stated(name).cloned().unwrap_or_else(|| Stated {
        value: values.value(name).unwrap_or_default().to_owned(),
        source: Source::Default,
    })
}

fn invalid(values: &Values, name: &str, allowed: impl Into<String>) -> ConfigError {
    let Stated { value, source } = at(values, name);
    ConfigError::Invalid { at: source, name: name.to_owned(), value, allowed: allowed.into() }
}

fn refused(values: &Values, name: &str, reason: impl Into<String>) -> ConfigError {
    let Stated { value, source } = at(values, name);
    ConfigError::Refused { at: source, name: name.to_owned(), value, reason: reason.into() }
}

fn note(values: &Values, name: &str, note: impl Into<String>) -> Warning {
    let Stated { value, source } = at(values, name);
    Warning::Note { at: source, name: name.to_owned(), value, note: note.into() }
}

/// `node.id`, or `broker.id` where only that is stated.
pub(super) fn node_id(values: &Values) -> i32 {
    let number = |name: &str| values.stated(name).and_then(|stated| stated.value.parse().ok());
    let old_name = number("broker.id").filter(|id: &i32| *id >= 0);
    let stated = number("node.id").or(old_name);
    stated.or_else(|| values.value("node.id")?.parse().ok()).expect("node.id has a default")
}

/// The listeners to open, each with what its clients are told.
pub(super) fn listeners(
    values: &Values,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<Listener>, Vec<ConfigError>> {
    let parse = |name: &str| match values.value(name) {
        Some(list) => {
            listener::parse_list(list).ok_or_else(|| vec![invalid(values, name, listener::ALLOWED)])
        }
        None => Ok(Vec::new()),
    };
    let written = parse("listeners")?;
    let advertised = parse("advertised.listeners")?;
    let controller_names: Vec<String> =
        values.list("controller.listener.names").iter().map(|name| name.to_ascii_uppercase()).collect();
    let mut errors = Vec::new();
    let mut open = Vec::new();
    for one in &written {
        if controller_names.contains(&one.name) {
            let text = format!("{} is not opened: Norn's metadata quorum needs no listener", one.name);
            warnings.push(note(values, "listeners", text));
            continue;
        }
        if let Some(error) = check_protocol(values, one) {
            errors.push(error);
            continue;
        }
        match listener::advertised(one, &advertised) {
            Some(told) => {
                open.push(Listener { name: one.name.clone(), bind: one.endpoint.clone(), advertised: told });
            }
            None => errors.push(not_routable(values, one)),
        }
    }
    for extra in advertised.iter().filter(|one| !written.iter().any(|other| other.name == one.name)) {
        if !controller_names.contains(&extra.name) {
            let allowed = format!("a list of names that listeners has; it has no {}", extra.name);
            errors.push(invalid(values, "advertised.listeners", allowed));
        }
    }
    if open.is_empty() && errors.is_empty() {
        errors.push(invalid(
            values,
            "listeners",
            "a list with at least one listener that is not a controller's",
        ));
    }
    errors.extend(check_inter_broker(values, &written));
    if errors.is_empty() {
        Ok(open)
    } else {
        Err(errors)
    }
}

/// Why a listener cannot be opened in the protocol that its name stands for.
fn check_protocol(values: &Values, one: &Written) -> Option<ConfigError> {
    let map_name = "listener.security.protocol.map";
    let Some(map) = values.value(map_name).and_then(listener::parse_protocol_map) else {
        let allowed = "a list of NAME:PROTOCOL; protocols are PLAINTEXT, SSL, SASL_PLAINTEXT and SASL_SSL";
        return Some(invalid(values, map_name, allowed));
    };
    match map.iter().find(|(name, _)| *name == one.name) {
        Some((_, protocol)) if protocol == "PLAINTEXT" => None,
        Some((_, protocol)) => {
            let reason =
                format!("listener {} wants {protocol} and Norn speaks PLAINTEXT only, so far", one.name);
            Some(refused(values, "listeners", reason))
        }
        None => {
            let allowed = format!(
                "a list of names that {map_name} has; add {}:PLAINTEXT to it, or call the listener PLAINTEXT",
                one.name
            );
            Some(invalid(values, "listeners", allowed))
        }
    }
}

fn not_routable(values: &Values, one: &Written) -> ConfigError {
    let name = match values.stated("advertised.listeners") {
        Some(_) => "advertised.listeners",
        None => "listeners",
    };
    let allowed = format!(
        "an address that clients can connect to, which 0.0.0.0 and [::] are not; set \
         advertised.listeners={}://HOST:{}",
        one.name, one.endpoint.port
    );
    invalid(values, name, allowed)
}

fn check_inter_broker(values: &Values, written: &[Written]) -> Option<ConfigError> {
    let name = values.value("inter.broker.listener.name")?.to_ascii_uppercase();
    let known = written.iter().any(|one| one.name == name);
    (!known).then(|| invalid(values, "inter.broker.listener.name", "the name of one of the listeners"))
}

/// Checks roles, ids and voters against each other.
pub(super) fn check(values: &Values, warnings: &mut Vec<Warning>, errors: &mut Vec<ConfigError>) {
    let roles = values.list("process.roles");
    if !roles.iter().any(|role| role == "broker") {
        errors.push(refused(values, "process.roles", "a node without the role broker would serve no client"));
    } else if !roles.iter().any(|role| role == "controller") {
        warnings.push(note(values, "process.roles", "this node is its own controller as well"));
    }
    errors.extend(check_ids(values));
    errors.extend(check_voters(values));
    if values.list("controller.quorum.bootstrap.servers").len() > 1 {
        errors.push(refused(values, "controller.quorum.bootstrap.servers", ONE_NODE));
    }
}

const ONE_NODE: &str =
    "this version of Norn runs one node, and would be a cluster of its own beside the others";

fn check_ids(values: &Values) -> Option<ConfigError> {
    let (old, new) = (values.stated("broker.id")?, values.stated("node.id")?);
    let differ = old.value.parse::<i32>() != new.value.parse::<i32>() && old.value != "-1";
    differ.then(|| ConfigError::Conflict {
        at: old.source.clone(),
        name: "broker.id".to_owned(),
        value: old.value.clone(),
        other: format!("node.id = {}", new.value),
        other_at: new.source.clone(),
        reason: "both name this node".to_owned(),
    })
}

fn check_voters(values: &Values) -> Option<ConfigError> {
    let name = "controller.quorum.voters";
    let voters = values.value(name)?;
    let mut ids = Vec::new();
    for voter in list(voters) {
        match parse_voter(voter) {
            Some(id) => ids.push(id),
            None => return Some(invalid(values, name, "id@host:port, several separated by commas")),
        }
    }
    match ids[..] {
        [] => None,
        [id] if id == node_id(values) => None,
        [id] => {
            let reason = format!("voter {id} is not this node, whose node.id is {}", node_id(values));
            Some(refused(values, name, reason))
        }
        _ => Some(refused(values, name, ONE_NODE)),
    }
}

fn parse_voter(voter: &str) -> Option<i32> {
    let (id, address) = voter.split_once('@')?;
    let (host, port) = address.rsplit_once(':')?;
    let well_formed = !host.is_empty() && port.parse::<u16>().is_ok();
    id.trim().parse().ok().filter(|id| well_formed && *id >= 0)
}
