use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use norn_broker::config::{Config, Layer, Source};
use proptest::prelude::*;

use super::*;

fn pairs(path: &str, text: &str) -> Vec<(usize, String, String)> {
    let layers = of_file(path, text.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    let line = |layer: Layer| match layer.source {
        Source::File { line, .. } => (line, layer.key, layer.value),
        other => panic!("{other}"),
    };
    layers.into_iter().map(line).collect()
}

fn expect(found: &[(usize, String, String)], wanted: &[(usize, &str, &str)]) {
    let found: Vec<(usize, &str, &str)> =
        found.iter().map(|(line, key, value)| (*line, key.as_str(), value.as_str())).collect();
    assert_eq!(found, wanted);
}

fn message(path: &str, text: &str) -> String {
    of_file(path, text.as_bytes()).expect_err("malformed").to_string()
}

#[test]
fn properties_follow_javas_rules() {
    let text =
        "# comment\n ! another\r\n\na=1\nb:2\nc 3\n  d \t = 4 \ne\nf==5\ng\\=h\\:i\\ j=k\\\n    l\\\n# m\r\
                n=\\u00e9\\u20AC\\t\\q\\\\\no=a\\\\\np=last";
    expect(
        &pairs("x.properties", text),
        &[
            (4, "a", "1"),
            (5, "b", "2"),
            (6, "c", "3"),
            (7, "d", "4 "),
            (8, "e", ""),
            (9, "f", "=5"),
            (10, "g=h:i j", "kl# m"),
            (13, "n", "\u{e9}\u{20ac}\tq\\"),
            (14, "o", "a\\"),
            (15, "p", "last"),
        ],
    );
    expect(&pairs("x.properties", "a=\\ud83d\\ude00\nb=c\\"), &[(1, "a", "\u{1f600}"), (2, "b", "c")]);
    expect(&pairs("x.properties", ""), &[]);
}

#[test]
fn malformed_properties_name_their_line() {
    assert_eq!(
        message("a/server.properties", "a=1\nb=\\u12G4"),
        "a/server.properties:2: \\u must be followed by four hexadecimal digits, not by \"12G4\""
    );
    assert_eq!(message("x.properties", "a=\\ud83d!"), "x.properties:1: \\ud83d is half of a surrogate pair");
    let error = of_file("x.properties", b"a=1\nb=\xff").expect_err("not UTF-8");
    assert_eq!(error.to_string(), "x.properties:2: not UTF-8");
}

#[test]
fn toml_is_flattened_however_it_is_nested() {
    let text = "num.partitions = 3\n\"max.connections\" = 1_000\nmax.connections.per.ip = 0x10\n\
                listeners = [\n  \"PLAINTEXT://h:1\",\n  \"IN://h:2\"]\n\n[log.retention]\nms = -1\n\
                [auto]\ncreate.topics.enable = true\n[log]\ndirs = '/d'\n";
    expect(
        &pairs("norn.toml", text),
        &[
            (1, "num.partitions", "3"),
            (2, "max.connections", "1000"),
            (3, "max.connections.per.ip", "16"),
            (4, "listeners", "PLAINTEXT://h:1,IN://h:2"),
            (9, "log.retention.ms", "-1"),
            (11, "auto.create.topics.enable", "true"),
            (13, "log.dirs", "/d"),
        ],
    );
}

#[test]
fn malformed_toml_names_its_line() {
    assert_eq!(message("n.toml", "a = 1\nb = [[1]]"), "n.toml:2: b: no setting is a TOML array");
    assert_eq!(message("n.toml", "d = 1979-05-27"), "n.toml:1: d: no setting is a TOML datetime");
    let big = message("n.toml", "i = 99999999999999999999");
    assert_eq!(big, "n.toml:1: i: 99999999999999999999 does not fit in 64 bits");
    let clash = message("n.toml", "max.connections = 1\nmax.connections.per.ip = 2");
    assert!(clash.starts_with("n.toml:2: ") && clash.contains("must be quoted"), "{clash}");
    assert!(message("n.toml", "a = 1\nb = \n").starts_with("n.toml:2: "));
}

#[test]
fn the_format_is_known_by_extension_or_content() {
    assert_eq!(Format::of("a.toml", "a=1"), Format::Toml);
    assert_eq!(Format::of("a.properties", "a=\"1\""), Format::Properties);
    assert_eq!(Format::of("conf", "# x\nlog.dirs=/a\nlisteners=PLAINTEXT://:9092"), Format::Properties);
    assert_eq!(Format::of("conf", "log.dirs = \"/a\""), Format::Toml);
    assert_eq!(Format::of("conf", "[log]\n"), Format::Toml);
}

#[test]
fn only_variables_that_are_settings_become_layers() {
    let variables = [
        ("NORN_LOG_DIRS", "/d"),
        ("NORN_FLUSH_MODE", "async"),
        ("NORN_LOG", "debug"),
        ("NORN_TEST_SEED", "1"),
        ("NORN_SERVICE_HOST", "10.0.0.1"),
        ("NORN_PORT", "tcp://10.0.0.1:9092"),
        ("NORN_PORT_9092_TCP_ADDR", "10.0.0.1"),
        ("NORN_BROKER_RACK", ""),
        ("HOME", "/root"),
    ];
    let layers =
        of_environment(variables.into_iter().map(|(var, value)| (var.into(), value.into()))).unwrap();
    let keys: Vec<&str> = layers.iter().map(|layer| layer.key.as_str()).collect();
    assert_eq!(keys, ["flush.mode", "log.dirs"]);
}

#[test]
fn a_setting_of_the_environment_that_is_not_text_is_named() {
    let bad = OsString::from_vec(b"/\xffdata".to_vec());
    let others = ["HOME", "NORN_TEST_DIR"].map(|var| (OsString::from(var), bad.clone()));
    assert!(of_environment(others.into_iter()).unwrap().is_empty());
    let error = of_environment([("NORN_LOG_DIRS".into(), bad)].into_iter()).unwrap_err();
    assert_eq!(error.to_string(), "the value of NORN_LOG_DIRS is not UTF-8");
}

#[test]
fn a_set_without_a_value_is_explained() {
    let error = of_arguments(&["num.partitions".into()]).expect_err("no value").to_string();
    assert_eq!(error, "--set num.partitions: write --set key=value, such as --set num.partitions=3");
    let layers = of_arguments(&["a=b=c".into()]).expect("a value may have an equals sign");
    assert_eq!((layers[0].key.as_str(), layers[0].value.as_str()), ("a", "b=c"));
}

/// A text that looks like a configuration file more often than chance would have it.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("num.partitions".to_owned()),
        Just("listeners".to_owned()),
        Just(" = ".to_owned()),
        Just("\\u00".to_owned()),
        Just("\\\n".to_owned()),
        Just("\n".to_owned()),
        Just("\r".to_owned()),
        Just("[log]".to_owned()),
        Just("\"".to_owned()),
        Just("PLAINTEXT://".to_owned()),
        "\\PC{0,6}",
        "[0-9]{1,3}",
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_text_makes_a_parser_panic(text in text(), bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for name in ["x.toml", "x.properties", "x"] {
            let _ = of_file(name, &bytes);
            if let Ok(layers) = of_file(name, text.as_bytes()) {
                let _ = Config::from_layers(layers);
            }
        }
    }

    #[test]
    fn what_is_written_plainly_is_read_back(
        written in proptest::collection::btree_map("[a-z]{1,8}(\\.[a-z]{1,8}){0,3}", "[a-zA-Z0-9/:,._-]{0,20}", 0..10),
    ) {
        let text: String = written.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
        let read: Vec<(String, String)> =
            pairs("x.properties", &text).into_iter().map(|(_, key, value)| (key, value)).collect();
        prop_assert_eq!(read, written.into_iter().collect::<Vec<_>>());
    }
}
