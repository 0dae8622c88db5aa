//! Configuration files, which people write.

use norn::settings::of_file;
use norn_broker::config::Config;

/// Any file is a configuration, or says what is wrong with it: each message names the file and is one line.
pub fn config_file(input: &[u8]) {
    for path in ["server.properties", "norn.toml", "norn.conf"] {
        let layers = match of_file(path, input) {
            Ok(layers) => layers,
            Err(error) => {
                told(&error.to_string(), path);
                continue;
            }
        };
        if let Err(errors) = Config::from_layers(layers) {
            assert!(!errors.is_empty(), "a refusal has a reason");
        }
    }
}

fn told(message: &str, path: &str) {
    assert!(message.contains(path), "a message names its file: {message}");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::config_file;
    use crate::nearly::nearly;

    fn file() -> impl Strategy<Value = Vec<u8>> {
        const NAMES: &[&str] = &[
            "listeners",
            "advertised.listeners",
            "log.dirs",
            "log.retention.ms",
            "log.segment.bytes",
            "node.id",
            "process.roles",
            "num.partitions",
            "flush.mode",
            "ssl.keystore.location",
            "no.such.setting",
        ];
        const VALUES: &[&str] = &[
            "PLAINTEXT://:9092",
            "PLAINTEXT://[::1]:0,B://x:1",
            "a,b",
            "-1",
            "9223372036854775807",
            "1",
            "sync",
            "\"text\"",
            "[1, 2]",
            "true",
            "",
        ];
        const SEPARATORS: &[&str] = &[" = ", "=", ":", " ", "\\\n"];
        let line =
            (prop::sample::select(NAMES), prop::sample::select(SEPARATORS), prop::sample::select(VALUES));
        let line = line.prop_map(|(name, separator, value)| format!("{name}{separator}{value}\n"));
        prop::collection::vec(line, 0..8).prop_map(|lines| lines.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn any_file_is_a_configuration_or_says_why_not(
            random in prop::collection::vec(any::<u8>(), 0..200),
            nearly_right in nearly(file()),
        ) {
            config_file(&random);
            config_file(&nearly_right);
        }
    }
}
