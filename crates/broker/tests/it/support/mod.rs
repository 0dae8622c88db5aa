//! A started broker on a directory of its own and a client that speaks to it over a real connection: what the tests of
//! whole requests share.

use std::{collections::VecDeque, net::SocketAddr, path::Path, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        create_topics_request::{CreatableTopic, CreatableTopicConfig},
        fetch_request::{FetchPartition, FetchTopic},
        produce_request::{PartitionProduceData, TopicProduceData},
        CreateTopicsRequest, FetchRequest, MetadataRequest, ProduceRequest, ProduceResponse,
    },
    protocol::{Request, StrBytes},
};
use norn_broker::{
    config::{Config, Layer, Source},
    BrokerError, Probe,
};
use norn_env::{
    clock,
    net::{ReadHalf, Stream, WriteHalf},
    task::{self, Handle, ShutdownTrigger},
};
use norn_protocol::{
    batch::{build_batch, BatchOptions, Record},
    client::{decode_response, encode_request, topic_name},
};
use uuid::Uuid;

/// How long a test waits for what should take milliseconds, on a machine that may be busy.
pub const PATIENCE: Duration = Duration::from_secs(120);

pub fn text(from: &str) -> StrBytes {
    StrBytes::from_string(from.to_owned())
}

/// A broker that runs in this process.
pub struct Node {
    pub addr: SocketAddr,
    pub probe: Probe,
    stop: ShutdownTrigger,
    running: Handle<Result<(), BrokerError>>,
}

impl Node {
    /// Starts a broker on `dir`, with `settings` over what tests want: a free port and no wait for members.
    pub async fn start(dir: &Path, settings: &[(&str, &str)]) -> Node {
        let base = [
            ("listeners", "PLAINTEXT://127.0.0.1:0"),
            ("log.dirs", dir.to_str().unwrap()),
            ("group.initial.rebalance.delay.ms", "0"),
            ("group.min.session.timeout.ms", "100"),
            ("offsets.topic.num.partitions", "2"),
            ("internal.journal.file.bytes", "1048576"),
        ];
        let layer =
            |(key, value): &(&str, &str)| Layer::new(Source::Flag { arg: String::new() }, *key, *value);
        let (config, _) = Config::from_layers(base.iter().chain(settings).map(layer).collect()).unwrap();
        let (stop, shutdown) = task::shutdown();
        let broker = norn_broker::start(config, shutdown).await.unwrap();
        let addr = broker.listeners()[0].1;
        let probe = broker.probe();
        Node { addr, probe, stop, running: task::spawn("broker", broker.run()) }
    }

    pub async fn connect(&self) -> Client {
        let stream = Stream::connect(self.addr, clock::now() + PATIENCE).await.unwrap();
        let (rd, wr) = stream.split();
        Client { rd, wr, buf: BytesMut::new(), correlation: 0 }
    }

    /// The value of a metric; `name` with its labels, if it has any.
    pub fn metric(&self, name: &str) -> Option<i64> {
        let text = self.probe.metrics();
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    /// Stops in order; panics if that fails.
    pub async fn stop(self) {
        self.stop.signal();
        clock::timeout_at(clock::now() + PATIENCE, self.running).await.unwrap().unwrap().unwrap();
    }
}

pub struct Client {
    rd: ReadHalf,
    wr: WriteHalf,
    buf: BytesMut,
    correlation: i32,
}

impl Client {
    /// Sends a request; the response is to be received later.
    pub async fn send<R: Request>(&mut self, version: i16, request: &R) {
        self.correlation += 1;
        let bytes = encode_request(self.correlation, version, Some("test"), request).unwrap();
        self.send_bytes(bytes).await;
    }

    pub async fn send_bytes(&mut self, bytes: Bytes) {
        self.wr.write_all(&mut VecDeque::from([bytes])).await.unwrap();
    }

    /// The next frame; `None` if the broker closed the connection.
    pub async fn receive_frame(&mut self) -> Option<Bytes> {
        loop {
            if let Some(size) = self.buf.first_chunk::<4>().map(|size| i32::from_be_bytes(*size) as usize) {
                if self.buf.len() >= 4 + size {
                    self.buf.advance(4);
                    return Some(self.buf.split_to(size).freeze());
                }
            }
            self.buf.reserve(64 * 1024);
            let read = clock::timeout_at(clock::now() + PATIENCE, self.rd.read_buf(&mut self.buf)).await;
            match read.expect("the broker answers or closes") {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    pub async fn receive<R: Request>(&mut self, version: i16) -> Result<R::Response, String> {
        let frame = self.receive_frame().await.ok_or("the connection was closed")?;
        decode_response::<R>(version, frame).map(|(_, body)| body).map_err(|error| error.to_string())
    }

    /// Sends a request and waits for its response; the broker may close the connection at any time.
    pub async fn ask_or_be_closed<R: Request>(
        mut self,
        version: i16,
        request: R,
    ) -> Result<R::Response, String> {
        let bytes = encode_request(1, version, Some("test"), &request).unwrap();
        self.wr.write_all(&mut VecDeque::from([bytes])).await.map_err(|error| error.to_string())?;
        self.receive::<R>(version).await
    }

    /// Sends a request and waits for its response, which has to be one of that version.
    pub async fn try_ask<R: Request>(&mut self, version: i16, request: &R) -> Result<R::Response, String> {
        self.send(version, request).await;
        self.receive::<R>(version).await
    }

    pub async fn ask<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        match self.try_ask(version, request).await {
            Ok(response) => response,
            Err(error) => panic!("api {} version {version}: {error}", R::KEY),
        }
    }

    /// Creates a topic; gives its id.
    pub async fn create_topic(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> Uuid {
        let configs = configs.iter().map(|(name, value)| {
            CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
        });
        let topic = CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(configs.collect());
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
        let response = self.ask(7, &request).await;
        assert_eq!(response.topics[0].error_code, 0, "{:?}", response.topics[0].error_message);
        response.topics[0].topic_id
    }

    /// Produces one batch with `acks=all`; gives the whole response.
    pub async fn produce(&mut self, topic: &str, partition: i32, records: Bytes) -> ProduceResponse {
        self.ask(9, &produce_request(topic, partition, -1, records)).await
    }

    /// Asks for metadata of one topic, without creating it.
    pub async fn metadata(&mut self, topic: &str) -> kafka_protocol::messages::MetadataResponse {
        use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
        let topic = MetadataRequestTopic::default().with_name(Some(topic_name(topic)));
        let request =
            MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(false);
        self.ask(12, &request).await
    }
}

/// A batch with a record for each value, keys and values alike.
pub fn batch(values: &[&str]) -> Bytes {
    let records: Vec<Record> = values
        .iter()
        .map(|value| Record {
            timestamp: clock::wall_ms(),
            key: Some(Bytes::from((*value).to_owned())),
            value: Some(Bytes::from((*value).to_owned())),
            ..Record::default()
        })
        .collect();
    build_batch(&records, BatchOptions::default()).unwrap()
}

pub fn produce_request(topic: &str, partition: i32, acks: i16, records: Bytes) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(records));
    let topic = TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(vec![data]);
    ProduceRequest::default().with_acks(acks).with_timeout_ms(30_000).with_topic_data(vec![topic])
}

/// A Fetch of partition 0 in version 12.
pub fn fetch_request(topic: &str, offset: i64, wait_ms: i32) -> FetchRequest {
    let partition = FetchPartition::default().with_fetch_offset(offset).with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default().with_topic(topic_name(topic)).with_partitions(vec![partition]);
    FetchRequest::default()
        .with_max_wait_ms(wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_topics(vec![topic])
}
