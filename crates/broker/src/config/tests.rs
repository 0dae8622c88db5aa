use std::collections::BTreeMap;
use std::time::Duration;

use norn_core::metadata::{ConfigSource, FlushMode, TOPIC_CONFIGS};
use proptest::prelude::*;

use super::lacks::LACKS;
use super::layers::nearest;
use super::*;

fn file(text: &str) -> Vec<Layer> {
    let line = |(at, line): (usize, &str)| {
        let (key, value) = line.split_once('=')?;
        Some(Layer::new(Source::File { path: "server.properties".into(), line: at + 1 }, key.trim(), value))
    };
    text.lines().enumerate().filter_map(line).collect()
}

fn flag(key: &str, value: &str) -> Layer {
    Layer::new(Source::Flag { arg: format!("{key}={value}") }, key, value)
}

fn env(key: &str, value: &str) -> Layer {
    Layer::new(Source::Env { var: env_of_property(key) }, key, value)
}

fn config(layers: Vec<Layer>) -> Config {
    Config::from_layers(layers).unwrap_or_else(|errors| panic!("{errors:?}")).0
}

fn warnings(text: &str) -> Vec<String> {
    let (_, warnings) = Config::from_layers(file(text)).unwrap_or_else(|errors| panic!("{errors:?}"));
    warnings.iter().map(ToString::to_string).collect()
}

fn errors(layers: Vec<Layer>) -> Vec<String> {
    match Config::from_layers(layers) {
        Ok((config, _)) => panic!("accepted: {config:?}"),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

#[track_caller]
fn one_error(text: &str, message: &str) {
    assert_eq!(errors(file(text)), [message]);
}

#[test]
fn nothing_stated_is_one_node_on_localhost() {
    let config = Config::default();
    assert_eq!(config.node_id, 1);
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(config.listeners[0].bind.to_string(), "127.0.0.1:9092");
    assert_eq!(config.listeners[0].advertised, config.listeners[0].bind);
    assert_eq!(config.http_port, Some(9644));
    assert_eq!(config.storage.log_dirs, [std::path::PathBuf::from("./norn-data")]);
    assert_eq!(config.storage.flush_mode, FlushMode::Sync);
    assert_eq!(config.offsets.topic_replication_factor, 1);
    assert_eq!(config.offsets.retention, Duration::from_secs(7 * 24 * 3600));
    assert_eq!(config.network.queued_max_request_bytes, None);
}

#[test]
fn flags_win_over_environment_over_file_in_any_order() {
    let file = || file("num.partitions=1").remove(0);
    let all = [flag("num.partitions", "3"), env("num.partitions", "2"), file()];
    assert_eq!(config(all.to_vec()).topics.num_partitions, 3);
    assert_eq!(config(vec![env("num.partitions", "2"), file()]).topics.num_partitions, 2);
    assert_eq!(
        config(vec![flag("num.partitions", "4"), flag("num.partitions", "5")]).topics.num_partitions,
        5
    );
}

#[test]
fn every_default_passes_its_own_check() {
    for setting in settings() {
        if let Some(default) = setting.default {
            assert_eq!(setting.check(default), Ok(()));
        }
        assert!(setting.doc.ends_with('.') && setting.doc.len() > 10, "{}", setting.name);
        for synonym in setting.synonyms {
            assert!(super::table::setting(synonym.name).is_some(), "{synonym:?}");
        }
    }
}

/// Defaults where Norn differs from Kafka are the broker's own; what a topic inherits is Kafka's.
#[test]
fn topics_inherit_kafkas_defaults_and_every_broker_name_that_has_effect_is_known() {
    let inherited = topic_defaults(&Config::default());
    for def in TOPIC_CONFIGS.defs {
        assert_eq!(inherited.get(def.name).map(String::as_str), def.default, "{}", def.name);
        let known =
            |name: &str| super::table::setting(name).is_some() || super::lacking::lacking(name).is_some();
        assert!(def.synonyms.iter().all(|synonym| known(synonym.name)), "{}", def.name);
    }
}

#[test]
fn no_name_is_in_two_tables_and_none_is_forgotten() {
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    let lacked = || LACKS.iter().flat_map(|lack| lack.names.iter().map(|(name, ..)| *name));
    for name in settings().filter(|one| !one.hidden).map(|one| one.name).chain(lacked()) {
        *count.entry(name).or_default() += 1;
    }
    assert!(count.values().all(|count| *count == 1), "{count:?}");
    // KafkaConfig.configDef of Kafka 4.3.0 has 360 names; two more belong to its authorizer, three are quotas that are
    // only set dynamically (QuotaConfig) and four are Norn's own.
    assert_eq!(count.len(), 360 + 2 + 3 + 4);
}

#[test]
fn an_unknown_name_is_an_error_with_the_nearest() {
    one_error(
        "\nnum.partitons=3",
        "server.properties:2: unknown setting num.partitons; did you mean num.partitions?",
    );
    one_error(
        "log_retention_hours=3",
        "server.properties:1: unknown setting log_retention_hours; did you mean log.retention.hours?",
    );
    one_error("colour=blue", "server.properties:1: unknown setting colour");
    assert_eq!(
        errors(vec![env("flsh.mode", "sync")]),
        ["NORN_FLSH_MODE: unknown setting flsh.mode; did you mean NORN_FLUSH_MODE?"]
    );
}

#[test]
fn a_name_that_went_with_kafka_4_says_why() {
    one_error(
        "zookeeper.connect=zk:2181",
        "server.properties:1: zookeeper.connect was removed in Kafka 4: there is no ZooKeeper any more",
    );
}

#[test]
fn a_topics_name_in_a_brokers_file_points_to_the_brokers_name() {
    one_error(
        "retention.ms=5",
        "server.properties:1: retention.ms is a setting of topics; the default for all topics is log.retention.ms",
    );
}

#[test]
fn a_wrong_value_says_what_is_allowed() {
    let cases = [
        ("num.partitions", "many", "must be a whole number, 1 or more"),
        ("num.partitions", "0", "must be a whole number, 1 or more"),
        ("auto.create.topics.enable", "yes", "must be true or false"),
        ("flush.mode", "maybe", "must be one of sync, async"),
        ("log.cleanup.policy", "delete,shrink", "must be a list of delete, compact"),
        ("log.retention.bytes", "-2", "must be a whole number, -1 or more"),
        ("http.port", "65536", "must be a whole number, -1 to 65535"),
        ("log.dirs", " , ", "must be a list of at least one directory, each of them once"),
    ];
    for (name, value, message) in cases {
        let found = errors(vec![flag(name, value)]);
        assert_eq!(found, [format!("--set: {name} = {:?}: {message}", value.trim())]);
    }
}

#[test]
fn all_errors_are_reported_at_once() {
    assert_eq!(errors(file("a.b.c=1\nnum.partitions=0\nlisteners=9092")).len(), 3);
}

#[test]
fn what_security_and_meaning_hang_on_is_refused() {
    one_error(
        "ssl.keystore.location=/k.jks",
        "server.properties:1: ssl.keystore.location = \"/k.jks\": refused, Norn has no TLS yet; remove the setting \
         to go without",
    );
    one_error(
        "ssl.key.password=hunter2",
        "server.properties:1: ssl.key.password = \"(hidden)\": refused, Norn has no TLS yet; remove the setting to \
         go without",
    );
    one_error(
        "listener.name.external.scram-sha-256.sasl.jaas.config=x",
        "server.properties:1: listener.name.external.scram-sha-256.sasl.jaas.config = \"(hidden)\": refused, Norn \
         does not authenticate clients yet; remove the setting to go without",
    );
    for name in ["authorizer.class.name", "super.users", "security.providers", "sasl.jaas.config"] {
        let found = errors(vec![flag(name, "x")]);
        assert!(found.len() == 1 && found[0].contains("refused"), "{found:?}");
    }
}

#[test]
fn what_norn_lacks_at_kafkas_default_passes_without_a_word() {
    assert_eq!(
        warnings(
            "num.network.threads=3\nsecurity.inter.broker.protocol=PLAINTEXT\nauthorizer.class.name=\n\
             group.coordinator.rebalance.protocols=consumer, classic, streams\nssl.client.auth=none"
        ),
        [""; 0]
    );
    assert_eq!(
        warnings("num.network.threads=8"),
        ["server.properties:1: num.network.threads = \"8\" has no effect: Norn sizes its one pool of threads by \
          the number of cores"]
    );
}

#[test]
fn what_is_listed_but_has_no_effect_says_so_when_it_is_set() {
    assert_eq!(warnings("log.preallocate=false"), [""; 0]);
    assert_eq!(
        warnings("log.preallocate=true"),
        ["server.properties:1: log.preallocate = \"true\": has no effect, Norn never preallocates segments"]
    );
}

#[test]
fn kafkas_own_file_for_one_node_is_taken_as_it_is() {
    let text = "
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=localhost:9093
listeners=PLAINTEXT://:9092,CONTROLLER://:9093
inter.broker.listener.name=PLAINTEXT
advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT
num.network.threads=3
num.io.threads=8
socket.send.buffer.bytes=102400
socket.receive.buffer.bytes=102400
socket.request.max.bytes=104857600
log.dirs=/tmp/kraft-combined-logs
num.partitions=1
num.recovery.threads.per.data.dir=1
offsets.topic.replication.factor=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
log.retention.hours=168
log.segment.bytes=1073741824
log.retention.check.interval.ms=300000
";
    let config = config(file(text));
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(config.listeners[0].bind.socket_addr(), Some("0.0.0.0:9092".parse().unwrap()));
    assert_eq!(config.listeners[0].advertised.to_string(), "localhost:9092");
    assert_eq!(config.storage.log_dirs, [std::path::PathBuf::from("/tmp/kraft-combined-logs")]);
    let warnings = warnings(text);
    assert!(warnings.iter().any(|text| text.contains("CONTROLLER is not opened")), "{warnings:?}");
    assert_eq!(warnings.len(), 6, "{warnings:?}");
}

#[test]
fn listeners_follow_kafkas_rules() {
    let malformed =
        "must be NAME://host:port, such as PLAINTEXT://127.0.0.1:9092, several separated by commas, each \
                     name and each port once";
    for value in
        ["127.0.0.1:9092", "PLAINTEXT://h", "PLAINTEXT://h:99999", "A://h:1,A://h:2", "A://h:1,B://h:1"]
    {
        let found = errors(vec![flag("listeners", value)]);
        assert_eq!(found, [format!("--set: listeners = {value:?}: {malformed}")]);
    }
    one_error(
        "listeners=SSL://h:1",
        "server.properties:1: listeners = \"SSL://h:1\": refused, listener SSL wants SSL and Norn speaks PLAINTEXT \
         only, so far",
    );
    one_error(
        "listeners=OUT://h:1",
        "server.properties:1: listeners = \"OUT://h:1\": must be a list of names that listener.security.protocol.map \
         has; add OUT:PLAINTEXT to it, or call the listener PLAINTEXT",
    );
    one_error(
        "listeners=PLAINTEXT://0.0.0.0:9092",
        "server.properties:1: listeners = \"PLAINTEXT://0.0.0.0:9092\": must be an address that clients can connect \
         to, which 0.0.0.0 and [::] are not; set advertised.listeners=PLAINTEXT://HOST:9092",
    );
    one_error(
        "advertised.listeners=OUT://h:1",
        "server.properties:1: advertised.listeners = \"OUT://h:1\": must be a list of names that listeners has; it \
         has no OUT",
    );
}

#[test]
fn several_plaintext_listeners_keep_what_each_advertises() {
    let config = config(file(
        "listeners=IN://[::1]:0,OUT://0.0.0.0:9094\nadvertised.listeners=out://kafka.example:443\n\
         listener.security.protocol.map=IN:PLAINTEXT,OUT:plaintext",
    ));
    let told: Vec<String> = config.listeners.iter().map(|one| one.advertised.to_string()).collect();
    assert_eq!(told, ["[::1]:0", "kafka.example:443"]);
    assert_eq!(config.listeners[0].bind.socket_addr(), Some("[::1]:0".parse().unwrap()));
}

#[test]
fn a_listener_on_every_interface_is_told_by_the_machines_name() {
    let mut config = config(file("listeners=PLAINTEXT://:9092"));
    config.name_this_host("box");
    assert_eq!(config.listeners[0].advertised.to_string(), "box:9092");
    assert_eq!(config.listeners[0].bind.host, "");
}

#[test]
fn one_node_takes_only_itself_as_voter() {
    assert_eq!(config(file("node.id=7\ncontroller.quorum.voters=7@h:9093")).node_id, 7);
    assert_eq!(config(file("broker.id=4")).node_id, 4);
    let found = errors(file("node.id=7\ncontroller.quorum.voters=7@h:9093,8@h:9094"));
    assert!(found[0].contains("one node"), "{found:?}");
    let found = errors(file("node.id=7\ncontroller.quorum.voters=8@h:9094"));
    assert!(found[0].contains("voter 8 is not this node, whose node.id is 7"), "{found:?}");
    one_error(
        "node.id=2\nbroker.id=1",
        "server.properties:2: broker.id = \"1\": contradicts node.id = 2 (server.properties:1): both name this node",
    );
    let found = errors(file("process.roles=controller"));
    assert!(found[0].contains("would serve no client"), "{found:?}");
}

#[test]
fn intervals_between_syncs_contradict_async_and_are_kept_by_sync() {
    let found = warnings("log.flush.interval.messages=1");
    assert!(found.len() == 1 && found[0].contains("before it is acknowledged"), "{found:?}");
    one_error(
        "log.flush.interval.ms=1000\nflush.mode=async",
        "server.properties:1: log.flush.interval.ms = \"1000\": contradicts flush.mode = async \
         (server.properties:2): flush.mode=async never syncs; remove one of the two",
    );
}

#[test]
fn more_replicas_than_one_node_has_are_told_as_what_they_come_to() {
    let found = warnings("min.insync.replicas=2");
    assert!(found.len() == 1 && found[0].contains("acks=all waits for one"), "{found:?}");
    let found = warnings("default.replication.factor=3");
    assert!(found.len() == 1 && found[0].contains("cannot be created"), "{found:?}");
}

#[test]
fn the_finer_unit_wins_in_one_layer_and_the_higher_layer_over_all() {
    let retention = |layers| topic_defaults(&config(layers))["retention.ms"].clone();
    assert_eq!(retention(vec![]), "604800000");
    assert_eq!(retention(file("log.retention.hours=2")), "7200000");
    assert_eq!(retention(file("log.retention.ms=5\nlog.retention.hours=2")), "5");
    let mut layers = file("log.retention.ms=5");
    layers.push(flag("log.retention.minutes", "1"));
    assert_eq!(retention(layers), "60000");
    assert_eq!(retention(file("log.retention.hours=-1")), "-1");
}

#[test]
fn a_name_set_twice_in_a_file_is_a_warning_and_the_later_counts() {
    let text = "num.partitions=1\nnum.partitions=2";
    assert_eq!(
        warnings(text),
        ["server.properties:2: num.partitions was already set at server.properties:1; the later one counts"]
    );
    assert_eq!(config(file(text)).topics.num_partitions, 2);
}

#[test]
fn describe_tells_source_synonyms_and_dynamic_values() {
    let config = config(file("log.retention.hours=2\nnum.partitions=4"));
    let overrides = Overrides {
        cluster: BTreeMap::from([("log.retention.ms".into(), "9".into())]),
        broker: BTreeMap::new(),
    };
    let all = describe(&config, &overrides, 3);
    let find = |name: &str| all.iter().find(|one| one.name == name).unwrap();
    let retention = find("log.retention.ms");
    assert_eq!(retention.value.as_deref(), Some("9"));
    assert_eq!(retention.source, ConfigSource::DynamicDefaultBroker);
    assert!(!retention.read_only);
    let order: Vec<_> = retention.synonyms.iter().map(|one| (one.name, one.source)).collect();
    assert_eq!(
        order,
        [
            ("log.retention.ms", ConfigSource::DynamicDefaultBroker),
            ("log.retention.hours", ConfigSource::StaticBroker),
            ("log.retention.hours", ConfigSource::Default),
        ]
    );
    assert_eq!(find("num.partitions").source, ConfigSource::StaticBroker);
    assert!(find("num.partitions").read_only);
    assert_eq!(find("default.replication.factor").value.as_deref(), Some("1"));
    assert_eq!(topic_defaults(&config.overridden(overrides.rising()))["retention.ms"], "9");
}

#[test]
fn describe_lists_what_kafka_has_with_what_is_true_here() {
    let found = |text: &str, name: &str| {
        let all = describe(&config(file(text)), &Overrides::default(), 3);
        let one = all.into_iter().find(|one| one.name == name).unwrap();
        (one.value, one.source, one.read_only, one.synonyms.first().map(|set| set.value.clone()))
    };
    let (fixed, stated) = (ConfigSource::Default, ConfigSource::StaticBroker);
    let is = |value: &str, source| (Some(value.to_owned()), source, true, Some(value.to_owned()));
    assert_eq!(found("", "transaction.max.timeout.ms"), is("900000", fixed));
    assert_eq!(found("", "log.cleaner.enable"), is("false", fixed));
    assert_eq!(found("", "num.io.threads"), is("3", fixed));
    assert_eq!(found("", "ssl.keystore.location"), (None, fixed, true, None));
    assert_eq!(found("node.id=7", "broker.id"), is("7", stated));
    assert_eq!(found("", "broker.id"), is("1", fixed));
    assert_eq!(found("", "advertised.listeners"), is("PLAINTEXT://127.0.0.1:9092", fixed));
    let told = "listeners=PLAINTEXT://0.0.0.0:1\nadvertised.listeners=PLAINTEXT://a.example:2";
    assert_eq!(found(told, "advertised.listeners"), is("PLAINTEXT://a.example:2", stated));
    let all = describe(&Config::default(), &Overrides::default(), 3);
    // Kafka 4.3.0 describes 340 settings of a broker; five more are listed here, four of them Norn's own.
    assert_eq!(all.len(), 340 + 5, "{:?}", all.iter().map(|one| one.name).collect::<Vec<_>>());
    assert!(all.windows(2).all(|pair| pair[0].name < pair[1].name));
}

#[test]
fn the_environment_names_properties_in_upper_snake() {
    assert_eq!(property_of_env("NORN_LOG_RETENTION_MS").as_deref(), Some("log.retention.ms"));
    assert_eq!(property_of_env("NORN_"), None);
    assert_eq!(property_of_env("PATH"), None);
    for setting in settings() {
        assert_eq!(property_of_env(&env_of_property(setting.name)).as_deref(), Some(setting.name));
    }
}

proptest! {
    #[test]
    fn no_layers_make_it_panic(
        stated in proptest::collection::vec((0usize..80, "[ -~]{0,24}|-?[0-9]{1,20}|[A-Z]{1,3}://[a-z0-9.:]{0,12}"), 0..8),
        key in "[a-zA-Z._-]{0,40}",
    ) {
        let mut layers: Vec<Layer> = stated.into_iter().filter_map(|(index, value)| {
            settings().nth(index).map(|setting| flag(setting.name, &value))
        }).collect();
        layers.push(flag(&key, "1"));
        let _ = Config::from_layers(layers.clone());
        layers.pop();
        if let Ok((config, _)) = Config::from_layers(layers) {
            describe(&config, &Overrides::default(), 3);
            topic_defaults(&config);
        }
        let _ = nearest(&key);
    }

    #[test]
    fn every_number_within_its_bounds_is_taken(index in 0usize..80, number: i64) {
        let setting = settings().nth(index).filter(|setting| setting.check(&number.to_string()).is_ok());
        if let Some(setting) = setting {
            let _ = Config::from_layers(vec![flag(setting.name, &number.to_string())]);
        }
    }
}
