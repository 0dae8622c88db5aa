"""A produce load that remembers what was acknowledged, and a reader that compares.

The k-th record of a partition has the value k, so that a partition read back tells what is missing.
"""

import threading
import time

import confluent_kafka

PARTITIONS = 3
QUICK = {"reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 100, "log_level": 0}


class Load:
    """Produces to all partitions of a topic from a thread of its own until stopped."""

    def __init__(self, bootstrap, topic, queue=1000, **config):
        self.topic, self.acked, self.failed, self.fatal = topic, {}, 0, None
        self.stopping = threading.Event()
        self.producer = confluent_kafka.Producer(
            {"bootstrap.servers": bootstrap, "linger.ms": 1, "queue.buffering.max.messages": queue, **QUICK,
             "error_cb": self.on_error, **config}
        )
        # A daemon, so that a test that fails does not wait for it.
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def on_error(self, error):
        if error.fatal():
            self.fatal = error

    def delivered(self, error, message):
        if error:
            self.failed += 1
        else:
            self.acked[message.partition(), message.offset()] = int(message.value())

    def run(self):
        n = 0
        while not self.stopping.is_set():
            value = str(n // PARTITIONS).rjust(100, "0")
            try:
                self.producer.produce(self.topic, value, partition=n % PARTITIONS, on_delivery=self.delivered)
                n += 1
                self.producer.poll(0)
            except BufferError:
                self.producer.poll(0.01)
            except confluent_kafka.KafkaException as error:
                self.fatal = self.fatal or error
                return

    def await_ack(self, timeout=20):
        """Until one more record is acknowledged."""
        was, deadline = len(self.acked), time.monotonic() + timeout
        while len(self.acked) == was:
            assert time.monotonic() < deadline, f"nothing acknowledged for {timeout} s; {self.fatal}"
            time.sleep(0.005)

    def stop(self):
        self.stopping.set()
        self.thread.join()
        assert self.producer.flush(60) == 0
        assert self.fatal is None, self.fatal


class Reader:
    """Reads a topic on from where it was, or again from its start, and keeps what it has seen."""

    def __init__(self, bootstrap, topic):
        self.topic, self.seen, self.next = topic, {}, dict.fromkeys(range(PARTITIONS), 0)
        self.config = {"bootstrap.servers": bootstrap, "group.id": "reader", "enable.auto.commit": False,
                       "auto.offset.reset": "error", **QUICK}

    def catch_up(self, again=False):
        consumer, ends, was = confluent_kafka.Consumer(self.config), {}, dict(self.next)
        for p in self.next:
            low, ends[p] = consumer.get_watermark_offsets(confluent_kafka.TopicPartition(self.topic, p), 30)
            assert low == 0
            assert ends[p] >= was[p], f"{self.topic}-{p} ends at {ends[p]}, but {was[p] - 1} has been read from it"
            self.next[p] = 0 if again else was[p]
        consumer.assign([confluent_kafka.TopicPartition(self.topic, p, self.next[p]) for p in self.next])
        deadline = time.monotonic() + 60
        while any(self.next[p] < ends[p] for p in ends):
            assert time.monotonic() < deadline, f"read to {self.next} of {ends}"
            for message in consumer.consume(1000, 0.2):
                assert message.error() is None, message.error()
                p, offset, n = message.partition(), message.offset(), int(message.value())
                assert offset == self.next[p], f"{self.topic}-{p}: {offset} follows {self.next[p] - 1}"
                assert self.seen.setdefault((p, offset), n) == n, f"{self.topic}-{p}: offset {offset} has another record"
                self.next[p] += 1
        consumer.close()

    def values(self, partition):
        return [self.seen[partition, offset] for offset in range(self.next[partition])]

    def missing(self, acked):
        """What of `acked` is not where it was acknowledged."""
        return sorted(at for at, n in acked.items() if self.seen.get(at) != n)

    def assert_each_once_in_order(self):
        for p in self.next:
            values = self.values(p)
            assert values == list(range(len(values))), f"{self.topic}-{p}: not each record once and in order"

    def assert_rising(self):
        for p in self.next:
            values = self.values(p)
            assert all(a < b for a, b in zip(values, values[1:])), f"{self.topic}-{p}: not in order"


def producers(bootstrap, queue=1000):
    """The two promises: an idempotent producer with `acks=all`, and one with `acks=1` that never sends twice."""
    return [
        Load(bootstrap, "idempotent", queue, **{"enable.idempotence": True, "message.timeout.ms": 300_000}),
        Load(bootstrap, "plain", queue, **{"acks": 1, "retries": 0}),
    ]


def create_topics(bootstrap, *names, partitions=PARTITIONS):
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    for created in admin.create_topics([NewTopic(name, partitions) for name in names]).values():
        created.result(30)
