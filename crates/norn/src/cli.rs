//! The command line: what can be said, and which room does it.

use std::future::Future;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use norn_broker::config;

use crate::client::{Client, ClientError};
use crate::columns::Columns;
use crate::serve::{self, LogFormat};
use crate::topic::NewTopic;
use crate::{group, topic};

const EXAMPLES: &str = "\
Examples:
  norn serve                                  a broker on 127.0.0.1:9092, data in ./norn-data
  norn serve --config server.properties       with Kafka's configuration file
  norn topic create orders --partitions 6
  norn group describe billing                 members, offsets and lag

`norn COMMAND --help` tells more.";

const SERVE_HELP: &str = "\
Settings have Kafka's names. They are taken, in rising precedence, from
  --config FILE       TOML, or Kafka's server.properties as it is
  NORN_* variables    log.retention.ms is NORN_LOG_RETENTION_MS
  --set KEY=VALUE     may be repeated
`norn settings` lists all with their defaults. Those most often set:
  listeners             PLAINTEXT://127.0.0.1:9092   where to listen; port 0 takes a free one
  advertised.listeners  as listeners                 what clients are told
  log.dirs              ./norn-data                  where the data is
  http.port             9644                         /metrics, /healthz, /readyz; -1 for none
  flush.mode            sync                         async acknowledges before the disk has it
  num.partitions        1                            of topics that are created on first use
  log.retention.hours   168                          -1 keeps records for ever

NORN_LOG filters the log: error, warn, info (default), debug, trace, or target=level,...
Once the broker is up, standard output has a line `kafka HOST:PORT` and a line `http HOST:PORT`.

Examples:
  norn serve --set listeners=PLAINTEXT://0.0.0.0:9092 \\
             --set advertised.listeners=PLAINTEXT://broker.example:9092
  NORN_LOG_DIRS=/var/lib/norn NORN_HTTP_PORT=0 norn serve --config norn.toml";

const BOOTSTRAP: &str = "127.0.0.1:9092";

/// A Kafka-compatible broker.
#[derive(Debug, Parser)]
#[command(name = "norn", version, after_help = EXAMPLES, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a broker
    #[command(after_help = SERVE_HELP)]
    Serve(ServeArgs),
    /// Create, list, describe and delete topics
    #[command(subcommand)]
    Topic(TopicCommand),
    /// List and describe consumer groups
    #[command(subcommand)]
    Group(GroupCommand),
    /// List the settings of a broker: name, default, meaning
    Settings {
        /// Only names with this text in them
        filter: Option<String>,
    },
    /// Print version and commit
    Version,
}

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Configuration file: TOML or Kafka's server.properties
    #[arg(long, value_name = "FILE", env = "NORN_CONFIG")]
    pub config: Option<PathBuf>,
    /// State a setting, over file and environment
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// How log lines are written
    #[arg(long, value_enum, default_value_t = LogFormat::Text, env = "NORN_LOG_FORMAT")]
    pub log_format: LogFormat,
}

#[derive(Debug, Args)]
struct Bootstrap {
    /// Brokers to ask first, as HOST:PORT, separated by commas
    #[arg(long, short, value_name = "ADDRESSES", default_value = BOOTSTRAP, env = "NORN_BOOTSTRAP_SERVER")]
    bootstrap_server: String,
}

#[derive(Debug, Subcommand)]
enum TopicCommand {
    /// Create a topic
    #[command(
        after_help = "Example:\n  norn topic create orders --partitions 6 --config retention.ms=3600000"
    )]
    Create {
        name: String,
        /// Number of partitions [default: the broker's num.partitions]
        #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
        partitions: Option<i32>,
        /// Replicas of each partition [default: the broker's default.replication.factor]
        #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(i16).range(1..))]
        replication_factor: Option<i16>,
        /// A setting of the topic, over the broker's default; may be repeated
        #[arg(long, short, value_name = "KEY=VALUE", value_parser = key_value)]
        config: Vec<(String, String)>,
        /// Succeed if the topic is there already
        #[arg(long)]
        if_not_exists: bool,
        #[command(flatten)]
        at: Bootstrap,
    },
    /// List topics, one in a line
    List {
        /// Internal topics too, such as __consumer_offsets
        #[arg(long)]
        internal: bool,
        #[command(flatten)]
        at: Bootstrap,
    },
    /// Show partitions, leaders, replicas and settings
    Describe {
        /// All that are not internal if none is named
        names: Vec<String>,
        #[command(flatten)]
        at: Bootstrap,
    },
    /// Delete topics with all their records
    Delete {
        #[arg(required = true)]
        names: Vec<String>,
        /// Succeed if the topic is not there
        #[arg(long)]
        if_exists: bool,
        #[command(flatten)]
        at: Bootstrap,
    },
}

#[derive(Debug, Subcommand)]
enum GroupCommand {
    /// List groups with their states
    List {
        #[command(flatten)]
        at: Bootstrap,
    },
    /// Show members, committed offsets and lag
    Describe {
        #[arg(required = true)]
        names: Vec<String>,
        #[command(flatten)]
        at: Bootstrap,
    },
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write key=value, such as retention.ms=3600000")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

/// Reads the command line and does what it says.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(args) => serve::run(&args),
        Command::Topic(command) => ask(run_topic(command)),
        Command::Group(command) => ask(run_group(command)),
        Command::Settings { filter } => {
            print(&settings(filter.as_deref().unwrap_or_default()));
            ExitCode::SUCCESS
        }
        Command::Version => {
            print(&version());
            ExitCode::SUCCESS
        }
    }
}

/// The version, and the commit if the build was told it (`NORN_COMMIT`).
fn version() -> String {
    let commit = option_env!("NORN_COMMIT")
        .filter(|commit| !commit.is_empty())
        .map(|commit| format!(" (commit {commit})"));
    format!("norn {}{}\n", env!("CARGO_PKG_VERSION"), commit.unwrap_or_default())
}

fn settings(filter: &str) -> String {
    let mut listed: Vec<_> =
        config::settings().filter(|setting| !setting.hidden && setting.name.contains(filter)).collect();
    listed.sort_unstable_by_key(|setting| setting.name);
    let mut columns = Columns::new(&["SETTING", "DEFAULT", "MEANING"]);
    for setting in listed {
        let default = setting.default.unwrap_or_default().to_owned();
        let without = setting.without_effect.map(|reason| format!(" Has no effect: {reason}."));
        let meaning = format!("{}{}", setting.doc, without.unwrap_or_default());
        columns.row([setting.name.to_owned(), default, meaning]);
    }
    columns.to_string()
}

async fn run_topic(command: TopicCommand) -> Result<String, ClientError> {
    match command {
        TopicCommand::Create { name, partitions, replication_factor, config, if_not_exists, at } => {
            let new = NewTopic { name, partitions, replication_factor, configs: config };
            topic::create(&mut at.connect().await?, &new, if_not_exists).await
        }
        TopicCommand::List { internal, at } => topic::list(&mut at.connect().await?, internal).await,
        TopicCommand::Describe { names, at } => topic::describe(&mut at.connect().await?, &names).await,
        TopicCommand::Delete { names, if_exists, at } => {
            topic::delete(&mut at.connect().await?, &names, if_exists).await
        }
    }
}

async fn run_group(command: GroupCommand) -> Result<String, ClientError> {
    match command {
        GroupCommand::List { at } => group::list(&mut at.connect().await?).await,
        GroupCommand::Describe { names, at } => group::describe(&mut at.connect().await?, &names).await,
    }
}

impl Bootstrap {
    async fn connect(&self) -> Result<Client, ClientError> {
        Client::connect(&self.bootstrap_server).await
    }
}

/// Runs a command that asks brokers, and shows its answer or its error.
fn ask(command: impl Future<Output = Result<String, ClientError>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let answer = match runtime {
        Ok(runtime) => runtime.block_on(command).map_err(|error| {
            if let ClientError::Partly { done, .. } = &error {
                print(done);
            }
            error.to_string()
        }),
        Err(error) => Err(format!("could not start the runtime: {error}")),
    };
    match answer {
        Ok(text) => {
            print(&text);
            ExitCode::SUCCESS
        }
        Err(text) => {
            complain(&text);
            ExitCode::FAILURE
        }
    }
}

/// Prints to standard output. A reader that has gone, such as `head`, is no error.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Tells an error. Where nobody takes it the exit status tells it still.
pub(crate) fn complain(text: &str) {
    let _ = std::io::stderr().write_all(format!("error: {text}\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn nothing_need_be_said_to_serve_or_to_ask() {
        assert!(matches!(Cli::parse_from(["norn", "serve"]).command, Command::Serve(_)));
        let Command::Topic(TopicCommand::List { internal: false, at }) =
            Cli::parse_from(["norn", "topic", "list"]).command
        else {
            panic!("not a list")
        };
        assert_eq!(at.bootstrap_server, BOOTSTRAP);
    }

    #[test]
    fn settings_of_a_topic_are_key_and_value() {
        assert_eq!(key_value("retention.ms = 5"), Ok(("retention.ms".to_owned(), "5".to_owned())));
        assert!(key_value("retention.ms").is_err());
    }

    #[test]
    fn the_settings_that_the_help_names_are_settings_with_those_defaults() {
        let list = SERVE_HELP.lines().skip_while(|line| !line.contains("most often set")).skip(1);
        for line in list.take_while(|line| line.starts_with("  ")) {
            let mut words = line.split_whitespace();
            let (name, default) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let values = config::Config::default();
            let shown = values.values().value(name).unwrap_or("as");
            assert!(config::setting(name).is_some(), "{name}");
            assert!(default == shown || name == "log.dirs", "{name}: {default} is not {shown}");
        }
    }
}
